"""The constructors of rules that find their own step size, of games, of chance, and of schedule-free rules."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.optax.constructors import MOMENTS, declare, seed_of
from optcore.recipe import Recipe
from optcore.rule import Rule


@declare("""
    learning_rate, weight_decay=0.0, weight_decay_mask=True, trust_coefficient=0.001, eps=0.0, trust_ratio_mask=True,
    momentum: beta = 0.9, nesterov=False
""").law(
    unsupported={"trust_ratio_mask": "optcore.adapters.optax.lars: leave trust_ratio_mask; use optax.partition instead"}
)
def lars(weight_decay_mask: Any, **numbers: Any) -> Native:
    """LARS with the norm of the decayed gradient in its ratio."""
    mask = None if weight_decay_mask is True else weight_decay_mask
    return Native(Recipe(optcore.lars(like="optax", **numbers)), {"velocity": "trace"}, mask=mask)


@declare("learning_rate, min_norm=1e-6").law()
def fromage(min_norm: Any) -> Rule:
    """Fromage with both norms of at least ``min_norm``."""
    return optcore.fromage(min_size=min_norm, min_length=min_norm)


sm3 = declare("learning_rate, momentum: beta1 = 0.9").of(
    optcore.sm3(like="optax"), "SM3 with momentum.", {"m": "nu", **{f"axis{i}": f"mu_{i}" for i in range(5)}}
)

novograd = declare("learning_rate, b1=0.9, b2=0.25, eps=1e-6, eps_root=0.0, weight_decay=0.0").of(
    optcore.novograd, "NovoGrad."
)

optimistic_gradient_descent = declare("learning_rate, alpha=1.0, beta=1.0").of(
    optcore.optimistic_gradient_descent, "The gradient, and how it changed.", {"last": "previous_gradient"}
)

GAME = {**MOMENTS, "last": "previous_gradient"}

optimistic_adam = declare("""
    learning_rate, optimism=None, b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0, mu_dtype=None, *, nesterov=True
""").of(optcore.optimistic_adam, "Optimistic Adam, its optimism the learning rate where None.", GAME)

optimistic_adam_v2 = declare("""
    learning_rate, *, alpha=1.0, beta=1.0, b1=0.9, b2=0.999, eps=1e-08, eps_root=0.0, mu_dtype=None, nesterov=True
""").of(optcore.optimistic_adam_v2, "Optimistic Adam whose terms both follow the learning rate.", GAME)


@declare("learning_rate, momentum: beta = 0.9, weight_decay=0.0, eps=1e-6").law(
    {"sum": "s", "squares": "grad_sum_sq", "start": "x0"}
)
def madgrad(eps: Any, **numbers: Any) -> Rule:
    """MADGRAD with coupled decay."""
    return optcore.madgrad(epsilon=eps, lr_epsilon=eps, **numbers)


cocob = declare("learning_rate=1.0, alpha=100.0, eps=1e-8, weight_decay=0.0, mask=None").of(
    optcore.cocob,
    "COCOB with coupled decay; the learning rate scales the gradient.",
    {"start": "init_particles", "sum": "cumulative_gradients", "largest": "scale", "total": "subgradients"},
)


@declare("""
    learning_rate=1.0, init_step=("heuristic", 1e-6), eps=1e-8, weight_decay: weight_decay or 0.0 = None, mask=None
""").law({"start": "init_params", "distance": "max_dist", "squares": "sum_sq_norm_grads"})
def dog(init_step: Any, **numbers: Any) -> Rule:
    """DoG with coupled decay; ``init_step`` is ("heuristic" | "distance" | "learning_rate", number)."""
    kind, number = init_step
    first = {
        "heuristic": {"first_distance": number, "first_share": number},
        "distance": {"first_distance": number, "first_share": 0.0},
        "learning_rate": {"first_rate": number},
    }
    if kind not in first:
        raise ValueError(f"Invalid init_step specification for scale_by_dog: init_step_type={kind!r}")
    return optcore.dog(**numbers, **first[kind])


@declare("""
    learning_rate=1.0, init_estim_sq_dist: first_distance = None, eps=1e-4, weight_decay: weight_decay or 0.0 =
    None, mask=None
""").law({"start": "init_params", "distance": "estim_sq_dist", "squares": "weighted_sq_norm_grads"})
def dowg(init_estim_sq_dist: Any, eps: Any) -> Rule:
    """DoWG with coupled decay."""
    return optcore.dowg(epsilon=eps, first_distance=eps if init_estim_sq_dist is None else init_estim_sq_dist)


dadapt_adamw = declare("""
    learning_rate=1.0, betas: (beta1, beta2) = (0.9, 0.999), eps=1e-8, estim_lr0: d0 = 1e-6, weight_decay=0.0
""").of(
    optcore.dadapt_adamw,
    "D-Adaptation's Adam with bias correction and decoupled decay.",
    {"m": "exp_avg", "v": "exp_avg_sq", "s": "grad_sum", "d": "estim_lr", "numerator": "numerator_weighted"},
)

schedule_free_sgd = declare("""
    learning_rate=1.0, warmup_steps: warmup or 0 = None, b1: beta = 0.9, weight_decay: weight_decay or 0.0 = None,
    weight_lr_power: rate_power = 2.0, state_dtype: dtype[z] = None
""").of(
    optcore.schedule_free_sgd(like="optax"),
    "Schedule-free gradient descent, its walk warming up one step after its weights.",
)

schedule_free_adamw = declare("""
    learning_rate=0.0025, warmup_steps: warmup or 0 = None, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0,
    weight_lr_power: rate_power = 2.0, state_dtype: dtype[z] = None
""").of(
    optcore.schedule_free_adamw(like="optax"),
    "Schedule-free AdamW, its walk warming up one step after its weights.",
    {"v": "nu"},
)


@declare("learning_rate, eta=0.01, gamma=0.55, key=None, *, seed=None").law()
def noisy_sgd(key: Any, seed: int | None, **numbers: Any) -> Native:
    """Gradient descent with noise that fades; a whole number for ``key`` seeds it, with other draws than optax's."""
    return Native(Recipe(optcore.noisy_sgd(**numbers), seed=seed_of("noisy_sgd", key, seed)))
