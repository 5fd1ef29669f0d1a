"""Reduce on plateau: the one schedule that remembers, as a pure state machine."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple

from optcore.hyper import unknown
from optcore.running import runner
from optcore.scalars import Host, is_host

__all__ = ["Plateau", "PlateauState", "reduce_on_plateau"]

WHO = "reduce_on_plateau"
NUMBERS = (
    ("factor", 0.0, 1.0), ("rtol", 0.0, math.inf), ("atol", 0.0, math.inf), ("floor", 0.0, math.inf),
    ("smallest", 0.0, math.inf),
)  # fmt: skip
"""What is a number and its bounds, the upper one excluded."""


def number(who: str, name: str, value: Any, low: float = 0.0, high: float = math.inf) -> float:
    """The value as a float; TypeError or ValueError, in the words of ``who``, for what is none from low to high."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{who}: {name}={value!r} is of type {type(value).__name__}; give [{low:g}, {high:g})")
    plain = float(value)
    if not low <= plain < high:
        raise ValueError(f"{who}: {name}={value!r} is out of range; give [{low:g}, {high:g})")
    return plain


class PlateauState(NamedTuple):
    """What is remembered between values; Python numbers, or 0-d arrays where the values are."""

    scale: Any  #: the factor that the learning rate has now
    best: Any  #: the best value so far
    bad: Any  #: values in a row that were no improvement
    cooldown: Any  #: values that are still to be passed over
    count: Any  #: values gathered towards the next judgement
    mean: Any  #: and their mean


@dataclass(frozen=True)
class Plateau:
    """``factor`` times the learning rate when a value has stopped to improve; made by :func:`reduce_on_plateau`."""

    factor: float = 0.1
    patience: int = 10
    rtol: float = 1e-4
    atol: float = 0.0
    cooldown: int = 0
    floor: float = 0.0
    smallest: float = 0.0
    gather: int = 1
    mode: Literal["min", "max"] = "min"
    acts: Literal["above", "at"] = "above"
    thaws: Literal["after", "at"] = "after"

    def __post_init__(self) -> None:
        """Refuse what could never reduce, or would raise the rate."""
        for name, low, high in NUMBERS:
            object.__setattr__(self, name, number(WHO, name, getattr(self, name), low, high))
        for name, least in (("patience", 0), ("cooldown", 0), ("gather", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{WHO}: {name}={value!r} is no count; give a whole number of at least {least}")
            object.__setattr__(self, name, int(value))
        for name, choices in (("mode", ("min", "max")), ("acts", ("above", "at")), ("thaws", ("after", "at"))):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{WHO}: {name}={getattr(self, name)!r} is no choice; give {' or '.join(map(repr, choices))}"
                )

    def init(self) -> PlateauState:
        """The state before the first value: a scale of 1."""
        return PlateauState(1.0, math.inf if self.mode == "min" else -math.inf, 0.0, 0.0, 0.0, 0.0)

    def update(self, state: PlateauState, value: Any) -> PlateauState:
        """The state after one more value, whose ``scale`` multiplies the learning rate from now on."""
        xp, state, value = _placed(state, value)
        judged, due = self._judged(xp, state, value)
        lower = judged._replace(scale=self._lowered(xp, state.scale, self.floor, self.smallest))
        lower = self.reduced(lower)
        return PlateauState(*(xp.where(due, new, old) for new, old in zip(lower, judged, strict=True)))

    def judge(self, state: PlateauState, value: Any) -> tuple[PlateauState, Any]:
        """The state after one more value, and whether the rate is to be lowered; the scale is left as it is.

        For who lowers rates of his own: then :meth:`lowered` has the rate and :meth:`reduced` the state after it.
        """
        return self._judged(*_placed(state, value))

    def lowered(self, rate: float, *, floor: float | None = None, smallest: float | None = None) -> float:
        """The rate after one reduction, which may be the same: a floor and a smallest change of its own where given."""
        floor = self.floor if floor is None else floor
        return float(self._lowered(Host, rate, floor, self.smallest if smallest is None else smallest))

    def reduced(self, state: PlateauState) -> PlateauState:
        """The state after a reduction: no bad values, and the cooldown before it."""
        return state._replace(bad=0.0 * state.bad, cooldown=self.cooldown + 0.0 * state.cooldown)

    def _lowered(self, xp: Any, rate: Any, floor: float, smallest: float) -> Any:
        lower = xp.maximum(rate * self.factor, floor + 0.0 * rate)
        return xp.where(rate - lower > smallest, lower, rate)

    def _judged(self, xp: Any, s: PlateauState, value: Any) -> tuple[PlateauState, Any]:
        count = s.count + 1.0
        mean = (s.count * s.mean + value) / count
        full = count >= self.gather
        sign = 1.0 if self.mode == "min" else -1.0
        better = sign * mean < sign * ((1.0 - sign * self.rtol) * s.best) - self.atol
        best = xp.where(better, mean, s.best)
        one, none = 1.0 + 0.0 * s.bad, 0.0 * s.bad
        frozen = xp.where(s.cooldown > 0, one, none)
        left = s.cooldown - frozen
        still = frozen if self.thaws == "after" else xp.where(left > 0, one, none)
        bad = xp.where(better, none, (s.bad * (1.0 - frozen) + 1.0) * (1.0 - still))
        enough = bad > self.patience if self.acts == "above" else bad >= max(self.patience, 1)
        judged = (s.scale, best, bad, left, none, 0.0 * s.scale)
        waiting = (s.scale, s.best, s.bad, s.cooldown, count, mean)
        after = PlateauState(*(xp.where(full, new, old) for new, old in zip(judged, waiting, strict=True)))
        return after, xp.where(full, enough, count < 0.0)


def _placed(state: PlateauState, value: Any) -> tuple[Any, PlateauState, Any]:
    """The namespace that a value is judged in, and all numbers there: a value that is an array stays where it lives."""
    if is_host(value, *state):
        return Host, state, value
    xp, first = runner().place(next(x for x in (value, *state) if not is_host(x)))
    zero = xp.zeros_like(first)
    *numbers, value = (zero + x for x in (*state, value))
    return xp, PlateauState(*numbers), value


CONVENTIONS: dict[str, dict[str, Any]] = {
    "torch": {},
    "optax": {"acts": "at"},
    "keras": {"acts": "at", "thaws": "at", "rtol": 0.0, "atol": 1e-4},
}
"""Each library's numbers: torch's and optax' improvement is relative, Keras' absolute."""


def reduce_on_plateau(*, like: str = "torch", **options: Any) -> Plateau:
    """Multiply the learning rate by ``factor`` when ``patience`` values in a row were no improvement.

    Parameters
    ----------
    like
        ``"torch"`` acts on the value after ``patience`` bad ones, ``"optax"`` and ``"keras"`` on that one itself.
    **options
        ``factor``, ``patience``; ``rtol`` and ``atol``, by which a value must be better, as ``(1 - rtol) best - atol``;
        ``cooldown`` values that are not judged after a reduction, ``thaws`` the count of bad ones ``"after"`` the last
        of them or ``"at"`` it (Keras); the smallest scale ``floor``; ``smallest``, a change that is left out if it is
        no larger (torch's eps, of the scale); ``gather`` values whose mean is judged (optax' accumulation_size);
        ``mode`` ``"min"`` or ``"max"``.

    Source: torch's ReduceLROnPlateau, optax.contrib.reduce_on_plateau, Keras' callback of the name.

    """
    if like not in CONVENTIONS:
        raise ValueError(unknown(WHO, "convention like=", like, CONVENTIONS))
    known = [f.name for f in fields(Plateau)]
    for name in options:
        if name not in known:
            raise TypeError(unknown(WHO, "parameter", name, known))
    return Plateau(**{**CONVENTIONS[like], **options})
