"""torch.optim's constructors: same parameters, same defaults, same words in their errors."""

from __future__ import annotations

from typing import Any

from optcore.adapters.native.numbers import first
from optcore.recipe import Recipe
from optcore.rule import Rule

__all__ = ["recipe", "refuse"]


def refuse(**values: Any) -> None:
    """Torch's own texts, which callers match on; of a schedule the first value counts, an array's is not read."""
    words = {"lr": "learning rate", "eps": "epsilon value", "momentum": "momentum value", "rho": "rho value"}
    for name, value in values.items():
        if name == "betas":
            for i, beta in enumerate(map(first, value)):
                if isinstance(beta, int | float) and not 0.0 <= beta < 1.0:
                    raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        elif isinstance(number := first(value), int | float) and not number >= 0.0:
            raise ValueError(f"Invalid {words.get(name, f'{name} value')}: {number}")
        elif getattr(value, "shape", None) and tuple(value.shape) != (1,):
            raise ValueError("Tensor lr must be 1-element")


def recipe(rule: Rule, **hyper: Any) -> Recipe:
    return Recipe(rule, state_dtype="param", **hyper)
