"""optax's constructors: same parameters, same defaults."""

from __future__ import annotations

from typing import Any

from optcore.adapters.native.declared import Dialect

__all__ = ["MOMENTS", "declare", "seed_of"]

MOMENTS = {"m": "mu", "v": "nu", "v_max": "nu_max"}
"""Our fields and optax' names of the moments."""

declare = Dialect(
    """learning_rate: lr, b1: beta1, b2: beta2, eps: epsilon, eps_root: epsilon_root, weight_decay_mask: mask,
    mu_dtype: dtype[m], accumulator_dtype: dtype[m]""",
    MOMENTS,
)


def seed_of(name: str, key: Any, seed: int | None) -> int:
    """The seed of optax' ``key`` or ``seed``, which must be a whole number; 0 where none is given."""
    if seed is not None and key is not None:
        raise ValueError("Only one of seed or key can be specified.")
    chosen = key if seed is None else seed
    if chosen is not None and not isinstance(chosen, int):
        raise TypeError(f"optcore.adapters.optax.{name}: key={chosen!r} is no whole number; give the seed itself")
    return chosen or 0
