"""The constructors that every library has had from its beginning."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.optax.constructors import declare
from optcore.rule import Rule


@declare("learning_rate, momentum=None, nesterov=False, accumulator_dtype=None").law({"m": "trace"}, decay="with")
def sgd(momentum: Any, nesterov: bool) -> Rule:
    """Gradient descent, with momentum in its sum form."""
    if momentum is None:
        return optcore.sgd
    return (optcore.nesterov if nesterov else optcore.momentum)(beta=momentum)


def _adam(nesterov: bool, **numbers: Any) -> Rule:
    return (optcore.nadam(like="optax") if nesterov else optcore.adam)(**numbers)


adam = declare("learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, mu_dtype=None, *, nesterov=False").of(
    _adam, "Adam."
)

adamw = declare("""
    learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, mu_dtype=None, weight_decay=1e-4, mask=None, *,
    nesterov=False
""").of(_adam, "Adam with decoupled decay.")

nadam = declare("learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, mu_dtype=None, *, nesterov=True").of(
    _adam, "NAdam with constant momentum."
)

nadamw = declare("""
    learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, mu_dtype=None, weight_decay=1e-4, mask=None, *,
    nesterov=True
""").of(_adam, "NAdam with constant momentum and decoupled decay.")


@declare("""
    learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, mu_dtype=None, bias_correction_mu=True,
    bias_correction_nu=True
""").law()
def amsgrad(bias_correction_mu: bool, bias_correction_nu: bool, **numbers: Any) -> Rule:
    """AMSGrad with the maximum taken after bias correction."""
    if bias_correction_mu != bias_correction_nu:
        raise NotImplementedError(
            "optcore.adapters.optax.amsgrad: bias_correction_mu and bias_correction_nu must be equal; correct both "
            "moments or none"
        )
    return optcore.amsgrad(correction="before" if bias_correction_nu else "none", **numbers)


@declare("""
    learning_rate, decay: beta = 0.9, eps=1e-8, initial_scale=0.0, eps_in_sqrt=True, centered=False, momentum=None,
    nesterov=False, bias_correction: debias = False
""").law({"v": "nu", "h": "mu", "velocity": "trace"})
def rmsprop(eps: Any, eps_in_sqrt: bool, centered: bool, momentum: Any, nesterov: bool, **numbers: Any) -> Rule:
    """RMSprop with the epsilon inside the root and the learning rate inside the momentum."""
    rule = optcore.centered_rmsprop if centered else optcore.rmsprop
    place = {"epsilon": 0.0, "epsilon_root": eps} if eps_in_sqrt else {"epsilon": eps, "epsilon_root": 0.0}
    rule = rule(**numbers, **place)
    if momentum is None:
        return rule
    return optcore.chain(rule, (optcore.nesterov_velocity if nesterov else optcore.velocity)(beta=momentum))


adagrad = declare("learning_rate, initial_accumulator_value: initial_accumulator = 0.1, eps: epsilon_root = 1e-7").of(
    optcore.adagrad(like="optax"),
    "Adagrad that starts at 0.1, with the epsilon inside the root.",
    {"sum": "sum_of_squares"},
)

lion = declare("learning_rate, b1=0.9, b2=0.99, mu_dtype=None, weight_decay=1e-3, mask=None").of(optcore.lion, "Lion.")

signum = declare("learning_rate, beta=0.9, accumulator_dtype=None").of(
    optcore.signum, "The sign of the momentum.", {"m": "ema"}
)

lamb = declare("learning_rate, b1=0.9, b2=0.999, eps=1e-6, eps_root=0.0, weight_decay=0.0, mask=None").of(
    optcore.lamb, "LAMB with the decay inside the trust ratio."
)

prodigy = declare("""
    learning_rate=1.0, betas: (beta1, beta2) = (0.9, 0.999), beta3=None, eps=1e-8, estim_lr0: d0 = 1e-6,
    estim_lr_coef: d_coefficient = 1.0, weight_decay=0.0, safeguard_warmup=False
""").of(
    optcore.prodigy(like="optax"),
    "Prodigy with bias correction.",
    {
        "m": "exp_avg",
        "v": "exp_avg_sq",
        "s": "grad_sum",
        "start": "params0",
        "d": "estim_lr",
        "numerator": "numerator_weighted",
    },
)
