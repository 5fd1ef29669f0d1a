"""Schedules that fall from a peak, and the constant one."""

from __future__ import annotations

import math
from typing import Any

from optcore.scalars import power
from optcore.schedule import Points, schedule
from optcore.typing import Count, NonNegative, Positive


@schedule()
def constant(xp: Any, e: Any, *, value: NonNegative) -> Any:
    """The same value at every step, as an array where the step is one."""
    return value + 0.0 * e


@schedule()
def cosine(xp: Any, e: Any, *, peak: NonNegative, steps: Count, floor: NonNegative = 0.0) -> Any:
    """Half a cosine from ``peak`` at e = 0 to ``floor`` at e = steps, and ``floor`` after.

    Source: Loshchilov & Hutter 2017 (SGDR, eq. 5 without restarts); optax cosine_decay_schedule.
    """
    f = xp.minimum(e / steps, 1.0)
    return floor + (peak - floor) * (0.5 + 0.5 * xp.cos(math.pi * f))


@schedule()
def polynomial(
    xp: Any, e: Any, *, peak: NonNegative, steps: Count, floor: NonNegative = 0.0, power: Positive = 1.0
) -> Any:
    """``(peak - floor) * (1 - e/steps)^power + floor``, and ``floor`` from e = steps on.

    Source: optax polynomial_schedule; with power 1 the linear decay.
    """
    left = 1.0 - xp.minimum(e / steps, 1.0)
    return floor + (peak - floor) * left**power


def _in_order(*, start: float, points: Any) -> None:
    if any(value < 0 for _, value in points):
        raise ValueError(f"piecewise: points={points!r} holds a negative value; give values of at least 0")


@schedule(guard=_in_order)
def piecewise(xp: Any, e: Any, *, start: NonNegative, points: Points) -> Any:
    """``start`` until the first point's step, then each point's value from its step on.

    The value changes at the boundary, as in torch and optax; Keras changes one step later.
    """
    value = start + 0.0 * e
    for step, x in points:
        value = xp.where(e >= step, x + 0.0 * e, value)
    return value


@schedule()
def noam(xp: Any, e: Any, *, d_model: Count, warmup: Count = 4000, factor: Positive = 1.0) -> Any:
    """``factor * d_model^-0.5 * min(t^-0.5, t * warmup^-1.5)`` with t = e + 1; the peak is at t = warmup.

    Source: Vaswani et al. 2017, eq. 3, whose t starts at 1.
    """
    t = e + 1.0
    return factor * d_model**-0.5 * xp.minimum(t**-0.5, t * power(xp, float(warmup), -1.5))
