"""The constructors that every library has had from its beginning."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.keras.constructors import MOMENTS, recipe
from optcore.adapters.native import Native
from optcore.adapters.native.numbers import absent, first, times
from optcore.rule import Rule

__all__ = ["SGD", "Adafactor", "Adagrad", "Adam", "AdamW", "Lamb", "Lion", "RMSprop"]


def SGD(learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False, weight_decay: Any = None) -> Native:
    """Gradient descent, with momentum in its velocity form."""
    rule: Rule = optcore.sgd
    if not 0 <= first(momentum) <= 1:
        raise ValueError("`momentum` must be a float between [0, 1].")
    if not absent(momentum):
        rule = (optcore.nesterov_velocity if nesterov else optcore.velocity)(beta=momentum)
    return Native(recipe(rule, learning_rate, weight_decay), {"velocity": "momentum"})


def Adam(
    learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
    amsgrad: bool = False, weight_decay: Any = None,
) -> Native:  # fmt: skip
    """Adam with the epsilon beside the uncorrected root."""
    rule = optcore.amsgrad(like="keras") if amsgrad else optcore.adam(like="keras")
    return Native(
        recipe(rule, learning_rate, weight_decay, beta1=beta_1, beta2=beta_2, epsilon_hat=epsilon),
        MOMENTS,
        blocks=(("m", "v"), ("v_max",)) if amsgrad else None,
    )


def AdamW(
    learning_rate: Any = 0.001, weight_decay: Any = 0.004, beta_1: float = 0.9, beta_2: float = 0.999,
    epsilon: float = 1e-7, amsgrad: bool = False,
) -> Native:  # fmt: skip
    """Adam with decoupled decay."""
    return Adam(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay)


def RMSprop(
    learning_rate: Any = 0.001, rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7,
    centered: bool = False, weight_decay: Any = None,
) -> Native:  # fmt: skip
    """RMSprop with the epsilon inside the root and the learning rate inside the momentum."""
    rule = optcore.centered_rmsprop if centered else optcore.rmsprop
    rule = rule(like="keras", beta=rho, epsilon_root=epsilon)
    if not absent(momentum):
        rule = optcore.chain(rule, optcore.velocity(beta=momentum))
    return Native(
        recipe(rule, learning_rate, weight_decay),
        {"v": "velocity", "velocity": "momentum", "h": "average_gradient"},
        blocks=(("v",), ("velocity",), ("h",)),
    )


def Adagrad(
    learning_rate: Any = 0.001, initial_accumulator_value: float = 0.1, epsilon: float = 1e-7, weight_decay: Any = None
) -> Native:
    """Adagrad that starts at 0.1, with the epsilon inside the root."""
    rule = optcore.adagrad(like="keras", initial_accumulator=initial_accumulator_value, epsilon_root=epsilon)
    return Native(recipe(rule, learning_rate, weight_decay), {"sum": "accumulator"})


def Lion(learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99, weight_decay: Any = None) -> Native:
    """Lion."""
    return Native(recipe(optcore.lion, learning_rate, weight_decay, beta1=beta_1, beta2=beta_2), MOMENTS)


def Lamb(
    learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
    weight_decay: Any = None,
) -> Native:  # fmt: skip
    """LAMB with the decay outside the trust ratio."""
    rule = optcore.chain(optcore.adam(beta1=beta_1, beta2=beta_2, epsilon=epsilon), optcore.trust_ratio)
    return Native(recipe(rule, learning_rate, weight_decay), MOMENTS)


def Adafactor(
    learning_rate: Any = 0.001, beta_2_decay: float = -0.8, epsilon_1: float = 1e-30, epsilon_2: float = 1e-3,
    clip_threshold: float = 1.0, relative_step: bool = True, weight_decay: Any = None,
) -> Native:  # fmt: skip
    """Adafactor with the last two axes factored, and with the relative step, which Keras takes in any case."""
    if not relative_step:
        raise NotImplementedError(
            "optcore.adapters.keras.Adafactor: relative_step=False changes nothing in Keras' own, whose step stays "
            "relative; leave it True, or give optcore.Recipe('adafactor', relative_step=False) to from_recipe"
        )
    numbers = dict(
        beta2_decay=times(-1.0, beta_2_decay), epsilon1=epsilon_1, epsilon2=epsilon_2, threshold=clip_threshold
    )
    rule = optcore.adafactor(**numbers)
    return Native(recipe(rule, learning_rate, weight_decay), {"rows": "r", "columns": "c", "v": "v"})
