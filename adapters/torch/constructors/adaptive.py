"""The constructors of rules that adapt each coordinate's step."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.native.numbers import first
from optcore.adapters.torch.constructors import recipe, refuse

__all__ = ["ASGD", "Adadelta", "Adamax", "NAdam", "RAdam", "Rprop", "SparseAdam"]


def Adadelta(
    lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0, foreach: bool | None = None,
    *, capturable: bool = False, maximize: bool = False, differentiable: bool = False,
) -> Native:  # fmt: skip
    """Adadelta with coupled decay."""
    refuse(lr=lr, eps=eps, weight_decay=weight_decay)
    if not 0.0 <= first(rho) <= 1.0:
        raise ValueError(f"Invalid rho value: {first(rho)}")
    numbers = dict(beta=rho, epsilon_root=eps, weight_decay=weight_decay)
    found = recipe(optcore.adadelta, lr=lr, decay="coupled", maximize=maximize, **numbers)
    return Native(found, {"v": "square_avg", "x": "acc_delta"})


def Adamax(
    lr: Any = 2e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0, foreach: bool | None = None,
    *, maximize: bool = False, differentiable: bool = False, capturable: bool = False,
) -> Native:  # fmt: skip
    """AdaMax with the epsilon inside the maximum and coupled decay."""
    refuse(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
    numbers = dict(beta1=betas[0], beta2=betas[1], epsilon=eps, weight_decay=weight_decay)
    found = recipe(optcore.adamax, lr=lr, decay="coupled", maximize=maximize, **numbers)
    return Native(found, {"m": "exp_avg", "u": "exp_inf"})


def NAdam(
    lr: Any = 2e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
    momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
    maximize: bool = False, capturable: bool = False, differentiable: bool = False,
) -> Native:  # fmt: skip
    """NAdam with a momentum that grows, and coupled decay unless ``decoupled_weight_decay``."""
    refuse(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay, momentum_decay=momentum_decay)
    place = "before" if decoupled_weight_decay else "coupled"
    numbers = dict(beta1=betas[0], beta2=betas[1], epsilon=eps, momentum_decay=momentum_decay)
    found = recipe(optcore.nadam, lr=lr, weight_decay=weight_decay, decay=place, maximize=maximize, **numbers)
    return Native(found, {"m": "exp_avg", "v": "exp_avg_sq"})


def RAdam(
    lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0,
    decoupled_weight_decay: bool = False, *, foreach: bool | None = None, maximize: bool = False,
    capturable: bool = False, differentiable: bool = False,
) -> Native:  # fmt: skip
    """RAdam with the epsilon beside the uncorrected root, and coupled decay unless ``decoupled_weight_decay``."""
    refuse(lr=lr, eps=eps, betas=betas, weight_decay=weight_decay)
    place = "before" if decoupled_weight_decay else "coupled"
    rule = optcore.radam(like="torch", beta1=betas[0], beta2=betas[1], epsilon_hat=eps)
    found = recipe(rule, lr=lr, weight_decay=weight_decay, decay=place, maximize=maximize)
    return Native(found, {"m": "exp_avg", "v": "exp_avg_sq"})


def Rprop(
    lr: Any = 1e-2, etas: Any = (0.5, 1.2), step_sizes: Any = (1e-6, 50), *, capturable: bool = False,
    foreach: bool | None = None, maximize: bool = False, differentiable: bool = False,
) -> Native:  # fmt: skip
    """Rprop; lr is the first step size."""
    refuse(lr=lr)
    minus, plus = map(first, etas)
    if not 0.0 < minus < 1.0 < plus:
        raise ValueError(f"Invalid eta values: {minus}, {plus}")
    numbers = dict(eta_minus=etas[0], eta_plus=etas[1], step_min=step_sizes[0], step_max=step_sizes[1])
    return Native(recipe(optcore.rprop, lr=lr, maximize=maximize, **numbers), {"size": "step_size"})


def ASGD(
    lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6, weight_decay: float = 0,
    foreach: bool | None = None, maximize: bool = False, differentiable: bool = False, capturable: bool = False,
) -> Native:  # fmt: skip
    """Averaged gradient descent; the average is in the state, as ``ax``."""
    refuse(lr=lr, weight_decay=weight_decay)
    numbers = dict(lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay)
    return Native(recipe(optcore.asgd, lr=lr, decay="coupled", maximize=maximize, **numbers))


def SparseAdam(
    lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8, maximize: bool = False
) -> Native:  # fmt: skip
    """Adam whose rows without a gradient rest: those a sparse gradient does not store, or that are 0 everywhere."""
    refuse(lr=lr, eps=eps, betas=betas)
    for name, value in {"learning rate": lr, "epsilon value": eps}.items():
        if isinstance(first(value), int | float) and first(value) == 0.0:
            raise ValueError(f"Invalid {name}: {first(value)}")
    rule = optcore.sparse_adam(beta1=betas[0], beta2=betas[1], epsilon_hat=eps)
    return Native(recipe(rule, lr=lr, maximize=maximize), {"m": "exp_avg", "v": "exp_avg_sq"}, sparse=True)
