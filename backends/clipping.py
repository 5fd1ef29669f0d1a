"""Clipping laws applied to a tree of gradients directly, without an optimizer."""

from __future__ import annotations

import math
from collections.abc import Generator
from functools import lru_cache
from typing import Any

from optcore.backends.gradients import Work, run
from optcore.backends.probe import reads_parameter
from optcore.backends.values import laid_out, numbers
from optcore.norms import global_norm, global_peak, global_power, shrink
from optcore.rule import Rule
from optcore.typing import Scalar

__all__ = ["clipped", "held", "measured", "total_norm"]


def clipped(law: Rule, grads: Any, params: Any = None, *, donate: bool = False) -> Any:
    """Apply a clipping law to a tree of gradients, and return the tree of new gradients.

    ``params`` is the tree of parameters, for laws that compare a gradient with its parameter, such as
    adaptive_gradient_clip. A leaf of None stays None. The arrays given are not written to, unless ``donate`` allows it:
    then the gradients may be overwritten by the new ones, the new tree holds the overwritten arrays, and the caller
    must use it alone. Raises ValueError for a law that reads the parameters if none are given, and for a law with a
    state, which only :class:`optcore.backends.Optimizer` keeps. Leaves are checked as an optimizer checks them.

    >>> clipped(optcore.clip_by_global_norm(max_norm=1.0), grads)
    """
    if law.fields:
        raise ValueError(f"clipped: {law.name} keeps {law.fields[0].name}; give it to a Recipe, whose optimizer does")
    bound = law.complete()
    if params is None and reads_parameter(law):
        raise ValueError(f"clipped: {law.name} compares the gradients with their parameters; give params, too")

    def on(backend: Any) -> Any:
        return _Direction(law, laid_out(numbers(bound, backend, 0), backend.native_layout))

    return run(Work(f"clipped({law.name})", on, rule=law), grads, params, donate=donate)[0]


class _Direction:
    """A clipping law with its numbers, as a function of a gradient.

    Two of the same law and the same numbers compare equal, so that the trace of one is reused for the other.
    """

    def __init__(self, law: Rule, values: dict[str, Any]) -> None:
        self.law, self.values = law, values
        self.key = (law, tuple((name, type(x), x) for name, x in values.items()))

    def __call__(self, xp: Any, p: Any, g: Any) -> Generator[Any, Any, Any]:
        d, _ = yield from self.law.run(xp, p, g, self.law.start(xp, p, self.values), 1, self.values)
        return d, None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Direction) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def total_norm(grads: Any, order: float = 2.0) -> Any:
    """Return the norm of a tree of gradients taken as one vector, a 0-d array in the widest dtype of computation.

    ``order`` is the p of the p-norm, ``math.inf`` for the largest element. A complex number counts with its modulus.
    The norm of a tree without an array is None. Raises ValueError for an order that is not above 0.
    """
    _checked("total_norm", order)
    return run(Work("total_norm", lambda _: _norm(order), seen="modulus"), grads)[1]


def _checked(who: str, order: float) -> None:
    if not order > 0:
        raise ValueError(f"{who}: order={order!r} is out of range; give a number above 0, math.inf for the largest")


@lru_cache(maxsize=16)
def _norm(order: float) -> Any:
    """Return the law that computes a norm over all leaves and makes no new gradient."""

    def norm(xp: Any, p: Any, g: Any) -> Generator[Any, Any, Any]:
        if order == 2:
            n = yield from global_norm(xp, g)
        elif order == math.inf:
            n = yield from global_peak(xp, g)
        else:
            n = yield from global_power(xp, g, order)
        return None, n

    return norm


def held(grads: Any, norm: Any, max_norm: Scalar, epsilon: Scalar = 0.0, *, donate: bool = False) -> Any:
    """Return the gradients times ``min(1, max_norm / (norm + epsilon))``, for a norm that the caller has computed.

    With ``donate`` the gradients may be overwritten, as by :func:`clipped`.
    """
    return run(Work("held", lambda _: _hold, given=(norm, max_norm, epsilon)), grads, donate=donate)[0]


def _hold(xp: Any, p: Any, g: Any, n: Any, max_norm: Any, epsilon: Any) -> Generator[Any, Any, Any]:
    yield from ()
    return g * shrink(xp, n, max_norm, epsilon), None


def measured(
    grads: Any, max_norm: Scalar, order: float = 2.0, epsilon: Scalar = 0.0, *, donate: bool = False
) -> tuple[Any, Any]:
    """Scale the gradients to a :func:`total_norm` of ``max_norm`` at most, and return them with the norm they had."""
    _checked("measured", order)
    if order != 2:  # other norms take the modulus of a complex number, from which its gradient cannot be rebuilt
        norm = total_norm(grads, order)
        return grads if norm is None else held(grads, norm, max_norm, epsilon, donate=donate), norm
    return run(Work("measured", lambda _: _measure, given=(max_norm, epsilon)), grads, donate=donate)


def _measure(xp: Any, p: Any, g: Any, max_norm: Any, epsilon: Any) -> Generator[Any, Any, Any]:
    _, n = yield from _norm(2.0)(xp, p, g)
    d, _ = yield from _hold(xp, p, g, n, max_norm, epsilon)
    return d, n
