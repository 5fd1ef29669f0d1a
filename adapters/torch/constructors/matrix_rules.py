"""The constructors of torch's optimizers of matrices."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.native.numbers import first
from optcore.adapters.torch.constructors import recipe, refuse

__all__ = ["Muon"]

SCALES = {None: "aspect", "original": "aspect", "match_rms_adamw": "rms", "spectral_unclamped": "spectral"}


def Muon(
    lr: Any = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95, nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315), eps: float = 1e-7, ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
) -> Native:  # fmt: skip
    """Muon for matrices, iterated in the leaf's precision where torch iterates in bfloat16."""
    for name, value in (("Learning rate", lr), ("momentum", momentum), ("weight decay", weight_decay)):
        if isinstance(first(value), int | float) and not first(value) >= 0.0:
            raise ValueError(f"{name} should be >= 0 but is: {first(value)}")
    refuse(lr=lr)
    if adjust_lr_fn not in SCALES:
        raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
    if ns_steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(ns_coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = ns_coefficients
    numbers = dict(beta=momentum, floor=eps, a=a, b=b, c=c, iterations=ns_steps, nesterov=nesterov)
    rule = optcore.muon(like="torch", scale=SCALES[adjust_lr_fn], **numbers)
    return Native(recipe(rule, lr=lr, weight_decay=weight_decay, decay="before"), {"m": "momentum_buffer"})
