"""The constructors of rules that find their own step size, of leaf-wise rates, of games and of the schedule-free."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.optax.constructors import MOMENTS, recipe

__all__ = [
    "cocob", "dadapt_adamw", "dog", "dowg", "fromage", "lars", "madgrad", "novograd", "optimistic_adam",
    "optimistic_adam_v2", "optimistic_gradient_descent", "schedule_free_adamw", "schedule_free_sgd", "sm3",
]  # fmt: skip


def lars(
    learning_rate: Any, weight_decay: Any = 0.0, weight_decay_mask: Any = True, trust_coefficient: Any = 0.001,
    eps: Any = 0.0, trust_ratio_mask: Any = True, momentum: Any = 0.9, nesterov: bool = False,
) -> Native:  # fmt: skip
    """LARS with the norm of the decayed gradient in its ratio."""
    if trust_ratio_mask is not True:
        raise NotImplementedError("optcore.adapters.optax.lars: leave trust_ratio_mask; use optax.partition instead")
    numbers = dict(beta=momentum, trust_coefficient=trust_coefficient, epsilon=eps, nesterov=nesterov)
    found = recipe(optcore.lars(like="optax", **numbers), lr=learning_rate, weight_decay=weight_decay)
    return Native(found, {"velocity": "trace"}, mask=None if weight_decay_mask is True else weight_decay_mask)


def fromage(learning_rate: Any, min_norm: Any = 1e-6) -> Native:
    """Fromage with both norms of at least ``min_norm``."""
    return Native(recipe(optcore.fromage(min_size=min_norm, min_length=min_norm), lr=learning_rate))


def sm3(learning_rate: Any, momentum: Any = 0.9) -> Native:
    """SM3 with momentum."""
    names = {"m": "nu", **{f"axis{i}": f"mu_{i}" for i in range(5)}}
    return Native(recipe(optcore.sm3(like="optax", beta1=momentum), lr=learning_rate), names)


def novograd(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.25, eps: Any = 1e-6, eps_root: Any = 0.0, weight_decay: Any = 0.0
) -> Native:
    """NovoGrad."""
    rule = optcore.novograd(beta1=b1, beta2=b2, epsilon=eps, epsilon_root=eps_root)
    return Native(recipe(rule, lr=learning_rate, weight_decay=weight_decay), MOMENTS)


def optimistic_gradient_descent(learning_rate: Any, alpha: Any = 1.0, beta: Any = 1.0) -> Native:
    """The gradient, and how it changed."""
    rule = optcore.optimistic_gradient_descent(alpha=alpha, beta=beta)
    return Native(recipe(rule, lr=learning_rate), {"last": "previous_gradient"})


GAME = {**MOMENTS, "last": "previous_gradient"}


def optimistic_adam(
    learning_rate: Any, optimism: Any | None = None, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-08,
    eps_root: Any = 0.0, mu_dtype: Any | None = None, *, nesterov: bool = True,
) -> Native:  # fmt: skip
    """Optimistic Adam, its optimism the learning rate where None."""
    numbers = dict(beta1=b1, beta2=b2, epsilon=eps, epsilon_root=eps_root, nesterov=nesterov)
    rule = optcore.optimistic_adam(optimism=optimism, **numbers)
    return Native(recipe(rule, lr=learning_rate), GAME, dtypes={"m": mu_dtype})


def optimistic_adam_v2(
    learning_rate: Any, *, alpha: Any = 1.0, beta: Any = 1.0, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-08,
    eps_root: Any = 0.0, mu_dtype: Any | None = None, nesterov: bool = True,
) -> Native:  # fmt: skip
    """Optimistic Adam whose terms both follow the learning rate."""
    numbers = dict(beta1=b1, beta2=b2, epsilon=eps, epsilon_root=eps_root, nesterov=nesterov)
    rule = optcore.optimistic_adam_v2(alpha=alpha, beta=beta, **numbers)
    return Native(recipe(rule, lr=learning_rate), GAME, dtypes={"m": mu_dtype})


def madgrad(learning_rate: Any, momentum: Any = 0.9, weight_decay: Any = 0.0, eps: Any = 1e-6) -> Native:
    """MADGRAD with coupled decay."""
    rule = optcore.madgrad(beta=momentum, epsilon=eps, lr_epsilon=eps)
    found = recipe(rule, lr=learning_rate, weight_decay=weight_decay)
    return Native(found, {"sum": "s", "squares": "grad_sum_sq", "start": "x0"})


def cocob(
    learning_rate: Any = 1.0, alpha: Any = 100.0, eps: Any = 1e-8, weight_decay: Any = 0.0, mask: Any | None = None
) -> Native:
    """COCOB with coupled decay; the learning rate scales the gradient."""
    found = recipe(optcore.cocob(alpha=alpha, epsilon=eps), lr=learning_rate, weight_decay=weight_decay)
    names = {"start": "init_particles", "sum": "cumulative_gradients", "largest": "scale", "total": "subgradients"}
    return Native(found, names, mask=mask)


def dog(
    learning_rate: Any = 1.0, init_step: Any = ("heuristic", 1e-6), eps: Any = 1e-8, weight_decay: Any | None = None,
    mask: Any | None = None,
) -> Native:  # fmt: skip
    """DoG with coupled decay; ``init_step`` is ("heuristic" | "distance" | "learning_rate", number)."""
    kind, number = init_step
    first = {
        "heuristic": {"first_distance": number, "first_share": number},
        "distance": {"first_distance": number, "first_share": 0.0},
        "learning_rate": {"first_rate": number},
    }
    if kind not in first:
        raise ValueError(f"Invalid init_step specification for scale_by_dog: init_step_type={kind!r}")
    decay = 0.0 if weight_decay is None else weight_decay
    found = recipe(optcore.dog(epsilon=eps, **first[kind]), lr=learning_rate, weight_decay=decay)
    return Native(found, {"start": "init_params", "distance": "max_dist", "squares": "sum_sq_norm_grads"}, mask=mask)


def dowg(
    learning_rate: Any = 1.0, init_estim_sq_dist: Any | None = None, eps: Any = 1e-4, weight_decay: Any | None = None,
    mask: Any | None = None,
) -> Native:  # fmt: skip
    """DoWG with coupled decay."""
    rule = optcore.dowg(epsilon=eps, first_distance=eps if init_estim_sq_dist is None else init_estim_sq_dist)
    found = recipe(rule, lr=learning_rate, weight_decay=0.0 if weight_decay is None else weight_decay)
    names = {"start": "init_params", "distance": "estim_sq_dist", "squares": "weighted_sq_norm_grads"}
    return Native(found, names, mask=mask)


def dadapt_adamw(
    learning_rate: Any = 1.0, betas: Any = (0.9, 0.999), eps: Any = 1e-8, estim_lr0: Any = 1e-6, weight_decay: Any = 0.0
) -> Native:
    """D-Adaptation's Adam with bias correction and decoupled decay."""
    rule = optcore.dadapt_adamw(beta1=betas[0], beta2=betas[1], epsilon=eps, d0=estim_lr0)
    names = {"m": "exp_avg", "v": "exp_avg_sq", "s": "grad_sum", "d": "estim_lr", "numerator": "numerator_weighted"}
    return Native(recipe(rule, lr=learning_rate, weight_decay=weight_decay), names)


def schedule_free_sgd(
    learning_rate: Any = 1.0, warmup_steps: Any | None = None, b1: Any = 0.9, weight_decay: Any | None = None,
    weight_lr_power: Any = 2.0, state_dtype: Any | None = None,
) -> Native:  # fmt: skip
    """Schedule-free gradient descent, its walk warming up one step after its weights."""
    rule = optcore.schedule_free_sgd(like="optax", beta=b1, rate_power=weight_lr_power, warmup=warmup_steps or 0)
    found = recipe(rule, lr=learning_rate, weight_decay=0.0 if weight_decay is None else weight_decay)
    return Native(found, dtypes={"z": state_dtype})


def schedule_free_adamw(
    learning_rate: Any = 0.0025, warmup_steps: Any | None = None, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8,
    weight_decay: Any = 0.0, weight_lr_power: Any = 2.0, state_dtype: Any | None = None,
) -> Native:  # fmt: skip
    """Schedule-free AdamW, its walk warming up one step after its weights."""
    numbers = dict(beta1=b1, beta2=b2, epsilon=eps, rate_power=weight_lr_power, warmup=warmup_steps or 0)
    found = recipe(optcore.schedule_free_adamw(like="optax", **numbers), lr=learning_rate, weight_decay=weight_decay)
    return Native(found, {"v": "nu"}, dtypes={"z": state_dtype})
