"""optax's constructors: same parameters, same defaults."""

from __future__ import annotations

from typing import Any

from optcore.recipe import Recipe
from optcore.rule import Rule

__all__ = ["MOMENTS", "recipe", "seed_of"]

MOMENTS = {"m": "mu", "v": "nu", "v_max": "nu_max"}
"""Our fields and optax' names of the moments."""


def recipe(rule: Rule, **hyper: Any) -> Recipe:
    """State in the parameter's dtype, as optax keeps it."""
    return Recipe(rule, state_dtype="param", **hyper)


def seed_of(name: str, key: Any, seed: int | None) -> int:
    """The seed of optax' ``key`` or ``seed``, which must be a whole number; 0 where none is given."""
    if seed is not None and key is not None:
        raise ValueError("Only one of seed or key can be specified.")
    chosen = key if seed is None else seed
    if chosen is not None and not isinstance(chosen, int):
        raise TypeError(f"optcore.adapters.optax.{name}: key={chosen!r} is no whole number; give the seed itself")
    return chosen or 0
