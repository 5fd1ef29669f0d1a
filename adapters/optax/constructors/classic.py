"""The constructors that every library has had from its beginning."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.optax.constructors import MOMENTS, recipe
from optcore.rule import Rule

__all__ = [
    "adagrad", "adam", "adamw", "amsgrad", "lamb", "lion", "prodigy", "rmsprop", "sgd", "signum",
]  # fmt: skip


def sgd(
    learning_rate: Any, momentum: Any = None, nesterov: bool = False, accumulator_dtype: Any | None = None
) -> Native:
    """Gradient descent, with momentum in its sum form."""
    rule: Rule = optcore.sgd
    if momentum is not None:
        rule = (optcore.nesterov if nesterov else optcore.momentum)(beta=momentum)
    return Native(recipe(rule, lr=learning_rate, decay="with"), {"m": "trace"}, dtypes={"m": accumulator_dtype})


def adam(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any | None = None, *, nesterov: bool = False,
) -> Native:  # fmt: skip
    """Adam."""
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, 0.0, nesterov=nesterov)


def adamw(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any | None = None, weight_decay: Any = 1e-4, mask: Any | None = None, *, nesterov: bool = False,
) -> Native:  # fmt: skip
    """Adam with decoupled decay."""
    numbers = dict(beta1=b1, beta2=b2, epsilon=eps, epsilon_root=eps_root)
    rule = optcore.nadam(like="optax") if nesterov else optcore.adam
    found = recipe(rule, lr=learning_rate, weight_decay=weight_decay, **numbers)
    return Native(found, MOMENTS, mask=mask, dtypes={"m": mu_dtype})


def amsgrad(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any | None = None, bias_correction_mu: bool = True, bias_correction_nu: bool = True,
) -> Native:  # fmt: skip
    """AMSGrad with the maximum taken after bias correction."""
    numbers = dict(beta1=b1, beta2=b2, epsilon=eps, epsilon_root=eps_root)
    if bias_correction_mu != bias_correction_nu:
        raise NotImplementedError(
            "optcore.adapters.optax.amsgrad: bias_correction_mu and bias_correction_nu must be equal; correct both "
            "moments or none"
        )
    rule = optcore.amsgrad(correction="before" if bias_correction_nu else "none", **numbers)
    return Native(recipe(rule, lr=learning_rate), MOMENTS, dtypes={"m": mu_dtype})


def rmsprop(
    learning_rate: Any, decay: Any = 0.9, eps: Any = 1e-8, initial_scale: Any = 0.0, eps_in_sqrt: bool = True,
    centered: bool = False, momentum: Any = None, nesterov: bool = False, bias_correction: bool = False,
) -> Native:  # fmt: skip
    """RMSprop with the epsilon inside the root and the learning rate inside the momentum."""
    rule = optcore.centered_rmsprop if centered else optcore.rmsprop
    place = {"epsilon": 0.0, "epsilon_root": eps} if eps_in_sqrt else {"epsilon": eps, "epsilon_root": 0.0}
    rule = rule(beta=decay, initial_scale=initial_scale, debias=bias_correction, **place)
    if momentum is not None:
        rule = optcore.chain(rule, (optcore.nesterov_velocity if nesterov else optcore.velocity)(beta=momentum))
    return Native(recipe(rule, lr=learning_rate), {"v": "nu", "h": "mu", "velocity": "trace"})


def adagrad(learning_rate: Any, initial_accumulator_value: Any = 0.1, eps: Any = 1e-7) -> Native:
    """Adagrad that starts at 0.1, with the epsilon inside the root."""
    rule = optcore.adagrad(like="optax", epsilon_root=eps, initial_accumulator=initial_accumulator_value)
    return Native(recipe(rule, lr=learning_rate), {"sum": "sum_of_squares"})


def lion(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.99, mu_dtype: Any | None = None, weight_decay: Any = 1e-3,
    mask: Any | None = None,
) -> Native:  # fmt: skip
    """Lion."""
    found = recipe(optcore.lion, lr=learning_rate, beta1=b1, beta2=b2, weight_decay=weight_decay)
    return Native(found, MOMENTS, mask=mask, dtypes={"m": mu_dtype})


def signum(learning_rate: Any, beta: Any = 0.9, accumulator_dtype: Any | None = None) -> Native:
    """The sign of the momentum."""
    return Native(recipe(optcore.signum(beta=beta), lr=learning_rate), {"m": "ema"}, dtypes={"m": accumulator_dtype})


def lamb(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-6, eps_root: Any = 0.0, weight_decay: Any = 0.0,
    mask: Any | None = None,
) -> Native:  # fmt: skip
    """LAMB with the decay inside the trust ratio."""
    numbers = dict(beta1=b1, beta2=b2, epsilon=eps, epsilon_root=eps_root)
    found = recipe(optcore.lamb, lr=learning_rate, weight_decay=weight_decay, **numbers)
    return Native(found, MOMENTS, mask=mask)


def prodigy(
    learning_rate: Any = 1.0, betas: Any = (0.9, 0.999), beta3: Any | None = None, eps: Any = 1e-8,
    estim_lr0: Any = 1e-6, estim_lr_coef: Any = 1.0, weight_decay: Any = 0.0, safeguard_warmup: bool = False,
) -> Native:  # fmt: skip
    """Prodigy with bias correction."""
    numbers = dict(beta1=betas[0], beta2=betas[1], beta3=beta3, epsilon=eps, d0=estim_lr0, d_coefficient=estim_lr_coef)
    rule = optcore.prodigy(like="optax", safeguard_warmup=safeguard_warmup, **numbers)
    found = recipe(rule, lr=learning_rate, weight_decay=weight_decay)
    names = {"m": "exp_avg", "v": "exp_avg_sq", "s": "grad_sum", "start": "params0", "d": "estim_lr"}
    names["numerator"] = "numerator_weighted"
    return Native(found, names)
