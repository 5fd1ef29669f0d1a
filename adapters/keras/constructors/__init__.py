"""Keras' constructors: same parameters, same defaults; the base class' keywords are left to the base class."""

from __future__ import annotations

from optcore.adapters.native.declared import Dialect

__all__ = ["MOMENTS", "declare"]

MOMENTS = {"m": "momentum", "v": "velocity", "v_max": "velocity_hat"}
"""Our fields and Keras' names of the moments."""

declare = Dialect(
    "learning_rate: lr, beta_1: beta1, beta_2: beta2, weight_decay: weight_decay or 0.0", MOMENTS, decay="before"
)
