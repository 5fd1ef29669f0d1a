"""Optimizers of the literature that are a rule with schedules: recipes, ready to be given to any adapter."""

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
    """AdamW with warm restarts and normalised decay.

    Parameters
    ----------
    lr
        The rate at the start of each cycle (alpha of the source, in [p]), which falls as half a cosine.
    decay
        The normalised decay lambda_norm, in [1]: a cycle of n steps decays by ``decay / sqrt(n)`` times the cosine,
        without the rate.
    first, growth
        The steps of the first cycle, and how much longer each next one is. Moments are not reset.
    floor
        The smallest cosine, as a share of 1.
    **options
        Other options and hyper-parameters of the recipe, as ``beta1``.

    Source: Loshchilov & Hutter 2019, alg. 2 with appendix B.1 and B.2 (growth 2, lambda_norm 0.025 to 0.05).

    """
    return _restarted("adam", lr, decay, first, growth, floor, options)


def sgdwr(
    *, lr: float = 0.05, decay: float = 0.05, first: int, growth: float = 2.0, floor: float = 0.0, **options: Any
) -> Recipe:
    """SGD with momentum, its rate inside the buffer, with warm restarts and normalised decay; as :func:`adamwr`.

    Source: Loshchilov & Hutter 2019, alg. 1 with appendix B.1 and B.2.
    """
    return _restarted("velocity", lr, decay, first, growth, floor, options)


MOST = 1_000_000
"""The updates in which a batch has to reach its limit, where nobody says how many the run has."""


def growing_batch(recipe: Recipe, *, start: int = 1, limit: int, steps: int | None = None) -> Recipe:
    """The recipe with its batch growing where its learning rate would have fallen, over the same micro-batches.

    Parameters
    ----------
    recipe
        One whose ``lr`` is a schedule that starts above 0. Where it is above its start the batch is ``start`` and the
        rate its own.
    start, limit
        The micro-batches that make an update at first, and at most. From the limit on the rate falls.
    steps
        How many updates of ``start`` micro-batches the run of the recipe given has; the batch keeps its last size
        beyond them. None takes the run to have ended with its growth once the limit is reached.

    The schedules of the recipe given count updates of ``start`` micro-batches each. In the one that comes back updates
    are fewer, so each of its schedules runs by the micro-batches that came before: update u has the size and the
    numbers of step M(u)/start, where M(u) is the sum of the sizes before it. The table of sizes is worked out
    here, update by update.

    Raises
    ------
    TypeError, ValueError
        For a rate that is no schedule or starts at 0, a recipe that accumulates already, and, without ``steps``, a
        rate that does not bring the batch to its limit within a million updates or rises again behind it.

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
            f"{who}: lr={decay!r} starts at {decay(0)!r}, to which no batch can be measured; give the schedule behind "
            "the warm-up, and put a warm-up around the rate that comes back"
        )
    batch_growth(decay=decay, start=start, limit=limit)  # raises for a start or limit that is none
    sizes = _sizes(who, decay, start, limit, steps)
    if len(sizes) == 1:  # one clock for both
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
    """Pairs (update, size) that hold from their update on, by a walk over the micro-batches."""
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
    """Steps after e, the first hundred and then ever farther apart."""
    return (e + x for x in itertools.chain(range(1, 100), (100.0 * 1.03**i for i in range(600))))


def _restarted(
    name: str, lr: float, decay: float, first: int, growth: float, floor: float, options: dict[str, Any]
) -> Recipe:
    """The template multiplies the decay by the rate; the source does not, so it is divided by alpha first."""
    laws = registry.schedules()
    if not lr > 0:
        raise ValueError(f"optcore.recipes: lr={lr!r} is no rate for a cycle to start with; give one above 0")
    rate = laws["sgdr"](peak=lr, first=first, growth=growth, floor=lr * floor)
    share = laws["normalized_decay"](value=decay / lr, first=first, growth=growth)
    return Recipe(name, lr=rate, weight_decay=share, decay="with", **options)
