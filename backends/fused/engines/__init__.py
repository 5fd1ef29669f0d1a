"""Engines that run leaves faster than operation by operation, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optcore.backends import fused
from optcore.backends.base import Backend
from optcore.backends.fused.engines.engine import Engine
from optcore.backends.leaf import Leaf
from optcore.backends.storage import storage
from optcore.recipe import Recipe
from optcore.rule import Rule

__all__ = ["chosen", "one_pass"]


def _candidates(rule: Rule, backend: Backend, shared: Sequence[Any], donate: bool) -> list[Engine]:
    """The engines of a backend, the fastest first."""
    found: list[Engine] = []
    if fused.usable() or backend.devices:
        from optcore.backends.fused.engines.loop import Loop

        found.append(Loop(rule, backend, shared, donate))
    elif backend.name == "numpy":
        from optcore.backends.fused.engines.slices import Slices

        found.append(Slices(rule, backend, shared, donate))
    if backend.name == "torch":
        from optcore.backends.fused.engines.foreach import Foreach

        found.append(Foreach(rule, backend, shared, donate))
    return found


def chosen(
    rule: Rule, backend: Backend, leaves: Sequence[Leaf], shared: Sequence[Any], *, donate: bool = False
) -> list[Engine]:
    """The engines that have taken leaves, none where no engine takes any.

    ``donate`` lets them write into parameters and states. Totals are over all leaves, so a law with totals is run by
    one engine for all of them.
    """
    rest = dict(enumerate(leaves))
    found: list[Engine] = []
    for engine in _candidates(rule, backend, shared, donate):
        left = engine.take(rest) if rest else rest
        if engine.taken and not (engine.rounds and (left or found)):
            found.append(engine)
            rest = left
    return found


def one_pass(recipe: Recipe) -> bool:
    """Tell whether a step of this recipe is a pass over parameters, gradients and states, and nothing beside it."""
    return (
        fused.usable()
        and not recipe.rule.axes
        and not any(f.noise for f in recipe.rule.fields)
        and not recipe.gathers
        and recipe.average is None
        and recipe.on_nonfinite == "propagate"
        and recipe.rounding == "nearest"
        and storage(recipe.state_dtype).plain
    )
