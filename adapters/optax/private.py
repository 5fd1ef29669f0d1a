"""optax' functions of a gradient for each example: what they clip and add noise to is optcore's."""

from __future__ import annotations

import math
from typing import Any

import optcore
from optcore import clipping
from optcore.adapters import native
from optcore.adapters.native import Native
from optcore.adapters.optax.constructors import seed_of
from optcore.adapters.optax.transformation import as_schedule, transformation
from optcore.backends.base import missing
from optcore.recipe import Recipe

try:
    import jax
    import optax
except ImportError:
    raise missing("jax and optax", "jax") from None

__all__ = [
    "differentially_private_aggregate", "dpsgd", "per_example_global_norm_clip", "per_example_layer_norm_clip",
]  # fmt: skip


def per_example_global_norm_clip(grads: Any, l2_norm_clip: Any) -> tuple[Any, Any]:
    """Each example's gradient held at a norm over all leaves, summed; and how many were clipped."""
    return clipping.per_example_global_norm_clip(grads, l2_norm_clip)


def per_example_layer_norm_clip(grads: Any, global_l2_norm_clip: Any, uniform: bool = True) -> tuple[Any, Any]:
    """Each example's gradient held at a norm leaf by leaf, summed; and how many were clipped in each."""
    return clipping.per_example_layer_norm_clip(grads, global_l2_norm_clip, uniform)


def differentially_private_aggregate(
    l2_norm_clip: Any, noise_multiplier: Any, key: Any = None, *, seed: int | None = None
) -> optax.GradientTransformationExtraArgs:
    """The mean of clipped examples with normal noise; a whole number for ``key`` seeds it, with draws of its own.

    The gradients given have the examples in their first axis. Source: Abadi et al. 2016, alg. 1.
    """
    for name, value in (("l2_norm_clip", l2_norm_clip), ("noise_multiplier", noise_multiplier)):
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            raise ValueError(
                f"optcore.adapters.optax.differentially_private_aggregate: {name}={value!r} is out of range; "
                "give a number of at least 0"
            )
    chosen = seed_of("differentially_private_aggregate", key, seed)
    noise = optcore.clipping.gaussian_noise(deviation=l2_norm_clip * noise_multiplier)

    def mean_of(examples: int) -> Any:
        both = optcore.chain(noise, optcore.scale(factor=1.0 / examples))
        return transformation(Native(Recipe(both, lr=1.0, seed=chosen, state_dtype="param"), link=True))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        sums, _ = per_example_global_norm_clip(updates, l2_norm_clip)
        return mean_of(jax.tree.leaves(updates)[0].shape[0]).update(sums, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(mean_of(1).init, update)


def dpsgd(
    learning_rate: optax.ScalarOrSchedule,
    l2_norm_clip: Any,
    noise_multiplier: Any,
    seed: int,
    momentum: Any = None,
    nesterov: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Descent along :func:`differentially_private_aggregate`, with momentum where it is given."""
    private = differentially_private_aggregate(l2_norm_clip, noise_multiplier, seed)
    rate = as_schedule(learning_rate)
    sgd = native.constructor("optax", "sgd").build(learning_rate=rate, momentum=momentum, nesterov=nesterov)
    return optax.chain(private, transformation(sgd))  # type: ignore[no-any-return]
