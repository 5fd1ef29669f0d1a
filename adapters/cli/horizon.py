"""Over how many steps a schedule is drawn: its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from optcore.schedule import PointsHyper, Schedule, StepsHyper

__all__ = ["horizon"]

PERIODS = 4
"""The number of periods that are drawn of a schedule without an end."""
JUMP = 0.05
"""The share of all its values between which a schedule jumps, where it does not go on smoothly."""
GRID = 20_000
"""At most so many steps are looked at to find the last one that changes the value."""


def horizon(law: Schedule) -> int | None:
    """The step at which a schedule has come to its end; four of its periods where it has none.

    Where it comes there by a jump a tenth is added, so that one sees where to.

    None for a schedule without a number of steps among its parameters, such as a constant.
    """
    total = sum(_counts(law))
    if not total:
        return None
    last = _value(law, total)
    if all(_value(law, total * k) == last for k in (1.001, 1.37, 2, 3, 10, 100)):
        grid = np.unique(np.linspace(0, total, min(total + 1, GRID)).round().astype(np.int64))
        values = np.array([_value(law, int(e)) for e in grid])
        changed = np.flatnonzero(values != last)
        if not changed.size:
            return None
        at = int(changed[-1])
        end = int(grid[min(at + 1, len(grid) - 1)])
        jumps = abs(values[at] - last) > JUMP * (values.max() - values.min())
        return end + max(1, end // 10) if jumps else end
    steps = law.values().get("steps")
    nests = any(isinstance(value, Schedule) for value in law.values().values())
    return steps if isinstance(steps, int) and steps > 1 and not nests else PERIODS * total


def _value(law: Schedule, e: float) -> float:
    value = float(law(round(e)))
    return value if value == value else np.inf  # a NaN is no other value than a NaN


def _counts(law: Schedule) -> list[int]:
    """The numbers of steps that a schedule and those within it are given: whole ones, tables of steps, ``steps``."""
    found: list[int] = []

    def add(value: Any, hyper: Any) -> None:
        if isinstance(value, Schedule):
            found.extend(_counts(value))
        elif isinstance(hyper, PointsHyper):
            found.append(value[-1][0])
        elif isinstance(hyper, StepsHyper):
            found.extend(value[-1:])
        elif isinstance(value, tuple):
            for each in value:
                add(each, None)
        elif isinstance(value, int | float) and not isinstance(value, bool) and hyper is not None:
            whole = int in hyper.types or hyper.name in ("steps", "half_life")
            if whole and value > 1:
                found.append(round(value))

    for name, value in law.values().items():
        add(value, law.hypers[name])
    return found
