"""The constructors of optax' optimizers of rows, columns and matrices, and of its Sophia."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.optax.constructors import MOMENTS, recipe
from optcore.rule import Rule
from optcore.rules.muon import DION
from optcore.schedule import Schedule

__all__ = ["adafactor", "galore", "muon", "sophia"]


def adafactor(
    learning_rate: Any = None, min_dim_size_to_factor: int = 128, decay_rate: Any = 0.8, decay_offset: Any = 0,
    multiply_by_parameter_scale: bool = True, clipping_threshold: Any = 1.0, momentum: Any = None,
    dtype_momentum: Any = None, weight_decay_rate: Any = None, eps: Any = 1e-30, factored: bool = True,
    weight_decay_mask: Any | None = None,
) -> Native:  # fmt: skip
    """Adafactor whose learning rate multiplies the clipped update; the decay comes last, without it.

    Before ``decay_offset`` steps are counted the average of squares starts anew, where optax has NaN.
    """
    if weight_decay_mask is not None:
        raise NotImplementedError(
            "optcore.adapters.optax.adafactor: weight_decay_mask is not supported; mask the decay with optax.masked"
        )
    numbers = dict(
        beta2_decay=decay_rate,
        epsilon1=eps,
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
    rate = 1.0 if learning_rate is None else learning_rate
    return Native(
        recipe(optcore.chain(*links), lr=rate),
        {"rows": "v_row", "columns": "v_col", "m": "ema"},
        dtypes={"m": dtype_momentum},
    )


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


def muon(
    learning_rate: Any, ns_coeffs: Any = (3.4445, -4.7750, 2.0315), ns_steps: int = 5, beta: Any = 0.95,
    eps: Any = 1e-8, weight_decay: Any = 0.0, weight_decay_mask: Any | None = None, mu_dtype: Any | None = None,
    *, nesterov: bool = True, adaptive: bool = False, preconditioning: str = "frobenius", adam_b1: Any = 0.9,
    adam_b2: Any = 0.999, adam_eps_root: Any = 0.0, adam_weight_decay: Any = 0.0, adam_learning_rate: Any | None = None,
    muon_weight_dimension_numbers: Any | None = None, consistent_rms: Any | None = None,
) -> Native:  # fmt: skip
    """Muon for matrices, AdamW for everything else."""
    if muon_weight_dimension_numbers is not None:
        raise NotImplementedError(
            "optcore.adapters.optax.muon: muon_weight_dimension_numbers is not supported; kernels of convolutions are "
            "matrices by optcore.matrices(optcore.muon, optcore.adam, use='last')"
        )
    if isinstance(adam_learning_rate, Schedule):
        raise NotImplementedError(
            "optcore.adapters.optax.muon: adam_learning_rate must be a number; for another schedule use optax.partition"
        )
    scale = dict(scale="aspect") if consistent_rms is None else dict(scale="rms", rms=consistent_rms)
    law = optcore.adaptive_muon if adaptive else optcore.muon
    matrix = law(
        like="optax",
        beta=beta,
        epsilon=eps,
        nesterov=nesterov,
        preconditioning=preconditioning,
        **_iterations(ns_coeffs, ns_steps),
        **scale,
    )
    rest = optcore.nadam(like="optax") if nesterov else optcore.adam
    other = rest(beta1=adam_b1, beta2=adam_b2, epsilon=eps, epsilon_root=adam_eps_root)
    found = recipe(optcore.matrices(matrix, other), lr=learning_rate, weight_decay=weight_decay)
    of_adam = {"weight_decay": adam_weight_decay}
    if adam_learning_rate is not None:
        of_adam["lr"] = adam_learning_rate

    def of_leaf(path: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        return {"weight_decay": weight_decay} if len(shape) == 2 else of_adam

    mine, theirs = f"{law.name}.m", f"{rest.name}.m"
    return Native(
        found,
        {mine: "muon_mu", theirs: "mu", "v": "nu"},
        of_leaf,
        weight_decay_mask,
        {mine: mu_dtype, theirs: mu_dtype},
    )


def galore(
    learning_rate: Any, rank: int = 128, update_proj_gap: int = 200, scale: Any = 1.0,
    base_optimizer: Any | None = None, weight_decay: Any = 0.0, mask: Any | None = None,
    weight_dimension_numbers: Any | None = None,
) -> Native:  # fmt: skip
    """Adam on the projection of the larger side of each matrix."""
    for name, value in (("base_optimizer", base_optimizer), ("weight_dimension_numbers", weight_dimension_numbers)):
        if value is not None:
            raise NotImplementedError(f"optcore.adapters.optax.galore: {name} is not supported; leave it None")
    rule = optcore.galore(like="optax", rank=rank, interval=update_proj_gap, scale=scale)
    found = recipe(rule, lr=learning_rate, weight_decay=weight_decay)
    return Native(found, {**MOMENTS, "basis": "projector"}, mask=mask)


def sophia(
    learning_rate: Any, b1: Any = 0.965, b2: Any = 0.99, eps: Any = 1e-8, weight_decay: Any = 1e-4,
    weight_decay_mask: Any | None = None, gamma: Any = 0.01, clip_threshold: Any = 1.0, update_interval: int = 10,
    hessian_diagonal_fn: Any | None = None, mu_dtype: Any | None = None, verbose: bool = False,
    print_win_rate_every_n_steps: int = 0,
) -> Native:  # fmt: skip
    """Sophia that steps by the average of the estimates before this step's.

    ``hessian_diagonal_fn`` is an optax transformation that gives the estimate at counts 0, update_interval, ..., and is
    handed the extra arguments of ``update``; where it is None, it is optax' Hutchinson's, and each update needs
    ``obj_fn=``, the loss as a function of the parameters. ``update(..., estimate=tree)`` takes in a tree instead.
    """
    for name, value in (("verbose", verbose), ("print_win_rate_every_n_steps", print_win_rate_every_n_steps)):
        if value:
            raise NotImplementedError(f"optcore.adapters.optax.sophia: no win rate is printed; leave out {name}")
    numbers = dict(beta1=b1, beta2=b2, epsilon=eps, gamma=gamma, threshold=clip_threshold, interval=update_interval)
    found = recipe(optcore.sophia(like="optax", **numbers), lr=learning_rate, weight_decay=weight_decay)
    return Native(
        found, {"m": "mu", "h": "nu"}, mask=weight_decay_mask, dtypes={"m": mu_dtype}, estimator=hessian_diagonal_fn
    )
