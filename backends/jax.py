"""The backend of JAX arrays and tracers."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from optcore.backends.base import Backend, missing

try:
    import jax
    import jax.numpy as jnp
except ImportError:
    raise missing("jax", "jax") from None


class JaxBackend(Backend):
    """The backend of JAX, whose compiler XLA turns subnormal numbers into zero on CPUs."""

    name = package = extra = "jax"
    flushes = True
    traces = True

    def cond(self, condition: Any, then: Callable[[Any], Any], state: Any) -> Any:
        if isinstance(condition, bool):
            return then(state) if condition else state
        return jax.lax.cond(condition, then, lambda s: s, state)

    def widen(self) -> None:
        jax.config.update("jax_enable_x64", True)

    def lanes(self, x: Any) -> Any:
        return jnp.asarray(x).astype(jnp.uint32)

    def index(self, like: Any) -> Any:  # without a device: the compiler places it with the arrays it is combined with
        return jnp.arange(prod(like.shape), dtype=jnp.uint32).reshape(like.shape)

    def power_of_two(self, x: Any) -> Any:
        bits = jax.lax.bitcast_convert_type(x, jnp.int32) & 0x7F800000
        return jax.lax.bitcast_convert_type(bits, jnp.float32)

    def array(self, values: Any, dtype: str) -> Any:
        return jnp.asarray(values, dtype=getattr(jnp, dtype))

    def floating(self, x: Any) -> Any:
        return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))

    def value_and_grad(self, f: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, Any]]:
        return jax.value_and_grad(f)


backend = JaxBackend(jnp)
