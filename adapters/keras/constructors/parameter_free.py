"""The constructor of Keras' schedule-free rule."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.keras.constructors import recipe
from optcore.adapters.native import Native

__all__ = ["ScheduleFreeAdamW"]


def ScheduleFreeAdamW(
    learning_rate: Any = 0.0025, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
    warmup_steps: int = 0, weight_decay: Any = None,
) -> Native:  # fmt: skip
    """Schedule-free AdamW with the plain mean; the decay reaches the parameter alone."""
    numbers = dict(beta1=beta_1, beta2=beta_2, epsilon=epsilon, warmup=warmup_steps)
    found = recipe(optcore.schedule_free_adamw_mean, learning_rate, weight_decay, **numbers)
    return Native(found, {"z": "momentum", "v": "velocity"})
