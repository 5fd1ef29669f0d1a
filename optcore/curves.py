"""What schedules are drawn with: whole turns, straight lines and curves through points, exact where they meet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["between", "through", "turns"]


def between(low: Any, high: Any, f: Any) -> Any:
    """``low`` at f = 0 and ``high`` at f = 1, both exactly, as ``low + f (high - low)`` is not."""
    return (1.0 - f) * low + f * high


def turns(xp: Any, e: Any, length: Any) -> tuple[Any, Any]:
    """How many whole turns are behind step e, and the steps since the last one, in [0, length).

    A compiler makes ``e / 41`` a product with 1/41, which is below 1 at e = 41: the rest tells on which side it fell.
    """
    index = xp.floor(e / length)
    rest = e - length * index
    index = xp.where(rest >= length, index + 1.0, xp.where(rest < 0, index - 1.0, index))
    return index, e - length * index


def through(xp: Any, e: Any, points: Sequence[tuple[float, Any]], shape: str) -> Any:
    """The curve through pairs (step, value), level before the first and after the last.

    A pair whose step is not after the one before it is a jump.
    """
    value = points[0][1] + 0.0 * e
    for (a, x), (b, y) in itertools.pairwise(points):
        f = xp.minimum(xp.maximum(e - a, 0.0) / (b - a), 1.0) if b > a else 1.0 + 0.0 * e
        f = 0.5 - 0.5 * xp.cos(math.pi * f) if shape == "cosine" else f
        value = xp.where(e >= min(a, b), between(x, y, f), value)
    return value
