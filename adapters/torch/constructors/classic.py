"""The constructors that every library has had from its beginning."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.native.numbers import absent, first, times
from optcore.adapters.torch.constructors import recipe, refuse
from optcore.rule import Rule

__all__ = ["SGD", "Adafactor", "Adagrad", "Adam", "AdamW", "RMSprop"]

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def SGD(
    lr: Any = 1e-3, momentum: float = 0, dampening: float = 0, weight_decay: Any = 0, nesterov: bool = False,
    *, maximize: bool = False, foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
) -> Native:  # fmt: skip
    """Stochastic gradient descent with momentum in its sum form and coupled decay."""
    refuse(lr=lr, momentum=momentum, weight_decay=weight_decay)
    if nesterov and (absent(momentum) or not absent(dampening)):
        raise ValueError("Nesterov momentum requires a momentum and zero dampening")
    rule: Rule = optcore.sgd
    if nesterov:
        rule = optcore.nesterov(beta=momentum)
    elif not absent(momentum):
        rule = optcore.momentum(beta=momentum, dampening=dampening)
    found = recipe(rule, lr=lr, weight_decay=weight_decay, decay="coupled", maximize=maximize)
    return Native(found, {"m": "momentum_buffer"})


def Adam(
    lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False,
    *, foreach: bool | None = None, maximize: bool = False, capturable: bool = False, differentiable: bool = False,
    fused: bool | None = None, decoupled_weight_decay: bool = False,
) -> Native:  # fmt: skip
    """Adam with coupled decay; ``decoupled_weight_decay`` makes it AdamW."""
    refuse(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
    rule = optcore.amsgrad(like="torch") if amsgrad else optcore.adam
    place = "before" if decoupled_weight_decay else "coupled"
    numbers = dict(beta1=betas[0], beta2=betas[1], epsilon=eps, weight_decay=weight_decay)
    found = recipe(rule, lr=lr, decay=place, maximize=maximize, **numbers)
    return Native(found, {"m": "exp_avg", "v": "exp_avg_sq", "v_max": "max_exp_avg_sq"})


def AdamW(
    lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False,
    *, maximize: bool = False, foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
    fused: bool | None = None,
) -> Native:  # fmt: skip
    """Adam with decoupled decay."""
    return Adam(lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)


def RMSprop(
    lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0, momentum: float = 0,
    centered: bool = False, capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
    differentiable: bool = False,
) -> Native:  # fmt: skip
    """RMSprop with the epsilon outside the root and the learning rate outside the momentum."""
    refuse(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
    rule = optcore.centered_rmsprop if centered else optcore.rmsprop
    rule = rule(beta=alpha, epsilon=eps)
    if not absent(momentum):
        rule = optcore.chain(rule, optcore.momentum(beta=momentum))
    found = recipe(rule, lr=lr, weight_decay=weight_decay, decay="coupled", maximize=maximize)
    return Native(found, {"v": "square_avg", "h": "grad_avg", "m": "momentum_buffer"})


def Adagrad(
    lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0, initial_accumulator_value: float = 0,
    eps: float = 1e-10, foreach: bool | None = None, *, maximize: bool = False, differentiable: bool = False,
    fused: bool | None = None,
) -> Native:  # fmt: skip
    """Adagrad that starts at zero, with the epsilon outside the root and coupled decay."""
    refuse(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps)
    refuse(initial_accumulator_value=initial_accumulator_value)
    rule = optcore.adagrad(epsilon=eps, lr_decay=lr_decay, initial_accumulator=initial_accumulator_value)
    return Native(recipe(rule, lr=lr, weight_decay=weight_decay, decay="coupled", maximize=maximize))


def Adafactor(
    lr: Any = 1e-2, beta2_decay: float = -0.8, eps: Any = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0,
    *, foreach: bool | None = None, maximize: bool = False,
) -> Native:  # fmt: skip
    """Adafactor with clamped denominators; lr is the cap of the relative step."""
    refuse(lr=lr, eps=eps[1], weight_decay=weight_decay)
    if eps[0] is not None:
        refuse(eps=eps[0])
    if not 1.0 <= first(d):
        raise ValueError(f"Clipping threshold d should be larger or equal to 1, but got {first(d)}")
    if first(beta2_decay) > 0:
        raise ValueError(f"beta2_decay should be smaller than or equal to 0, but got {first(beta2_decay)}")
    rule = optcore.adafactor(like="torch", beta2_decay=times(-1.0, beta2_decay), epsilon2=eps[1], threshold=d)

    def of_leaf(path: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        small = EPS[dtype] if eps[0] is None else eps[0]
        return {"mean_floor": small, "floor": times(small, small)}

    found = recipe(rule, lr=lr, weight_decay=weight_decay, decay="with", maximize=maximize)
    return Native(found, {"rows": "row_var", "columns": "col_var", "v": "variance"}, of_leaf)
