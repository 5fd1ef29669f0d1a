"""A larger batch in place of a smaller learning rate."""

from __future__ import annotations

from typing import Any

from optcore.scalars import SMALLEST
from optcore.schedule import Schedule, ScheduleOr, resolve, schedule
from optcore.typing import Count

__all__ = ["batch_growth", "batch_residual", "growing_batch"]


def _grown(xp: Any, e: Any, decay: Any, start: int, limit: int) -> Any:
    share = resolve(decay, xp, e) / resolve(decay, xp, 0) + 0.0 * e
    size = xp.floor(start / xp.maximum(share, SMALLEST) + 0.5)
    return xp.minimum(xp.maximum(size, 1.0 * start), 1.0 * limit)


def _starts(*, decay: Any, start: int, limit: int) -> None:
    if start > limit:
        raise ValueError(f"start={start} is above limit={limit}")
    first = decay(0) if isinstance(decay, Schedule) else decay
    if isinstance(first, int | float) and not first > 0:
        raise ValueError(f"decay={decay!r} starts at {first!r}; put a warm-up around the residual rate")


@schedule(guard=_starts)
def batch_growth(xp: Any, e: Any, *, decay: ScheduleOr, start: Count, limit: Count) -> Any:
    """``round(start * decay(0)/decay(e))`` in [start, limit]: how many micro-batches make one update.

    Source: Smith, Kindermans, Ying & Le 2018: the noise lr N/B falls by a larger B as by a smaller lr.
    """
    return _grown(xp, e, decay, start, limit)


@schedule(guard=_starts)
def batch_residual(xp: Any, e: Any, *, decay: ScheduleOr, start: Count, limit: Count) -> Any:
    """``decay(e) * B(e)/start`` with B of :data:`batch_growth`: the learning rate that is left to fall.

    Source: Smith, Kindermans, Ying & Le 2018: with it lr/B is that of the decay at every step.
    """
    return resolve(decay, xp, e) * (_grown(xp, e, decay, start, limit) / start)


def growing_batch(decay: ScheduleOr, *, start: int, limit: int) -> tuple[Schedule, Schedule]:
    """The batch size (in micro-batches) and the learning rate that stand in for a decay with batches of ``start``."""
    return batch_growth(decay=decay, start=start, limit=limit), batch_residual(decay=decay, start=start, limit=limit)
