"""The backend of JAX that compiles every law as a whole, as a training step does; it is used by the proofs.

XLA takes liberties that operations run one by one do not show: it reassociates products of constants, contracts
products and sums to fused operations, and turns quotients of roots into reciprocal roots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optcore.backends.jax import JaxBackend, jax, jnp

__all__ = ["backend"]


class JittedBackend(JaxBackend):
    """The backend of JAX with every law run under ``jax.jit``."""

    name = "jitted"
    compiles = True

    def compiled(self, f: Callable[..., Any]) -> Callable[..., Any]:
        return jax.jit(f)  # type: ignore[no-any-return]


backend = JittedBackend(jnp)
