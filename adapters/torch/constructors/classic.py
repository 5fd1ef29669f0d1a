"""The constructors that every library has had from its beginning."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.native.numbers import absent, first, times
from optcore.adapters.torch.constructors import declare, refuse
from optcore.recipe import Recipe
from optcore.rule import Rule

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@declare("""
    lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False, *, maximize=False, foreach=None,
    differentiable=False, fused=None
""").law({"m": "momentum_buffer"})
def SGD(momentum: Any, dampening: Any, nesterov: bool) -> Rule:
    """Stochastic gradient descent with momentum in its sum form and coupled decay."""
    if nesterov and (absent(momentum) or not absent(dampening)):
        raise ValueError("Nesterov momentum requires a momentum and zero dampening")
    if nesterov:
        return optcore.nesterov(beta=momentum)
    return optcore.sgd if absent(momentum) else optcore.momentum(beta=momentum, dampening=dampening)


def _adam(amsgrad: bool, **numbers: Any) -> Rule:
    return (optcore.amsgrad(like="torch") if amsgrad else optcore.adam)(**numbers)


Adam = declare("""
    lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, amsgrad=False, *, foreach=None, maximize=False,
    capturable=False, differentiable=False, fused=None, decoupled_weight_decay: decoupled = False
""").of(_adam, "Adam with coupled decay; ``decoupled_weight_decay`` makes it AdamW.")

AdamW = declare("""
    lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *, maximize=False, foreach=None,
    capturable=False, differentiable=False, fused=None
""").of(_adam, "Adam with decoupled decay.", decay="before")


@declare("""
    lr=1e-2, alpha: beta = 0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False, capturable=False,
    foreach=None, maximize=False, differentiable=False
""").law({"v": "square_avg", "h": "grad_avg", "m": "momentum_buffer"})
def RMSprop(alpha: Any, momentum: Any, centered: bool, **numbers: Any) -> Rule:
    """RMSprop with the epsilon outside the root and the learning rate outside the momentum."""
    refuse({"alpha": alpha}, ("alpha",))
    rule = (optcore.centered_rmsprop if centered else optcore.rmsprop)(beta=alpha, **numbers)
    return rule if absent(momentum) else optcore.chain(rule, optcore.momentum(beta=momentum))


Adagrad = declare("""
    lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value: initial_accumulator = 0, eps=1e-10,
    foreach=None, *, maximize=False, differentiable=False, fused=None
""").of(optcore.adagrad, "Adagrad that starts at zero, with the epsilon outside the root and coupled decay.")


@declare("""
    lr=1e-2, beta2_decay: -beta2_decay = -0.8, eps: (mean_floor, epsilon2) = (None, 1e-3), d: threshold = 1.0,
    weight_decay=0.0, *, foreach=None, maximize=False
""").law(decay="with")
def Adafactor(beta2_decay: Any, eps: Any, d: Any) -> Native:
    """Adafactor with clamped denominators; lr is the cap of the relative step."""
    for each in eps:
        refuse({"eps": each})
    if not 1.0 <= first(d):
        raise ValueError(f"Clipping threshold d should be larger or equal to 1, but got {first(d)}")
    if first(beta2_decay) > 0:
        raise ValueError(f"beta2_decay should be smaller than or equal to 0, but got {first(beta2_decay)}")
    rule = optcore.adafactor(like="torch", beta2_decay=times(-1.0, beta2_decay), epsilon2=eps[1], threshold=d)

    def of_leaf(path: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        small = EPS[dtype] if eps[0] is None else eps[0]
        return {"mean_floor": small, "floor": times(small, small)}

    return Native(Recipe(rule), {"rows": "row_var", "columns": "col_var", "v": "variance"}, of_leaf)
