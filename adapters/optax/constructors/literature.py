"""The constructors of rules with chance."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.optax.constructors import recipe, seed_of

__all__ = ["noisy_sgd"]


def noisy_sgd(
    learning_rate: Any, eta: Any = 0.01, gamma: Any = 0.55, key: Any = None, *, seed: int | None = None
) -> Native:
    """Gradient descent with noise that fades; a whole number for ``key`` seeds it, with other draws than optax's."""
    return Native(
        recipe(optcore.noisy_sgd(eta=eta, gamma=gamma), lr=learning_rate, seed=seed_of("noisy_sgd", key, seed))
    )
