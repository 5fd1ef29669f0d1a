"""Optimizers of the literature that are a rule with schedules, as recipes that every adapter takes."""

from __future__ import annotations

import itertools
from typing import Any

from optcore import registry
from optcore.recipe import Recipe
from optcore.scalars import Host
from optcore.schedule import Schedule
from optcore.schedules.batch import batch_growth, clocked, grown

__all__ = ["adamwr", "growing_batch", "sgdwr"]


def adamwr(
    *, lr: float = 1e-3, decay: float = 0.05, first: int, growth: float = 2.0, floor: float = 0.0, **options: Any
) -> Recipe:
    """Return the recipe of AdamW with warm restarts and normalised decay.

    Parameters
    ----------
    lr
        The rate at the start of each cycle (alpha of the source, in [p]); it falls as half a cosine.
    decay
        The normalised decay lambda_norm, in [1]: in a cycle of n steps each step decays by ``decay / sqrt(n)`` times
        the cosine, and not times the rate.
    first, growth
        The number of steps in the first cycle, and the factor by which each next cycle is longer. Moments are not
        reset.
    floor
        The smallest value of the cosine, in [0, 1].
    **options
        Other options and hyper-parameters of the recipe, such as ``beta1``.

    Source: Loshchilov & Hutter 2019, alg. 2 with appendix B.1 and B.2 (growth 2, lambda_norm 0.025 to 0.05).

    """
    return _restarted("adam", lr, decay, first, growth, floor, options)


def sgdwr(
    *, lr: float = 0.05, decay: float = 0.05, first: int, growth: float = 2.0, floor: float = 0.0, **options: Any
) -> Recipe:
    """Return the recipe of SGD with momentum, warm restarts and normalised decay; the parameters are :func:`adamwr`'s.

    The learning rate is inside the momentum buffer.

    Source: Loshchilov & Hutter 2019, alg. 1 with appendix B.1 and B.2.
    """
    return _restarted("velocity", lr, decay, first, growth, floor, options)


MOST = 1_000_000
"""The number of updates within which a batch must reach its limit, if the length of the run is not given."""


def growing_batch(recipe: Recipe, *, start: int = 1, limit: int, steps: int | None = None) -> Recipe:
    """Return the recipe with a batch that grows where the learning rate would fall, over the same micro-batches.

    Parameters
    ----------
    recipe
        A recipe whose ``lr`` is a schedule that starts above 0. While the schedule is above its first value, the batch
        is ``start`` and the rate is the schedule's.
    start, limit
        The number of micro-batches that make an update at the start, and the most that do. Once the limit is reached,
        the rate falls.
    steps
        The number of updates, of ``start`` micro-batches each, in a run of the recipe given; after them the batch
        keeps its last size. With None the batch stops growing once it has reached the limit.

    The schedules of the recipe given count updates of ``start`` micro-batches each. The new recipe makes fewer updates,
    so each of its schedules follows the number of micro-batches: update u has the batch and the numbers of step
    M(u)/start, where M(u) is the sum of the batches before it. The table of batch sizes is computed here, update by
    update.

    Raises
    ------
    TypeError, ValueError
        For a rate that is no schedule or starts at 0, for a recipe that accumulates already, and, without ``steps``,
        for a rate that does not bring the batch to its limit within a million updates or rises again after it.

    Source: Smith, Kindermans, Ying & Le 2018.

    """
    who = "optcore.recipes.growing_batch"
    decay = recipe.values["lr"]
    if not isinstance(decay, Schedule):
        raise TypeError(f"{who}: lr={decay!r} is no schedule; give one that falls")
    if recipe.gathers:
        raise ValueError(f"{who}: the recipe has accumulate={recipe.accumulate!r} already; give it as start")
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise ValueError(f"{who}: steps={steps!r} is no length of a run; give a whole number of at least 1, or None")
    if not decay(0) > 0:
        raise ValueError(
            f"{who}: lr={decay!r} starts at {decay(0)!r}, and the batch grows by the ratio to that; give the "
            "schedule that follows the warm-up, and put a warm-up around the rate that comes back"
        )
    batch_growth(decay=decay, start=start, limit=limit)  # checks start and limit
    sizes = _sizes(who, decay, start, limit, steps)
    if len(sizes) == 1:  # the batch never grows, so the updates stay the same
        return recipe.replace(accumulate=start)
    changes = {
        name: clocked(of=value, sizes=sizes, start=start)
        for name, value in recipe.values.items()
        if isinstance(value, Schedule)
    }
    laws = registry.schedules()
    ratio = laws["piecewise"](start=1.0, points=[(at, size / start) for at, size in sizes[1:]])
    changes["lr"] = laws["product"](parts=(changes["lr"], ratio))
    return recipe.replace(accumulate=laws["piecewise"](start=start, points=sizes[1:]), **changes)


def _sizes(who: str, decay: Schedule, start: int, limit: int, steps: int | None) -> list[tuple[int, int]]:
    """Return pairs (update, batch size), each valid from its update on, by going through the run update by update."""
    sizes: list[tuple[int, int]] = [(0, start)]
    micro, first = 0, decay(0)

    def size_at(e: float) -> int:
        return int(grown(Host, decay.at(Host, e) / first, start, limit))

    for update in range(MOST):
        e = micro / start
        if steps is not None and e >= steps:
            return sizes
        size = size_at(e)
        if size != sizes[-1][1]:
            sizes.append((update, size))
        if steps is None and size == limit:
            later = next((x for x in _spread(e) if size_at(x) < limit), None)
            if later is None:
                return sizes
            raise ValueError(
                f"{who}: lr rises again, at step {later:.0f} at the latest, after it has brought the batch to "
                f"limit={limit} at step {e:.0f}; give steps=, the length of the run, for a batch that follows"
            )
        micro += size
    if steps is not None:
        raise ValueError(f"{who}: steps={steps} are more than {MOST} updates, too many to be worked out; give fewer")
    raise ValueError(
        f"{who}: lr does not bring the batch to limit={limit} within {MOST} updates; give steps=, the length of the "
        "run, or a lower limit"
    )


def _spread(e: float) -> Any:
    """Return steps after e: the next hundred, and then steps that lie farther and farther apart."""
    return (e + x for x in itertools.chain(range(1, 100), (100.0 * 1.03**i for i in range(600))))


def _restarted(
    name: str, lr: float, decay: float, first: int, growth: float, floor: float, options: dict[str, Any]
) -> Recipe:
    """Return the recipe of a rule with warm restarts and normalised decay.

    The leaf template multiplies the decay by the rate, the source does not: so the decay is divided by alpha here.
    """
    laws = registry.schedules()
    if not lr > 0:
        raise ValueError(f"optcore.recipes: lr={lr!r} is no rate for a cycle to start with; give one above 0")
    rate = laws["sgdr"](peak=lr, first=first, growth=growth, floor=lr * floor)
    share = laws["normalized_decay"](value=decay / lr, first=first, growth=growth)
    return Recipe(name, lr=rate, weight_decay=share, decay="with", **options)
