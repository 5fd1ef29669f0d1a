"""Schedules made of schedules."""

from __future__ import annotations

from typing import Any

from optcore.curves import between
from optcore.schedule import ScheduleOr, Schedules, Steps, resolve, schedule
from optcore.typing import Finite

__all__ = ["join", "product", "proportion"]


def _one_less(*, parts: Any, boundaries: Any) -> None:
    if len(boundaries) != len(parts) - 1:
        raise ValueError(f"{len(boundaries)} boundaries between {len(parts)} parts; give one boundary less than parts")


@schedule(guard=_one_less)
def join(xp: Any, e: Any, *, parts: Schedules, boundaries: Steps) -> Any:
    """The parts one after the other; each part begins at its boundary, where its own step is 0.

    Source: optax join_schedules; torch's SequentialLR.
    """
    value = resolve(parts[0], xp, e) + 0.0 * e
    for at, part in zip(boundaries, parts[1:], strict=True):
        value = xp.where(e < at, value, resolve(part, xp, xp.maximum(e - at, 0.0)) + 0.0 * e)
    return value


@schedule()
def product(xp: Any, e: Any, *, parts: Schedules) -> Any:
    """The parts multiplied, all at the same step. Source: torch's ChainedScheduler."""
    value = 1.0 + 0.0 * e
    for part in parts:
        value = value * resolve(part, xp, e)
    return value


def _apart(*, low: Any, high: Any, **others: Any) -> None:
    if isinstance(low, float) and isinstance(high, float) and not low < high:
        raise ValueError(f"low={low!r} is not below high={high!r}; there is nothing between them to map")


@schedule(guard=_apart)
def proportion(
    xp: Any, e: Any, *, of: ScheduleOr, low: Finite, high: Finite, to_low: Finite = 2.0, to_high: Finite = 2.0
) -> Any:
    """The values of a schedule mapped by a line that takes ``low`` to ``to_low`` and ``high`` to ``to_high``.

    Source: Zhuang et al. 2022 (GSAM, its rho); pytorch_optimizer's ProportionScheduler and its defaults.
    """
    return between(to_low, to_high, (resolve(of, xp, e) - low) / (high - low)) + 0.0 * e
