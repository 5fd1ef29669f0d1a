"""Long and short steps in an order that keeps gradient descent stable."""

from __future__ import annotations

import math
from typing import Any

from optcore.schedule import schedule
from optcore.typing import Count, NonNegative, Positive, Whole

__all__ = ["chebyshev"]


def _power_of_two(*, steps: int, low: Any, high: Any, **others: Any) -> None:
    if steps & (steps - 1):
        raise ValueError(f"steps={steps} is no power of two, for which the order is defined; give 2^n")
    if isinstance(low, float) and isinstance(high, float) and not low <= high:
        raise ValueError(f"low={low!r} is above high={high!r}; give the spectrum's bounds in order")


@schedule(guard=_power_of_two, like={"pytorch_optimizer": {"delay": 2}})
def chebyshev(
    xp: Any,
    e: Any,
    *,
    steps: Count,
    peak: NonNegative = 1.0,
    low: Positive = 0.05,
    high: Positive = 1.0,
    delay: Whole = 0,
) -> Any:
    """``peak`` times the inverse Chebyshev nodes of the spectrum [low, high] in fractal order; the last one after.

    The order is [0], [0 1], [0 3 1 2], [0 7 3 4 1 6 2 5], ...: each is the one before, interlaced with its mirror.
    The first value is repeated ``delay`` times. Source: Agarwal, Goel & Zhang 2021 (fractal learning rates); bounds of
    pytorch_optimizer's get_chebyshev_schedule, which is two steps late.
    """
    at = xp.minimum(xp.maximum(e - delay, 0.0), steps - 1.0)
    node, size = 0.0 * at, 1.0
    for bit in reversed(range(steps.bit_length() - 1)):
        half = xp.floor(at / 2**bit)
        size *= 2.0
        node = xp.where(half - 2.0 * xp.floor(half / 2.0) > 0.5, size - 1.0 - node, node)
    angle = math.pi * (node + 0.5) / steps
    return 2.0 * peak / (high + low - (high - low) * xp.cos(angle))
