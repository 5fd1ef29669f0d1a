"""torch.optim's constructors: same parameters, same defaults, same words in their errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optcore.adapters.native.declared import Dialect
from optcore.adapters.native.numbers import first

__all__ = ["declare", "refuse"]

CALLED = {"lr": "learning rate", "eps": "epsilon value"}
CHECKED = "lr", "lr_decay", "eps", "betas", "momentum", "weight_decay", "momentum_decay", "initial_accumulator_value"


def refuse(values: Mapping[str, Any], checked: tuple[str, ...] = CHECKED) -> None:
    """Torch's own texts, which callers match on; of a schedule the first value counts, an array's is not read."""
    for name in checked:
        value = values.get(name)
        if name == "betas" and value is not None:
            for i, beta in enumerate(map(first, value)):
                if isinstance(beta, int | float) and not 0.0 <= beta < 1.0:
                    raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        elif isinstance(number := first(value), int | float) and not number >= 0.0:
            raise ValueError(f"Invalid {CALLED.get(name, f'{name} value')}: {number}")
        elif getattr(value, "shape", None) and tuple(value.shape) != (1,):
            raise ValueError("Tensor lr must be 1-element")


declare = Dialect(
    "lr, betas: (beta1, beta2), eps: epsilon",
    {"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"},
    run=("foreach", "fused", "capturable", "differentiable"),
    decay="coupled",
    refuse=refuse,
)
