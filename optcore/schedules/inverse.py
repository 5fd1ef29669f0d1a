"""Schedules that fall like an inverse power of the number of steps."""

from __future__ import annotations

from typing import Any

from optcore.curves import turns
from optcore.scalars import power
from optcore.schedule import schedule
from optcore.typing import Count, NonNegative, Positive, Whole

__all__ = [
    "amos_constant_speed", "amos_dynamic_speed", "inverse_power", "inverse_sqrt", "inverse_time", "noam", "t5",
]  # fmt: skip


@schedule()
def inverse_time(
    xp: Any, e: Any, *, start: NonNegative, rate: NonNegative, steps: Positive = 1.0, staircase: bool = False
) -> Any:
    """``start / (1 + rate e/steps)``; with ``staircase`` e/steps is cut to a whole number.

    Source: Darken & Moody 1990 (search then converge); Keras' InverseTimeDecay.
    """
    return start / (1.0 + rate * (turns(xp, e, steps)[0] if staircase else e / steps))


@schedule()
def inverse_power(xp: Any, e: Any, *, start: NonNegative, rate: NonNegative, power: NonNegative = 0.75) -> Any:
    """``start / (1 + rate e)^power``.

    Source: Bottou 2012 (SGD tricks), whose rate is ``start`` times the regularisation; torch's ASGD, power = alpha.
    """
    return start / (1.0 + rate * e) ** power


@schedule()
def inverse_sqrt(xp: Any, e: Any, *, peak: NonNegative, warmup: Whole = 0, timescale: Count | None = None) -> Any:
    """A line from 0 to ``peak`` at e = warmup, then ``peak / sqrt((e - warmup + timescale) / timescale)``.

    A timescale that is not given is ``warmup``, or 10000 if there is no warm-up. Source: transformers'
    get_inverse_sqrt_schedule; Zhai et al. 2022 (Scaling Vision Transformers).
    """
    scale = timescale or warmup or 10_000
    fall = ((xp.maximum(e - warmup, 0.0) + scale) / scale) ** -0.5
    return peak * (xp.minimum(e / warmup, 1.0) * fall if warmup else fall)


@schedule()
def noam(xp: Any, e: Any, *, d_model: Count, warmup: Count = 4000, factor: Positive = 1.0) -> Any:
    """``factor * d_model^-0.5 * min(t^-0.5, t * warmup^-1.5)`` with t = e + 1; the peak is at t = warmup.

    Source: Vaswani et al. 2017, eq. 3, whose t starts at 1.
    """
    t = e + 1.0
    return factor * d_model**-0.5 * xp.minimum(t**-0.5, t * power(xp, float(warmup), -1.5))


@schedule()
def t5(xp: Any, e: Any, *, hold: Count = 10_000, factor: Positive = 1.0) -> Any:
    """``factor / sqrt(max(e, hold))``, constant up to e = hold. Source: Raffel et al. 2020, sec. 3.1.2."""
    return factor * xp.maximum(e, float(hold)) ** -0.5


@schedule()
def amos_constant_speed(xp: Any, e: Any, *, peak: NonNegative, half_life: Positive) -> Any:
    """``peak / (1 + k e)^2`` with k = (sqrt(2) - 1) / half_life, so that half of the peak is left at e = half_life.

    It is the rate, and the decay, of Amos for any base direction; k is alpha_0 p with p the constant speed at which the
    norm approaches its last value.
    Source: Tian & Parikh 2022 (Amos), solved as a differential equation by Su 2022.
    """
    return peak / (1.0 + (2.0**0.5 - 1.0) / half_life * e) ** 2


@schedule()
def amos_dynamic_speed(xp: Any, e: Any, *, peak: NonNegative, half_life: Positive) -> Any:
    """``peak / (1 + e / half_life)``: Amos with a speed that falls as the norm nears its last value.

    In the terms of the paper, 1/half_life = 2 alpha_0 p_0.

    Source: Tian & Parikh 2022 (Amos), solved as a differential equation by Su 2022.
    """
    return peak / (1.0 + e / half_life)
