"""Warm-ups before another schedule, and schedules for moving averages that become longer."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from annotated_types import Gt, Lt

from optcore.schedule import ScheduleOr, resolve, schedule
from optcore.typing import Count, Decay, UnitInterval, Whole

__all__ = ["ema_warmup", "half_life_linear", "untuned_warmup", "warmup"]

Inside = Annotated[float, Gt(0), Lt(1)]


@schedule(like={"timm": {"clock": "on"}})
def warmup(
    xp: Any,
    e: Any,
    *,
    steps: Whole,
    then: ScheduleOr,
    start: UnitInterval = 0.0,
    shape: Literal["linear", "cosine", "sqrt"] = "linear",
    ahead: bool = False,
    clock: Literal["anew", "on"] = "anew",
) -> Any:
    """Rise from ``start`` times the first value of ``then`` to that value in ``steps``, then follow it.

    The rise has the shape f = e/steps ("linear"), ``(1 - cos(pi f)) / 2`` ("cosine") or ``1 - sqrt(1 - f)`` ("sqrt");
    with ``ahead`` f = (e + 1)/steps, so that the first update already has a share. From e = steps on the value is
    ``then(e - steps)``, or ``then(e)`` with ``clock="on"``. Source: Goyal et al. 2017, sec. 2.2; optax' linear_schedule
    joined with another; shapes of transformers' get_wsd_schedule; clock of timm's warmup_prefix=False.
    """
    f = xp.minimum((e + 1.0 if ahead else e) / max(steps, 1), 1.0)
    if shape == "cosine":
        f = 0.5 - 0.5 * xp.cos(math.pi * f)
    elif shape == "sqrt":
        f = 1.0 - xp.sqrt(1.0 - f)
    rise = (start + (1.0 - start) * f) * resolve(then, xp, 0)
    follow = resolve(then, xp, xp.maximum(e - steps, 0.0) if clock == "anew" else e) + 0.0 * e
    return xp.where(e < steps, rise, follow)


@schedule()
def untuned_warmup(
    xp: Any,
    e: Any,
    *,
    then: ScheduleOr,
    beta2: Decay = 0.999,
    shape: Literal["linear", "exponential"] = "linear",
) -> Any:
    """``then(e)`` times ``min(1, t (1 - beta2)/2)`` or ``1 - exp(-t (1 - beta2))`` with t = e + 1.

    It is a warm-up for Adam whose length follows from beta2 and need not be tuned. Source: Ma & Yarats 2021.
    """
    x = (1.0 - beta2) * (e + 1.0)
    return resolve(then, xp, e) * (xp.minimum(0.5 * x, 1.0) if shape == "linear" else -xp.expm1(-x))


@schedule()
def half_life_linear(xp: Any, e: Any, *, start: Inside, end: Inside, steps: Count) -> Any:
    """A decay beta from ``start`` to ``end`` whose ``1/log(beta)``, and so its half-life, changes in a line.

    It is meant for the slow average of AdEMAMix, and keeps ``end`` after ``steps``.
    Source: Pagliardini, Ablin & Grangier 2024.
    """
    f = xp.minimum(e / steps, 1.0)
    return xp.exp(1.0 / ((1.0 - f) / math.log(start) + f / math.log(end)))


@schedule()
def ema_warmup(xp: Any, e: Any, *, decay: Decay) -> Any:
    """``min(decay, (1 + e) / (10 + e))``: the decay of a moving average that is short after few steps.

    Source: TensorFlow's ExponentialMovingAverage with num_updates = e.
    """
    return xp.minimum((1.0 + e) / (10.0 + e), decay)
