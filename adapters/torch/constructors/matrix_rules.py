"""The constructors of torch's optimizers of matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optcore
from optcore.adapters.native.numbers import first
from optcore.adapters.torch.constructors import declare, refuse
from optcore.rule import Rule

SCALES = {None: "aspect", "original": "aspect", "match_rms_adamw": "rms", "spectral_unclamped": "spectral"}


def _refuse(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        number = first(value)
        if name in ("lr", "momentum", "weight_decay") and isinstance(number, int | float) and not number >= 0.0:
            called = {"lr": "Learning rate", "weight_decay": "weight decay"}.get(name, name)
            raise ValueError(f"{called} should be >= 0 but is: {number}")
    refuse(values, ("lr",))


@declare("""
    lr=1e-3, weight_decay=0.1, momentum: beta = 0.95, nesterov=True, ns_coefficients: (a, b, c) = (3.4445, -4.7750,
    2.0315), eps: floor = 1e-7, ns_steps: iterations = 5, adjust_lr_fn=None
""").law({"m": "momentum_buffer"}, decay="before", refuse=_refuse)
def Muon(ns_coefficients: Any, ns_steps: int, adjust_lr_fn: str | None, **numbers: Any) -> Rule:
    """Muon for matrices, iterated in the leaf's precision where torch iterates in bfloat16."""
    if adjust_lr_fn not in SCALES:
        raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
    if ns_steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(ns_coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = ns_coefficients
    scale = SCALES[adjust_lr_fn]
    return optcore.muon(like="torch", scale=scale, a=a, b=b, c=c, iterations=ns_steps, **numbers)
