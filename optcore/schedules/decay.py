"""Schedules that fall from a peak once, and the constant schedule."""

from __future__ import annotations

import math
from typing import Any, Literal

from optcore.curves import between, turns
from optcore.scalars import power, select
from optcore.schedule import schedule
from optcore.typing import Count, Finite, NonNegative, Positive, Whole

__all__ = ["constant", "cosine", "exponential", "k_decay", "linear", "polynomial", "rex", "tanh"]


@schedule()
def constant(xp: Any, e: Any, *, value: NonNegative) -> Any:
    """The same value at every step; it is an array if the step is an array. Source: none is needed."""
    return value + 0.0 * e


@schedule()
def linear(xp: Any, e: Any, *, start: NonNegative, end: NonNegative, steps: Count, begin: Whole = 0) -> Any:
    """A line from ``start`` at e = begin to ``end`` at e = begin + steps, constant before and after.

    Source: optax linear_schedule; torch's LinearLR, which gives start and end as factors of its rate.
    """
    return between(start, end, xp.minimum(xp.maximum(e - begin, 0.0) / steps, 1.0))


@schedule(like={"torch": {"after": "repeat"}})
def cosine(
    xp: Any,
    e: Any,
    *,
    peak: NonNegative,
    steps: Count,
    floor: NonNegative = 0.0,
    exponent: Positive = 1.0,
    after: Literal["floor", "repeat"] = "floor",
) -> Any:
    """Half a cosine, to the power ``exponent``, from ``peak`` at e = 0 to ``floor`` at e = steps.

    After e = steps the value stays at the floor (``after="floor"``: optax, Keras), or the cosine goes on and rises
    again (``after="repeat"``: torch). Source: Loshchilov & Hutter 2017 (SGDR, eq. 5 without restarts); exponent of
    optax cosine_decay_schedule.
    """
    f = turns(xp, e, 2 * steps)[1] / steps if after == "repeat" else xp.minimum(e / steps, 1.0)
    return between(floor, peak, (0.5 + 0.5 * xp.cos(math.pi * f)) ** exponent)


@schedule(like={"keras": {"floor": 1e-4}})
def polynomial(
    xp: Any,
    e: Any,
    *,
    peak: NonNegative,
    steps: Count,
    floor: NonNegative = 0.0,
    power: Positive = 1.0,
    begin: Whole = 0,
    cycle: bool = False,
) -> Any:
    """``(peak - floor) * (1 - (e - begin)/steps)^power + floor``, and ``floor`` from e = begin + steps on.

    With ``cycle`` the fall ends at the next whole multiple of ``steps`` instead, so that the value jumps up at each.
    With power 1 it is the linear decay. Source: optax polynomial_schedule; cycle of Keras' PolynomialDecay.
    """
    passed = xp.maximum(e - begin, 0.0)
    horizon: Any = steps
    if cycle:
        index, rest = turns(xp, passed, steps)
        horizon = steps * xp.maximum(xp.where(rest > 0, index + 1.0, index), 1.0)
    return between(floor, peak, (1.0 - xp.minimum(passed / horizon, 1.0)) ** power)


@schedule()
def exponential(
    xp: Any,
    e: Any,
    *,
    start: NonNegative,
    rate: Positive,
    steps: Positive = 1.0,
    begin: Whole = 0,
    staircase: bool = False,
    end: NonNegative | None = None,
) -> Any:
    """``start * rate^((e - begin)/steps)`` from e = begin on; with ``staircase`` the exponent is a whole number.

    If ``end`` is given, the value stops there: falling with a rate below 1, rising with another. Source: optax
    exponential_decay; with steps 1 torch's ExponentialLR, without begin and end Keras' ExponentialDecay.
    """
    passed = xp.maximum(e - begin, 0.0)
    value = start * power(xp, rate, turns(xp, passed, steps)[0] if staircase else passed / steps)
    if end is None:
        return value
    return select(xp, rate < 1, xp.maximum(value, end), xp.minimum(value, end))


@schedule()
def k_decay(
    xp: Any,
    e: Any,
    *,
    peak: NonNegative,
    steps: Count,
    k: Positive,
    floor: NonNegative = 0.0,
    shape: Literal["cosine", "polynomial"] = "cosine",
    power: Positive = 1.0,
) -> Any:
    """The cosine or polynomial decay with ``(e/steps)^k`` for ``e/steps``, and ``floor`` from e = steps on.

    With a larger k the value stays near the peak for longer.
    Source: Zhang & Li 2020, whose polynomial is ``(1 - (e/steps)^k)^power``; the cosine is timm's k_decay.
    """
    f = xp.minimum(e / steps, 1.0) ** k
    left = 0.5 + 0.5 * xp.cos(math.pi * f) if shape == "cosine" else (1.0 - f) ** power
    return between(floor, peak, left)


@schedule()
def rex(xp: Any, e: Any, *, peak: NonNegative, steps: Count, floor: NonNegative = 0.0) -> Any:
    """``(1 - f) / (1 - f/2)`` of the way from ``floor`` to ``peak`` with f = e/steps, and ``floor`` after.

    Source: Chen, Wolfe & Kyrillidis 2022 (REX); pytorch_optimizer's REXScheduler.
    """
    f = xp.minimum(e / steps, 1.0)
    return between(floor, peak, (1.0 - f) / (1.0 - 0.5 * f))


def _rising(*, lower: Any, upper: Any, **others: Any) -> None:
    if isinstance(lower, float) and isinstance(upper, float) and not lower < upper:
        raise ValueError(f"lower={lower!r} is not below upper={upper!r}; the schedule would not fall")


@schedule(guard=_rising)
def tanh(
    xp: Any,
    e: Any,
    *,
    peak: NonNegative,
    steps: Count,
    floor: NonNegative = 0.0,
    lower: Finite = -7.0,
    upper: Finite = 3.0,
) -> Any:
    """A fall from ``peak`` as ``(1 - tanh x) / 2``, where x goes from ``lower`` to ``upper``; ``floor`` from steps on.

    Source: Hsueh, Li & Wu 2019 (HTD); bounds of timm's TanhLRScheduler, which jumps to the floor at the end as here.
    """
    f = xp.minimum(e / steps, 1.0)
    value = floor + (peak - floor) / (xp.exp(2.0 * (lower * (1.0 - f) + upper * f)) + 1.0)
    return xp.where(e >= steps, floor + 0.0 * e, value)
