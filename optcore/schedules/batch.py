"""A larger batch in place of a smaller learning rate."""

from __future__ import annotations

import itertools
from typing import Any

from optcore.scalars import SMALLEST
from optcore.schedule import Points, Schedule, ScheduleOr, resolve, schedule
from optcore.typing import Count

__all__ = ["batch_growth", "batch_residual", "clocked", "grown"]


def grown(xp: Any, share: Any, start: int, limit: int) -> Any:
    """Return the number of micro-batches in [start, limit] for a rate that is ``share`` times its first value."""
    size = xp.floor(start / xp.maximum(share, SMALLEST) + 0.5)
    return xp.minimum(xp.maximum(size, 1.0 * start), 1.0 * limit)


def _share(xp: Any, e: Any, decay: Any) -> Any:
    return resolve(decay, xp, e) / resolve(decay, xp, 0) + 0.0 * e


def _starts(*, decay: Any, start: int, limit: int) -> None:
    if start > limit:
        raise ValueError(f"start={start} is above limit={limit}")
    first = decay(0) if isinstance(decay, Schedule) else decay
    if isinstance(first, int | float) and not first > 0:
        raise ValueError(f"decay={decay!r} starts at {first!r}; put a warm-up around the residual rate")


@schedule(guard=_starts)
def batch_growth(xp: Any, e: Any, *, decay: ScheduleOr, start: Count, limit: Count) -> Any:
    """``round(start * decay(0)/decay(e))`` in [start, limit], the number of micro-batches that make one update.

    The step e counts the decay's own updates, of ``start`` micro-batches each; ``optcore.recipes.growing_batch``
    converts it to the fewer updates of the growing batch.
    Source: Smith, Kindermans, Ying & Le 2018: the noise lr N/B falls by a larger B as by a smaller lr.
    """
    return grown(xp, _share(xp, e, decay), start, limit)


@schedule(guard=_starts)
def batch_residual(xp: Any, e: Any, *, decay: ScheduleOr, start: Count, limit: Count) -> Any:
    """``decay(e) * B(e)/start`` with B of :data:`batch_growth`: the learning rate that goes with the growing batch.

    It falls only once the batch has reached its limit. The step e is the decay's own, as in :data:`batch_growth`.
    Source: Smith, Kindermans, Ying & Le 2018: with it lr/B is that of the decay at every step.
    """
    return resolve(decay, xp, e) * (grown(xp, _share(xp, e, decay), start, limit) / start)


def _from_the_start(*, sizes: Any, **others: Any) -> None:
    if sizes[0][0] != 0 or any(size < 1 or size != int(size) for _, size in sizes):
        raise ValueError(
            f"sizes={sizes!r} is no table of batches; give whole sizes of at least 1, the first at update 0"
        )


@schedule(guard=_from_the_start)
def clocked(xp: Any, e: Any, *, of: ScheduleOr, sizes: Points, start: Count) -> Any:
    """The schedule ``of`` at step ``M(e)/start``, where M(e) counts the micro-batches before update e.

    ``sizes`` are pairs (update, micro-batches), each valid from its update on; the steps of ``of`` are updates of
    ``start`` micro-batches. Source: Smith, Kindermans, Ying & Le 2018, who compare by epochs.
    """
    before, micro = 0.0, sizes[0][1] * e
    for (a, size), (b, larger) in itertools.pairwise(sizes):
        before += size * (b - a)
        micro = xp.where(e >= b, before + larger * (e - b), micro)
    return resolve(of, xp, micro / start) + 0.0 * e
