"""Keras' constructors: same parameters, same defaults; the base class' keywords are left to the base class."""

from __future__ import annotations

from typing import Any

from optcore.recipe import Recipe
from optcore.rule import Rule

__all__ = ["MOMENTS", "recipe"]

MOMENTS = {"m": "momentum", "v": "velocity", "v_max": "velocity_hat"}
"""Our fields and Keras' names of the moments."""


def recipe(rule: Rule, learning_rate: Any, weight_decay: Any, **hyper: Any) -> Recipe:
    """Every Keras optimizer decays before the update, unless its law does; a weight_decay of None is none."""
    decay = 0.0 if weight_decay is None else weight_decay
    place = {} if "decay" in rule.owns else {"decay": "before"}
    return Recipe(rule, lr=learning_rate, weight_decay=decay, state_dtype="param", **place, **hyper)
