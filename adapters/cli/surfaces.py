"""The three functions of two numbers on which the path of a rule is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["SURFACES", "Surface"]


@dataclass(frozen=True)
class Surface:
    """A function of two numbers with its gradient, a start and a minimum."""

    name: str
    f: Callable[[Any, Any], Any]
    gradient: Callable[[float, float], tuple[float, float]]
    start: tuple[float, float]
    minimum: tuple[float, float]
    window: tuple[float, float, float, float]


def _beale(x: float, y: float) -> tuple[float, float]:
    rows = [(c - x + x * y**k, y**k - 1.0, k * x * y ** (k - 1)) for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
    return sum(2.0 * r * dx for r, dx, _ in rows), sum(2.0 * r * dy for r, _, dy in rows)


SURFACES = (
    Surface(
        "Rosenbrock",
        lambda x, y: (1.0 - x) ** 2 + 100.0 * (y - x * x) ** 2,
        lambda x, y: (-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)),
        (-1.2, 1.0),
        (1.0, 1.0),
        (-2.0, 2.0, -1.0, 3.0),
    ),
    Surface(
        "Beale",
        lambda x, y: sum((c - x + x * y**k) ** 2 for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))),
        _beale,
        (1.0, 1.0),
        (3.0, 0.5),
        (-1.0, 4.5, -2.0, 2.0),
    ),
    Surface(
        "quadratic, condition 100",
        lambda x, y: 0.5 * (x * x + 100.0 * y * y),
        lambda x, y: (x, 100.0 * y),
        (-4.0, 1.0),
        (0.0, 0.0),
        (-5.0, 5.0, -2.0, 2.0),
    ),
)
