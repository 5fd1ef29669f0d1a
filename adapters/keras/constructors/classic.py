"""Keras' constructors of rules that take every variable alike, of whatever shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optcore
from optcore.adapters.keras.constructors import declare
from optcore.adapters.native.numbers import absent, first
from optcore.rule import Rule


@declare("learning_rate=0.01, momentum=0.0, nesterov=False, weight_decay=None").law({"velocity": "momentum"})
def SGD(momentum: Any, nesterov: bool) -> Rule:
    """Gradient descent, with momentum in its velocity form."""
    if not 0 <= first(momentum) <= 1:
        raise ValueError("`momentum` must be a float between [0, 1].")
    if absent(momentum):
        return optcore.sgd
    return (optcore.nesterov_velocity if nesterov else optcore.velocity)(beta=momentum)


def _adam(amsgrad: bool, **numbers: Any) -> Rule:
    return (optcore.amsgrad if amsgrad else optcore.adam)(like="keras", **numbers)


Adam = declare("""
    learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon: epsilon_hat = 1e-7, amsgrad=False, weight_decay=None
""").of(_adam, "Adam with the epsilon beside the uncorrected root.", blocks=(("m", "v"), ("v_max",)))

AdamW = declare("""
    learning_rate=0.001, weight_decay=0.004, beta_1=0.9, beta_2=0.999, epsilon: epsilon_hat = 1e-7, amsgrad=False
""").of(_adam, "Adam with decoupled decay.", blocks=(("m", "v"), ("v_max",)))


@declare("""
    learning_rate=0.001, rho: beta = 0.9, momentum=0.0, epsilon: epsilon_root = 1e-7, centered=False,
    weight_decay=None
""").law({"v": "velocity", "velocity": "momentum", "h": "average_gradient"}, blocks=(("v",), ("velocity",), ("h",)))
def RMSprop(momentum: Any, centered: bool, **numbers: Any) -> Rule:
    """RMSprop with the epsilon inside the root and the learning rate inside the momentum."""
    rule = (optcore.centered_rmsprop if centered else optcore.rmsprop)(like="keras", **numbers)
    return rule if absent(momentum) else optcore.chain(rule, optcore.velocity(beta=momentum))


Adagrad = declare("""
    learning_rate=0.001, initial_accumulator_value: initial_accumulator = 0.1, epsilon: epsilon_root = 1e-7,
    weight_decay=None
""").of(
    optcore.adagrad(like="keras"),
    "Adagrad that starts at 0.1, with the epsilon inside the root.",
    {"sum": "accumulator"},
)

Lion = declare("learning_rate=0.001, beta_1=0.9, beta_2=0.99, weight_decay=None").of(optcore.lion, "Lion.")


@declare("learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=None").law()
def Lamb(**numbers: Any) -> Rule:
    """LAMB with the decay outside the trust ratio."""
    return optcore.chain(optcore.adam(**numbers), optcore.trust_ratio)


@declare("""
    learning_rate=0.001, beta_2_decay: -beta2_decay = -0.8, epsilon_1: epsilon1 = 1e-30, epsilon_2: epsilon2 = 1e-3,
    clip_threshold: threshold = 1.0, relative_step=True, weight_decay=None
""").law({"rows": "r", "columns": "c", "v": "v"})
def Adafactor(relative_step: bool, **numbers: Any) -> Rule:
    """Adafactor with the last two axes factored, and with the relative step, which Keras takes in any case."""
    if not relative_step:
        raise NotImplementedError(
            "optcore.adapters.keras.Adafactor: relative_step=False changes nothing in Keras' own, whose step stays "
            "relative; leave it True, or give optcore.Recipe('adafactor', relative_step=False) to from_recipe"
        )
    return optcore.adafactor(**numbers)


ScheduleFreeAdamW = declare("""
    learning_rate=0.0025, beta_1=0.9, beta_2=0.999, epsilon=1e-8, warmup_steps: warmup = 0, weight_decay=None
""").of(
    optcore.schedule_free_adamw_mean,
    "Schedule-free AdamW with the plain mean; the decay reaches the parameter alone.",
    {"z": "momentum", "v": "velocity"},
)

Adadelta = declare("learning_rate=0.001, rho: beta = 0.95, epsilon: epsilon_root = 1e-7, weight_decay=None").of(
    optcore.adadelta, "Adadelta.", {"v": "accumulated_grad", "x": "accumulated_delta_var"}
)

Adamax = declare("""
    learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon: epsilon_outside = 1e-7, weight_decay=None
""").of(optcore.adamax(like="keras"), "AdaMax with the epsilon beside the maximum.", {"m": "momentum", "u": "norm"})

Nadam = declare("learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=None").of(
    optcore.nadam(like="keras"),
    "NAdam whose momentum grows by ``1 - 0.96^t / 2``; Keras keeps one product for all parameters.",
    blocks=(("m", "v"), ("mu_product",)),
)


def _refuse(values: Mapping[str, Any]) -> None:
    """Keras' own texts; of a schedule the first value counts."""
    for word, value in values.items():
        number, power = first(value), word == "learning_rate_power"
        if word in SIGNED and (number > 0.0 if power else number < 0.0):
            sign = "negative" if power else "positive"
            raise ValueError(f"`{word}` needs to be {sign} or zero. Received: {word}={number}.")


SIGNED = {
    "initial_accumulator_value", "learning_rate_power", "l1_regularization_strength", "l2_regularization_strength",
    "l2_shrinkage_regularization_strength",
}  # fmt: skip

Ftrl = declare("""
    learning_rate=0.001, learning_rate_power: -exponent = -0.5, initial_accumulator_value: initial_accumulator =
    0.1, l1_regularization_strength: l1 = 0.0, l2_regularization_strength: l2 / 2 = 0.0,
    l2_shrinkage_regularization_strength: shrinkage / 2 = 0.0, beta=0.0, weight_decay=None
""").of(
    optcore.ftrl,
    "FTRL-Proximal, whose penalties are twice what their arguments say.",
    {"n": "accumulator", "z": "linear"},
    refuse=_refuse,
)
