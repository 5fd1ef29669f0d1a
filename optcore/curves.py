"""The curves that schedules are made of: cycles, lines and curves through points, whose end points are exact."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["between", "through", "turns"]


def between(low: Any, high: Any, f: Any) -> Any:
    """Return the value at the fraction f of the line from ``low`` to ``high``.

    It is exactly ``low`` at f = 0 and ``high`` at f = 1; ``low + f (high - low)`` would miss ``high`` by a rounding.
    """
    return (1.0 - f) * low + f * high


def turns(xp: Any, e: Any, length: Any) -> tuple[Any, Any]:
    """Return the number of cycles of ``length`` steps that are complete at step e, and the steps since, in [0, length).

    A compiler may turn ``e / 41`` into a product with 1/41, which is below 1 at e = 41. So the quotient's whole part
    can be off by one; the steps left over show it, and it is corrected.
    """
    index = xp.floor(e / length)
    rest = e - length * index
    index = xp.where(rest >= length, index + 1.0, xp.where(rest < 0, index - 1.0, index))
    return index, e - length * index


def through(xp: Any, e: Any, points: Sequence[tuple[float, Any]], shape: str) -> Any:
    """Return the value at step e of a curve through pairs (step, value), constant before the first and after the last.

    ``shape`` is "linear", or "cosine" for half a cosine between two pairs. A pair whose step is no later than the one
    before it makes a jump.
    """
    value = points[0][1] + 0.0 * e
    for (a, x), (b, y) in itertools.pairwise(points):
        f = xp.minimum(xp.maximum(e - a, 0.0) / (b - a), 1.0) if b > a else 1.0 + 0.0 * e
        f = 0.5 - 0.5 * xp.cos(math.pi * f) if shape == "cosine" else f
        value = xp.where(e >= min(a, b), between(x, y, f), value)
    return value
