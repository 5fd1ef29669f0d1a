"""Schedules given by tables: stairs, and curves through points."""

from __future__ import annotations

from typing import Any, Literal

from optcore.curves import through, turns
from optcore.scalars import power
from optcore.schedule import Points, Steps, schedule
from optcore.typing import Count, NonNegative, Positive, UnitInterval, Whole

__all__ = ["from_points", "hold", "interpolate", "multiplicative", "multistep", "piecewise", "step"]


@schedule()
def hold(xp: Any, e: Any, *, value: NonNegative, factor: UnitInterval = 1 / 3, steps: Whole = 5) -> Any:
    """``factor * value`` while e < steps, then ``value``. Source: torch's ConstantLR and its defaults."""
    return xp.where(e >= steps, value + 0.0 * e, value * factor + 0.0 * e)


@schedule()
def step(xp: Any, e: Any, *, start: NonNegative, every: Count, rate: Positive = 0.1) -> Any:
    """``start * rate^floor(e/every)``. Source: torch's StepLR and its default rate."""
    index, _ = turns(xp, e, every)
    return start * power(xp, rate, index)


@schedule()
def multistep(xp: Any, e: Any, *, start: NonNegative, milestones: Steps, rate: Positive = 0.1) -> Any:
    """``start``, multiplied by ``rate`` at each milestone. Source: torch's MultiStepLR and its default rate."""
    value = start + 0.0 * e
    for i, at in enumerate(milestones, 1):
        value = xp.where(e >= at, start * power(xp, rate, float(i)) + 0.0 * e, value)
    return value


def _not_negative(*, points: Any, start: Any = 0.0, **options: Any) -> None:
    if any(value < 0 for _, value in points):
        raise ValueError(f"points={points!r} holds a negative value; give values of at least 0")


@schedule(guard=_not_negative, like={"keras": {"change": "after"}})
def piecewise(xp: Any, e: Any, *, start: NonNegative, points: Points, change: Literal["at", "after"] = "at") -> Any:
    """``start`` before the first point's step, then each point's value from its step on.

    The value changes ``"at"`` the step, as in torch and optax, or ``"after"`` it, as in Keras. Source: optax
    piecewise_constant_schedule; Keras' PiecewiseConstantDecay.
    """
    value = start + 0.0 * e
    for step, x in points:
        value = xp.where(e >= step if change == "at" else e > step, x + 0.0 * e, value)
    return value


@schedule(guard=_not_negative)
def interpolate(
    xp: Any, e: Any, *, start: NonNegative, points: Points, shape: Literal["linear", "cosine"] = "linear"
) -> Any:
    """Lines or half cosines from ``start`` at e = 0 through each point, constant after the last.

    Source: optax piecewise_interpolate_schedule, which is given the ratios of the values.
    """
    return through(xp, e, ((0, start), *points), shape)


@schedule(guard=_not_negative)
def from_points(xp: Any, e: Any, *, points: Points, origin: bool = False) -> Any:
    """Lines between the points, constant before the first and after the last.

    With ``origin`` it rises from 0 at e = 0 to the first point. Source: Su 2023 (Tiger), whose table multiplies the
    learning rate and starts at the origin.
    """
    start = ((0, 0.0),) if origin and points[0][0] > 0 else ()
    return through(xp, e, (*start, *points), "linear")


def _positive(*, points: Any, start: Any) -> None:
    if any(factor <= 0 for _, factor in points):
        raise ValueError(f"points={points!r} holds a factor that is not positive; give positive ones")


@schedule(guard=_positive)
def multiplicative(xp: Any, e: Any, *, start: NonNegative, points: Points) -> Any:
    """``start``, multiplied at every step e >= 1 by the factor of the last point whose step is at most e.

    The factor is 1 before the first point. Source: torch's MultiplicativeLR, with its function given as a table.
    """
    value = start + 0.0 * e
    for i, (at, factor) in enumerate(points):
        first = max(at, 1)
        times = xp.maximum(e - first + 1.0, 0.0)
        if i + 1 < len(points):
            times = xp.minimum(times, float(points[i + 1][0] - first))
        value = value * power(xp, factor, times)
    return value
