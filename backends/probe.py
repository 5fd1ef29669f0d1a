"""Properties of a rule that are found by running it on a small NumPy array.

They are: whether its step depends on the parameter, whether it asks for totals over all leaves, and whether its state
starts from the parameter's values.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from optcore import leaf as template
from optcore.backends.answers import Answers, solve
from optcore.backends.numpy import backend, np
from optcore.backends.values import usual
from optcore.requests import Law, interpret
from optcore.rule import Rule

__all__ = ["asks_totals", "reads_parameter", "sample", "starts_from_values"]


def sample(rule: Rule, elements: int = 4) -> Any:
    """Return an array of ones with the number of axes that the rule takes, or a matrix if it takes any number.

    All axes have the same length, at least 2, such that the array has about the given number of elements.
    """
    axes = 2 if rule.ndim is None else rule.ndim
    return np.ones((max(2, round(elements ** (1 / max(axes, 1)))),) * axes)


def _begun(rule: Rule, p: Any) -> tuple[Any, dict[str, Any]]:
    values = usual(rule, backend)
    return rule.start(backend.xp, p, values), values


def _law(rule: Rule, p: Any) -> Law:
    state, values = _begun(rule, p)
    return template.update(rule, backend.xp, p, np.ones_like(p), state, 2, values)


@lru_cache(maxsize=256)
def reads_parameter(rule: Rule) -> bool:
    """Tell whether a step's displacement depends on the parameter: it is NaN for a parameter of NaNs if it does."""
    with np.errstate(all="ignore"):
        (((_, step), _),) = solve([_law(rule, sample(rule) * np.nan)], backend)
    return bool(np.isnan(step).any())


@lru_cache(maxsize=256)
def starts_from_values(rule: Rule) -> bool:
    """Tell whether a state starts from the parameter's values, as Prodigy's does, and not from its shape alone."""
    with np.errstate(all="ignore"):
        state, _ = _begun(rule, sample(rule) * np.nan)
    return any(x is not None and bool(np.isnan(x).any()) for x in rule.unpack(state))


class _Asked(Answers):
    """A handler that answers as :class:`Answers` and notes if a law asks for a total."""

    totals = False

    def total(self, parts: Any) -> Any:
        self.totals = True
        return super().total(parts)


@lru_cache(maxsize=256)
def asks_totals(rule: Rule) -> bool:
    """Tell whether a rule's step needs sums or maxima over all leaves."""
    asked = _Asked(backend)
    with np.errstate(all="ignore"):
        interpret([_law(rule, sample(rule))], asked)
    return asked.totals
