"""Optimizers of the literature that are a rule with schedules: recipes, ready to be given to any adapter."""

from __future__ import annotations

from typing import Any

from optcore import registry
from optcore.recipe import Recipe
from optcore.schedule import Schedule
from optcore.schedules.batch import growing_batch as _growing

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


def growing_batch(recipe: Recipe, *, start: int = 1, limit: int) -> Recipe:
    """The recipe with its batch growing where its learning rate would have fallen.

    Parameters
    ----------
    recipe
        One whose ``lr`` is a schedule. Where it is above its start the batch is ``start`` and the rate its own.
    start, limit
        The micro-batches that make an update at first, and at most. From the limit on the rate falls.

    Source: Smith, Kindermans, Ying & Le 2018. The schedules count updates, of which there are fewer.

    """
    decay = recipe.values["lr"]
    if not isinstance(decay, Schedule):
        raise TypeError(f"optcore.recipes.growing_batch: lr={decay!r} is no schedule; give one that falls")
    if recipe.gathers:
        raise ValueError(
            f"optcore.recipes.growing_batch: the recipe has accumulate={recipe.accumulate!r} already; give it as start"
        )
    sizes, rates = _growing(decay, start=start, limit=limit)
    return recipe.replace(lr=rates, accumulate=sizes)


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
