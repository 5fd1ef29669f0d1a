"""The constructors of rules that adapt each coordinate's step."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.keras.constructors import MOMENTS, recipe
from optcore.adapters.native import Native
from optcore.adapters.native.numbers import first, times

__all__ = ["Adadelta", "Adamax", "Ftrl", "Nadam"]


def Adadelta(learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7, weight_decay: Any = None) -> Native:
    """Adadelta."""
    rule = optcore.adadelta(beta=rho, epsilon_root=epsilon)
    return Native(recipe(rule, learning_rate, weight_decay), {"v": "accumulated_grad", "x": "accumulated_delta_var"})


def Adamax(
    learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
    weight_decay: Any = None,
) -> Native:  # fmt: skip
    """AdaMax with the epsilon beside the maximum."""
    rule = optcore.adamax(like="keras", beta1=beta_1, beta2=beta_2, epsilon_outside=epsilon)
    return Native(recipe(rule, learning_rate, weight_decay), {"m": "momentum", "u": "norm"})


def Nadam(
    learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
    weight_decay: Any = None,
) -> Native:  # fmt: skip
    """NAdam whose momentum grows by ``1 - 0.96^t / 2``; Keras keeps one product for all parameters."""
    rule = optcore.nadam(like="keras", beta1=beta_1, beta2=beta_2, epsilon=epsilon)
    return Native(recipe(rule, learning_rate, weight_decay), MOMENTS, blocks=(("m", "v"), ("mu_product",)))


def Ftrl(
    learning_rate: Any = 0.001, learning_rate_power: float = -0.5, initial_accumulator_value: float = 0.1,
    l1_regularization_strength: float = 0.0, l2_regularization_strength: float = 0.0,
    l2_shrinkage_regularization_strength: float = 0.0, beta: float = 0.0, weight_decay: Any = None,
) -> Native:  # fmt: skip
    """FTRL-Proximal, whose penalties are twice what their arguments say."""
    exponent = times(-1.0, learning_rate_power)
    signs = {"initial_accumulator_value": initial_accumulator_value, "learning_rate_power": exponent}
    signs |= {"l1_regularization_strength": l1_regularization_strength}
    signs |= {"l2_regularization_strength": l2_regularization_strength}
    signs |= {"l2_shrinkage_regularization_strength": l2_shrinkage_regularization_strength}
    for name, value in ((name, first(value)) for name, value in signs.items()):
        if value < 0.0:
            power = name == "learning_rate_power"
            raise ValueError(
                f"`{name}` needs to be {'negative' if power else 'positive'} or zero. "
                f"Received: {name}={-value if power else value}."
            )
    rule = optcore.ftrl(
        exponent=exponent,
        initial_accumulator=initial_accumulator_value,
        l1=l1_regularization_strength,
        l2=times(2, l2_regularization_strength),
        shrinkage=times(2, l2_shrinkage_regularization_strength),
        beta=beta,
    )
    return Native(recipe(rule, learning_rate, weight_decay), {"n": "accumulator", "z": "linear"})
