"""The first run of a law, which says in an author's words what would break every proof of it."""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from optcore.backends.numpy import backend, np
from optcore.backends.values import usual
from optcore.hyper import REQUIRED
from optcore.requests import Due, Handler, Total, interpret
from optcore.rule import Primitive, Rule
from optcore.testing.strategies import shapes
from optcore.testing.watched import Functions, IllegalError, UnknownError, Watched

__all__ = ["first_run", "told"]


def first_run(rule: Rule) -> str | None:
    """Run a law on leaves of every shape it takes; return the words for its mistake, None if there is none.

    It is run twice on each: with Python's numbers, and with its step and numbers as arrays, as they are where a
    library traces them.
    """
    for part in _parts(rule):
        every = sorted(shapes(part), key=len, reverse=True)
        wrong: dict[tuple[int, ...], str] = {}
        illegal = False
        for shape in every:
            for traced in (False, True):
                try:
                    _steps(part, shape, traced)
                except Exception as error:  # whatever a law raises is what its author wants to know
                    wrong.setdefault(shape, told(part, error, traced=traced))
                    illegal = illegal or isinstance(error, IllegalError)
        if wrong:
            (shape, words), *_ = wrong.items()
            fine = sorted({len(s) for s in every} - {len(s) for s in wrong})
            if illegal or len(wrong) == len(every):
                return words
            return f"{words} This was on a leaf of shape {shape}; {_wanted(fine)}"
    return None


def _wanted(fine: list[int]) -> str:
    if len(fine) == 1:
        return (
            f"it runs on leaves of {fine[0]} axes: where it is meant for these alone, write @rule(..., ndim={fine[0]})"
        )
    return "a rule without ndim= takes leaves of any shape, one without axes among them"


def _parts(rule: Rule) -> Iterator[Rule]:
    """The laws that a rule is made of, and then the rule itself."""
    for part in getattr(rule, "parts", ()):
        yield from _parts(part)
    yield rule.bind(**{name: 1.0 for name, value in rule.values().items() if value is REQUIRED})


def _steps(rule: Rule, shape: tuple[int, ...], traced: bool) -> None:
    rng = np.random.default_rng(0)
    xp: Any = Functions()
    p = Watched(rng.standard_normal(shape), "p")
    values = usual(rule, backend)
    if traced:
        values = {
            k: Watched(v, k) if isinstance(v, float) and not rule.hypers[k].static else v for k, v in values.items()
        }
    with np.errstate(all="ignore"):
        begun = rule.start(xp, p, values)
        _check_state(rule, begun, None, "init")
        arrays = _named(rule, begun)
        for t in (1, 2):
            g = Watched(rng.standard_normal(shape), "g")
            count = Watched(float(t), "t") if traced else t
            (result,) = interpret([rule.run(xp, p, g, rule.pack(arrays), count, values)], _OfOneLeaf())
            if not (isinstance(result, tuple) and len(result) == 2) or hasattr(result, "_fields"):
                raise IllegalError(
                    f"the law returns {_shown(result)}; it must return two things, the direction and the new state"
                )
            d, after = result
            if not isinstance(d, Watched) or d.shape != shape:
                raise IllegalError(
                    f"the direction is {_shown(d)} for a leaf of shape {shape}; it must be an array of the leaf's shape"
                )
            _check_state(rule, after, arrays, "law")
            arrays = _named(rule, after)


class _OfOneLeaf(Handler):
    """Answers to a law on one leaf, whose totals are its own; what it asks for is looked at."""

    def due(self, request: Due) -> Any:
        held = request.condition if isinstance(request.condition, bool) else True
        return request.then(request.state) if held else request.state

    def total(self, parts: Sequence[Total]) -> Sequence[Any]:
        for part in parts:
            if not isinstance(part.value, Watched) or part.value.ndim > 1:
                raise IllegalError(
                    f"the law yields {_shown(part.value)}; what is summed over all leaves is one number of each, as in "
                    "yield xp.sum(g * g), or a tuple of such"
                )
        return super().total(parts)


def _check_state(rule: Rule, state: Any, before: list[Any] | None, who: str) -> None:
    """Raise IllegalError for a state that is not what the rule declares."""
    if not isinstance(rule, Primitive):
        return
    own, name = tuple(f.name for f in rule.fields), rule.State.__name__
    call = f"{name}({', '.join(f'{f}=...' for f in own)})"
    if not isinstance(state, tuple) or len(state) != len(own) or getattr(state, "_fields", own) != own:
        raise IllegalError(f"the {who} gives {_shown(state)} as the state; it must be {call}")
    for f, x, old in zip(rule.fields, state, before or [None] * len(own), strict=True):
        if x is None and (before is None or old is None):
            continue
        if not isinstance(x, Watched):
            raise IllegalError(
                f"the {who} gives {_shown(x)} as the state's {f.name}; it must be an array, as xp.zeros_like(p) is"
            )
        if old is not None and x.shape != old.shape:
            raise IllegalError(
                f"the state's {f.name} starts with shape {old.shape} and gets {x.shape}; a state keeps its shapes"
            )


def _named(rule: Rule, state: Any) -> list[Any]:
    return [
        x if x is None else Watched(x.value, f"s.{f.name}")
        for f, x in zip(rule.fields, rule.unpack(state), strict=True)
    ]


def _shown(x: Any) -> str:
    if isinstance(x, Watched):
        return f"an array of shape {x.shape}"
    if hasattr(x, "_fields"):
        return f"a {type(x).__name__}"
    return f"a tuple of {len(x)}" if isinstance(x, tuple) else repr(x)[:60]


def _functions(rule: Rule) -> Iterator[Callable[..., Any]]:
    """Everything that an author wrote for a rule: laws, starts and refreshes, those of its parts included."""
    for part in getattr(rule, "parts", ()):
        yield from _functions(part)
    for owner in (rule, getattr(rule, "combinator", None)):
        for each in (getattr(owner, "law", None), getattr(owner, "initial", None), *getattr(owner, "refreshers", ())):
            if each is not None:
                yield each.fn


def told(rule: Rule, error: BaseException, *, traced: bool = False) -> str:
    """An error in an author's words: the line of the law that it comes from, and what is wrong with it.

    An AssertionError of the proof says everything itself.
    """
    words = str(error).splitlines()[0] if str(error) else ""
    if isinstance(error, AssertionError) and words.startswith(f"{rule.name}"):
        return words
    if not isinstance(error, IllegalError):
        words = f"{type(error).__name__}: {words}".rstrip(": ")
        if "** or pow()" in words:
            words += ". Write optcore.scalars.power(xp, x, y), or bias_correction(xp, beta, t) for 1 - beta**t"
        if traced:
            words += ". Its step and numbers were 0-d arrays in this run, as they are where a library traces them"
    where = _line(rule, error)
    if isinstance(error, UnknownError) and re.search(r"`(el)?if |`while ", where):
        words += ". Where it is a condition on a value, write xp.where(condition, a, b) in place of the branch"
    return f"{rule.name}: {where}{words}" + ("" if words.endswith(".") else ".")


def _line(rule: Rule, error: BaseException) -> str:
    """The last line of the rule's own files that an error went through, in words; empty where there is none."""
    files = {fn.__code__.co_filename for fn in _functions(rule)}
    found, at = None, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename in files:
            found = at
        at = at.tb_next
    if found is None:
        return ""
    file = found.tb_frame.f_code.co_filename
    text = linecache.getline(file, found.tb_lineno).strip()
    return f"line {found.tb_lineno} of {Path(file).name}" + (f", `{text}`" if text else "") + ": "
