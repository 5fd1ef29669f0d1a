"""The constructors of optax' optimizers of rows, columns and matrices, and of its Sophia."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.optax.constructors import MOMENTS, declare
from optcore.recipe import Recipe
from optcore.rule import Rule
from optcore.rules.muon import DION
from optcore.schedule import Schedule


@declare("""
    learning_rate: lr or 1.0 = None, min_dim_size_to_factor: min_dim = 128, decay_rate: beta2_decay = 0.8,
    decay_offset: offset = 0, multiply_by_parameter_scale=True, clipping_threshold: threshold = 1.0, momentum=None,
    dtype_momentum: dtype[m] = None, weight_decay_rate=None, eps: epsilon1 = 1e-30, factored=True,
    weight_decay_mask=None
""").law(
    {"rows": "v_row", "columns": "v_col", "m": "ema"},
    unsupported={
        "weight_decay_mask": "optcore.adapters.optax.adafactor: weight_decay_mask is not supported; mask the decay "
        "with optax.masked"
    },
)
def adafactor(
    min_dim_size_to_factor: int, decay_offset: Any, multiply_by_parameter_scale: bool, clipping_threshold: Any,
    momentum: Any, weight_decay_rate: Any, factored: bool, **numbers: Any,
) -> Rule:  # fmt: skip
    """Adafactor whose learning rate multiplies the clipped update; the decay comes last, without it.

    Before ``decay_offset`` steps are counted the average of squares starts anew, where optax has NaN.
    """
    numbers |= dict(
        threshold=float("inf") if clipping_threshold is None else clipping_threshold,
        min_dim=min_dim_size_to_factor if factored else 2**31 - 1,
        offset=float(decay_offset) if isinstance(decay_offset, int) else decay_offset,
    )
    rule = optcore.adafactor(like="optax", **numbers)
    links: list[Rule] = [rule] if multiply_by_parameter_scale else [optcore.factored_rms(factored="largest", **numbers)]
    if not multiply_by_parameter_scale and (momentum is not None or weight_decay_rate is not None):
        links.append(optcore.rate)  # the average and the decay are of displacements
    if momentum is not None:
        links.append(optcore.averaged_momentum(beta=momentum))
    if weight_decay_rate is not None:
        links.append(optcore.decayed_weights(rate=weight_decay_rate))
    return optcore.chain(*links)


def _iterations(ns_coeffs: Any, ns_steps: int) -> dict[str, Any]:
    """The polynomials of optax' ``ns_coeffs``: three numbers, a preset, or three numbers for each iteration."""
    presets: dict[str, Any] = {"standard": (3.4445, -4.7750, 2.0315), "dion": DION}
    if isinstance(ns_coeffs, str):
        if ns_coeffs not in presets:
            raise ValueError(f"Unknown ns_coeff preset string: {ns_coeffs}")
        ns_coeffs = presets[ns_coeffs]
    if not hasattr(ns_coeffs[0], "__len__"):
        a, b, c = ns_coeffs
        return dict(a=a, b=b, c=c, iterations=ns_steps)
    every = tuple(tuple(float(x) for x in polynomial) for polynomial in ns_coeffs)
    if len(every) > ns_steps:
        raise ValueError(f"Not enough coeffs to perform {ns_steps} steps")
    if len(set(every)) == 1:
        a, b, c = every[0]
        return dict(a=a, b=b, c=c, iterations=len(every))
    if every != DION[: len(every)]:
        raise NotImplementedError("optcore.adapters.optax.muon: of several polynomials only the preset 'dion' is known")
    return dict(polynomial="dion", iterations=len(every))


def _refuse(values: Mapping[str, Any]) -> None:
    if values["muon_weight_dimension_numbers"] is not None:
        raise NotImplementedError(
            "optcore.adapters.optax.muon: muon_weight_dimension_numbers is not supported; kernels of convolutions are "
            "matrices by optcore.matrices(optcore.muon, optcore.adam, use='last')"
        )
    if isinstance(values["adam_learning_rate"], Schedule):
        raise NotImplementedError(
            "optcore.adapters.optax.muon: adam_learning_rate must be a number; for another schedule use optax.partition"
        )


@declare("""
    learning_rate, ns_coeffs=(3.4445, -4.7750, 2.0315), ns_steps: iterations = 5, beta=0.95, eps=1e-8,
    weight_decay=0.0, weight_decay_mask=None, mu_dtype=None, *, nesterov=True, adaptive=False,
    preconditioning="frobenius", adam_b1: adam.beta1 = 0.9, adam_b2: adam.beta2 = 0.999, adam_eps_root=0.0,
    adam_weight_decay=0.0, adam_learning_rate=None, muon_weight_dimension_numbers=None, consistent_rms: rms = None
""").law(refuse=_refuse)
def muon(
    ns_coeffs: Any, ns_steps: int, eps: Any, weight_decay: Any, weight_decay_mask: Any, mu_dtype: Any, nesterov: bool,
    adaptive: bool, adam_b1: Any, adam_b2: Any, adam_eps_root: Any, adam_weight_decay: Any, adam_learning_rate: Any,
    muon_weight_dimension_numbers: Any, consistent_rms: Any, **numbers: Any,
) -> Native:  # fmt: skip
    """Muon for matrices, AdamW for everything else."""
    scale = dict(scale="aspect") if consistent_rms is None else dict(scale="rms", rms=consistent_rms)
    law = optcore.adaptive_muon if adaptive else optcore.muon
    numbers |= {"epsilon": eps, "nesterov": nesterov, **_iterations(ns_coeffs, ns_steps), **scale}
    rest = optcore.nadam(like="optax") if nesterov else optcore.adam
    other = rest(beta1=adam_b1, beta2=adam_b2, epsilon=eps, epsilon_root=adam_eps_root)
    of_adam = {"weight_decay": adam_weight_decay}
    if adam_learning_rate is not None:
        of_adam["lr"] = adam_learning_rate

    def of_leaf(path: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        return {"weight_decay": weight_decay} if len(shape) == 2 else of_adam

    mine, theirs = f"{law.name}.m", f"{rest.name}.m"
    names = {mine: "muon_mu", theirs: "mu", "v": "nu"}
    found = Recipe(optcore.matrices(law(like="optax", **numbers), other))
    return Native(found, names, of_leaf, weight_decay_mask, {mine: mu_dtype, theirs: mu_dtype})


@declare("""
    learning_rate, rank=128, update_proj_gap: interval = 200, scale=1.0, base_optimizer=None, weight_decay=0.0,
    mask=None, weight_dimension_numbers=None
""").law({**MOMENTS, "basis": "projector"})
def galore(base_optimizer: Any, weight_dimension_numbers: Any, **numbers: Any) -> Rule:
    """Adam on the projection of the larger side of each matrix."""
    for name, value in (("base_optimizer", base_optimizer), ("weight_dimension_numbers", weight_dimension_numbers)):
        if value is not None:
            raise NotImplementedError(f"optcore.adapters.optax.galore: {name} is not supported; leave it None")
    return optcore.galore(like="optax", **numbers)


@declare("""
    learning_rate, b1=0.965, b2=0.99, eps=1e-8, weight_decay=1e-4, weight_decay_mask=None, gamma=0.01,
    clip_threshold: threshold = 1.0, update_interval: interval = 10, hessian_diagonal_fn: estimator = None,
    mu_dtype=None, verbose=False, print_win_rate_every_n_steps=0
""").law({"m": "mu", "h": "nu"})
def sophia(verbose: bool, print_win_rate_every_n_steps: int, **numbers: Any) -> Rule:
    """Sophia that steps by the average of the estimates before this step's.

    ``hessian_diagonal_fn`` is an optax transformation that gives the estimate at counts 0, update_interval, ..., and is
    handed the extra arguments of ``update``; where it is None, it is optax' Hutchinson's, and each update needs
    ``obj_fn=``, the loss as a function of the parameters. ``update(..., estimate=tree)`` takes in a tree instead.
    """
    for name, value in (("verbose", verbose), ("print_win_rate_every_n_steps", print_win_rate_every_n_steps)):
        if value:
            raise NotImplementedError(f"optcore.adapters.optax.sophia: no win rate is printed; leave out {name}")
    return optcore.sophia(like="optax", **numbers)
