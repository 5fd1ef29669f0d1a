"""Reduce on plateau: a factor of the learning rate that depends on past values, as a pure state machine."""

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
"""The options that are numbers, with their bounds; the upper bound is excluded."""


def number(who: str, name: str, value: Any, low: float = 0.0, high: float = math.inf) -> float:
    """Return the value as a float if it is a number in [low, high).

    Raises TypeError for anything that is no number and ValueError outside the bounds; messages begin with ``who``.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{who}: {name}={value!r} is of type {type(value).__name__}; give [{low:g}, {high:g})")
    plain = float(value)
    if not low <= plain < high:
        raise ValueError(f"{who}: {name}={value!r} is out of range; give [{low:g}, {high:g})")
    return plain


class PlateauState(NamedTuple):
    """The state of a plateau between two values: Python numbers, or 0-d arrays if the values are arrays."""

    scale: Any  #: the factor by which the learning rate is multiplied now
    best: Any  #: the best value so far
    bad: Any  #: the number of values in a row that were no improvement
    cooldown: Any  #: the number of coming values that are not judged
    count: Any  #: the number of values gathered for the next judgement
    mean: Any  #: the mean of those values


@dataclass(frozen=True)
class Plateau:
    """The law that multiplies the learning rate by ``factor`` when a value has stopped improving.

    :func:`reduce_on_plateau` makes it and explains its options.
    """

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
        """Raise for options with which the rate could never be reduced, or would be raised."""
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
        """Return the state before the first value; its scale is 1."""
        return PlateauState(1.0, math.inf if self.mode == "min" else -math.inf, 0.0, 0.0, 0.0, 0.0)

    def update(self, state: PlateauState, value: Any) -> PlateauState:
        """Return the state after one more value; its ``scale`` multiplies the learning rate from now on."""
        xp, state, value = _placed(state, value)
        judged, due = self._judged(xp, state, value)
        lower = judged._replace(scale=self._lowered(xp, state.scale, self.floor, self.smallest))
        lower = self.reduced(lower)
        return PlateauState(*(xp.where(due, new, old) for new, old in zip(lower, judged, strict=True)))

    def judge(self, state: PlateauState, value: Any) -> tuple[PlateauState, Any]:
        """Return the state after one more value, its scale unchanged, and True if the rate is to be lowered.

        It is for callers that lower rates of their own: :meth:`lowered` gives such a rate, :meth:`reduced` the state
        after the reduction.
        """
        return self._judged(*_placed(state, value))

    def lowered(self, rate: float, *, floor: float | None = None, smallest: float | None = None) -> float:
        """Return a rate after one reduction; it is unchanged if the change would be at most ``smallest``.

        ``floor`` and ``smallest`` replace those of the plateau if they are given.
        """
        floor = self.floor if floor is None else floor
        return float(self._lowered(Host, rate, floor, self.smallest if smallest is None else smallest))

    def reduced(self, state: PlateauState) -> PlateauState:
        """Return the state after a reduction: it has no bad values, and its cooldown begins."""
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
    """Return the namespace in which a value is judged, with the state and the value in it.

    If one of them is an array they all become arrays of its library on its device; else they stay Python numbers.
    """
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
"""The options of each library: an improvement is relative in torch and optax, and absolute in Keras."""


def reduce_on_plateau(*, like: str = "torch", **options: Any) -> Plateau:
    """Multiply the learning rate by ``factor`` when ``patience`` values in a row were no improvement.

    Parameters
    ----------
    like
        The library whose convention holds: ``"torch"`` reduces at the bad value after ``patience`` others, ``"optax"``
        and ``"keras"`` at the bad value number ``patience``.
    **options
        ``factor`` and ``patience`` as above. ``mode`` is ``"min"`` if smaller values are better, else ``"max"``. A
        value is an improvement if it is better than ``(1 - rtol) best - atol``. ``cooldown`` is the number of values
        that are not judged after a reduction; bad values count again ``"after"`` the last of them, or already ``"at"``
        it (Keras), by ``thaws``. ``floor`` is the smallest scale; a change of the scale by ``smallest`` or less is
        left out (torch's eps). ``gather`` is the number of values whose mean is judged (optax' accumulation_size).

    Source: torch's ReduceLROnPlateau, optax.contrib.reduce_on_plateau, Keras' callback of the same name.

    """
    if like not in CONVENTIONS:
        raise ValueError(unknown(WHO, "convention like=", like, CONVENTIONS))
    known = [f.name for f in fields(Plateau)]
    for name in options:
        if name not in known:
            raise TypeError(unknown(WHO, "parameter", name, known))
    return Plateau(**{**CONVENTIONS[like], **options})
