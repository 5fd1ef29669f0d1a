"""The constructors of rules that adapt each coordinate's step."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.optax.constructors import MOMENTS, recipe

__all__ = [
    "acprop", "adabelief", "adadelta", "adamax", "adamaxw", "adan", "ademamix", "adopt", "nadam", "nadamw", "radam",
    "rprop", "sign_sgd", "simplified_ademamix", "yogi",
]  # fmt: skip


def quarter_power(t: Any) -> Any:
    """ADOPT's bound on a normalised gradient after t steps."""
    return t**0.25


def adadelta(
    learning_rate: Any = None, rho: Any = 0.9, eps: Any = 1e-6, weight_decay: Any = 0.0,
    weight_decay_mask: Any | None = None,
) -> Native:  # fmt: skip
    """Adadelta with coupled decay."""
    rate = 1.0 if learning_rate is None else learning_rate
    found = recipe(optcore.adadelta(beta=rho, epsilon_root=eps), lr=rate, weight_decay=weight_decay, decay="coupled")
    return Native(found, {"v": "e_g", "x": "e_x"}, mask=weight_decay_mask)


def adamax(learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> Native:
    """AdaMax."""
    return adamaxw(learning_rate, b1, b2, eps, 0.0)


def adamaxw(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, weight_decay: Any = 1e-4,
    mask: Any | None = None,
) -> Native:  # fmt: skip
    """AdaMax with decoupled decay."""
    rule = optcore.adamax(beta1=b1, beta2=b2, epsilon=eps)
    return Native(recipe(rule, lr=learning_rate, weight_decay=weight_decay), {"m": "mu", "u": "nu"}, mask=mask)


def nadam(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any | None = None, *, nesterov: bool = True,
) -> Native:  # fmt: skip
    """NAdam with constant momentum."""
    return nadamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, 0.0, nesterov=nesterov)


def nadamw(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any | None = None, weight_decay: Any = 1e-4, mask: Any | None = None, *, nesterov: bool = True,
) -> Native:  # fmt: skip
    """NAdam with constant momentum and decoupled decay."""
    numbers = dict(beta1=b1, beta2=b2, epsilon=eps, epsilon_root=eps_root)
    rule = optcore.nadam(like="optax") if nesterov else optcore.adam
    found = recipe(rule, lr=learning_rate, weight_decay=weight_decay, **numbers)
    return Native(found, MOMENTS, mask=mask, dtypes={"m": mu_dtype})


def radam(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, threshold: Any = 5.0,
    *, nesterov: bool = False,
) -> Native:  # fmt: skip
    """RAdam."""
    numbers = dict(beta1=b1, beta2=b2, epsilon=eps, epsilon_root=eps_root, threshold=threshold)
    return Native(recipe(optcore.radam(nesterov=nesterov, **numbers), lr=learning_rate), MOMENTS)


def rprop(
    learning_rate: Any, eta_minus: Any = 0.5, eta_plus: Any = 1.2, min_step_size: Any = 1e-6, max_step_size: Any = 50.0
) -> Native:
    """Rprop, which moves by the gradient it is given; optax moves by the one before."""
    rule = optcore.rprop(eta_minus=eta_minus, eta_plus=eta_plus, step_min=min_step_size, step_max=max_step_size)
    return Native(recipe(rule, lr=learning_rate), {"size": "step_sizes", "prev": "prev_updates"})


def adabelief(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16,
    *, nesterov: bool = False,
) -> Native:  # fmt: skip
    """AdaBelief."""
    rule = optcore.adabelief(beta1=b1, beta2=b2, epsilon=eps, epsilon_root=eps_root, nesterov=nesterov)
    return Native(recipe(rule, lr=learning_rate), MOMENTS)


def acprop(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16,
    weight_decay: Any = 0.0, mask: Any | None = None,
) -> Native:  # fmt: skip
    """ACProp with the distance from the mean before the gradient."""
    rule = optcore.acprop(like="optax", beta1=b1, beta2=b2, epsilon=eps, epsilon_root=eps_root)
    return Native(recipe(rule, lr=learning_rate, weight_decay=weight_decay), MOMENTS, mask=mask)


def yogi(learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-3) -> Native:
    """Yogi, both of whose moments start at 1e-6."""
    return Native(recipe(optcore.yogi(beta1=b1, beta2=b2, epsilon=eps), lr=learning_rate), MOMENTS)


def adan(
    learning_rate: Any, b1: Any = 0.98, b2: Any = 0.92, b3: Any = 0.99, eps: Any = 1e-8, eps_root: Any = 1e-8,
    weight_decay: Any = 0.0, mask: Any | None = None,
) -> Native:  # fmt: skip
    """Adan with optax' coefficient of the gradient's change, ``1 - b2``."""
    numbers = dict(beta1=b1, beta2=b2, beta3=b3, epsilon=eps, epsilon_root=eps_root)
    rule = optcore.adan(like="optax", **numbers)
    return Native(recipe(rule, lr=learning_rate, weight_decay=weight_decay), {"previous": "g"}, mask=mask)


def ademamix(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, b3: Any = 0.9999, alpha: Any = 5.0, eps: Any = 1e-8,
    eps_root: Any = 0.0, mu_dtype: Any | None = None, weight_decay: Any = 0.0, mask: Any | None = None,
) -> Native:  # fmt: skip
    """AdEMAMix."""
    numbers = dict(beta1=b1, beta2=b2, beta3=b3, alpha=alpha, epsilon=eps, epsilon_root=eps_root)
    found = recipe(optcore.ademamix, lr=learning_rate, weight_decay=weight_decay, **numbers)
    return Native(found, {"v": "nu"}, mask=mask, dtypes=dict.fromkeys(("m1", "m2", "v"), mu_dtype))


def simplified_ademamix(
    learning_rate: Any, b1: Any = 0.99, b2: Any = 0.95, alpha: Any = 0.0, eps: Any = 1e-8, eps_root: Any = 0.0,
    weight_decay: Any = 0.0, mask: Any | None = None,
) -> Native:  # fmt: skip
    """Simplified AdEMAMix."""
    numbers = dict(beta1=b1, beta2=b2, alpha=alpha, epsilon=eps, epsilon_root=eps_root)
    return Native(
        recipe(optcore.simplified_ademamix, lr=learning_rate, weight_decay=weight_decay, **numbers), mask=mask
    )


def adopt(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.9999, eps: Any = 1e-6, mu_dtype: Any | None = None,
    *, nesterov: bool = False, use_clipping: bool = True, clip_value_fn: Any = quarter_power,
) -> Native:  # fmt: skip
    """ADOPT."""
    if clip_value_fn is not quarter_power:
        raise NotImplementedError(
            "optcore.adapters.optax.adopt: clip_value_fn is a power of the step; give optcore.adopt its exponent"
        )
    rule = optcore.adopt(beta1=b1, beta2=b2, epsilon=eps, clipping=use_clipping, nesterov=nesterov)
    return Native(recipe(rule, lr=learning_rate), MOMENTS, dtypes={"m": mu_dtype})


def sign_sgd(learning_rate: Any) -> Native:
    """The sign of the gradient, without a state."""
    return Native(recipe(optcore.sign_sgd, lr=learning_rate))
