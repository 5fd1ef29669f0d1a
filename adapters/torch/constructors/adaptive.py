"""The constructors of rules that adapt each coordinate's step."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native.numbers import first
from optcore.adapters.torch.constructors import declare
from optcore.rule import Rule


@declare("""
    lr=1.0, rho: beta = 0.9, eps: epsilon_root = 1e-6, weight_decay=0, foreach=None, *, capturable=False,
    maximize=False, differentiable=False
""").law({"v": "square_avg", "x": "acc_delta"})
def Adadelta(rho: Any, **numbers: Any) -> Rule:
    """Adadelta with coupled decay."""
    if not 0.0 <= first(rho) <= 1.0:
        raise ValueError(f"Invalid rho value: {first(rho)}")
    return optcore.adadelta(beta=rho, **numbers)


Adamax = declare("""
    lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, foreach=None, *, maximize=False, differentiable=False,
    capturable=False
""").of(
    optcore.adamax, "AdaMax with the epsilon inside the maximum and coupled decay.", {"m": "exp_avg", "u": "exp_inf"}
)

NAdam = declare("""
    lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, momentum_decay=4e-3, decoupled_weight_decay: decoupled =
    False, *, foreach=None, maximize=False, capturable=False, differentiable=False
""").of(optcore.nadam, "NAdam with a momentum that grows, and coupled decay unless ``decoupled_weight_decay``.")

RAdam = declare("""
    lr=1e-3, betas=(0.9, 0.999), eps: epsilon_hat = 1e-8, weight_decay=0, decoupled_weight_decay: decoupled = False,
    *, foreach=None, maximize=False, capturable=False, differentiable=False
""").of(
    optcore.radam(like="torch"),
    "RAdam with the epsilon beside the uncorrected root, and coupled decay unless ``decoupled_weight_decay``.",
)


@declare("""
    lr=1e-2, etas: (eta_minus, eta_plus) = (0.5, 1.2), step_sizes: (step_min, step_max) = (1e-6, 50), *,
    capturable=False, foreach=None, maximize=False, differentiable=False
""").law({"size": "step_size"})
def Rprop(etas: Any, **numbers: Any) -> Rule:
    """Rprop; lr is the first step size."""
    minus, plus = map(first, etas)
    if not 0.0 < minus < 1.0 < plus:
        raise ValueError(f"Invalid eta values: {minus}, {plus}")
    return optcore.rprop(eta_minus=etas[0], eta_plus=etas[1], **numbers)


ASGD = declare("""
    lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0, foreach=None, maximize=False, differentiable=False,
    capturable=False
""").of(optcore.asgd, "Averaged gradient descent; the average is in the state, as ``ax``.")


@declare("lr=1e-3, betas=(0.9, 0.999), eps: epsilon_hat = 1e-8, maximize=False").law(sparse=True)
def SparseAdam(lr: Any, eps: Any, **numbers: Any) -> Rule:
    """Adam whose rows without a gradient rest: those a sparse gradient does not store, or that are 0 everywhere."""
    for name, value in {"learning rate": lr, "epsilon value": eps}.items():
        if isinstance(first(value), int | float) and first(value) == 0.0:
            raise ValueError(f"Invalid {name}: {first(value)}")
    return optcore.sparse_adam(epsilon_hat=eps, **numbers)
