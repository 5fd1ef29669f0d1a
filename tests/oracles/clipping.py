"""The rows of the clipping laws, and of other links that change a gradient before its rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import optcore
from oracles import (
    Difference,
    Paper,
    Peer,
    Rounding,
    Row,
    beta,
    betas,
    decays,
    epsilons,
    gap,
    largest,
    ours,
    peers,
    problem,
    rates,
    walked,
)
from oracles import clipping_papers as papers
from oracles.noise import noised

r = optcore
limits = st.floats(0.01, 5.0)
sizes = st.floats(0.05, 3.0)

OPTAX = [
    Row("clip", {"max_delta": limits}),
    Row("clip_by_block_rms", {"threshold": limits}),
    Row("clip_by_global_norm", {"max_norm": st.floats(0.1, 50.0)}),
    Row("adaptive_grad_clip", {"clipping": sizes, "eps": st.floats(1e-3, 1.0)}, shapes=((7,), (4, 3), (2, 3, 2, 2))),
    Row("adaptive_grad_clip", {"clipping": sizes}, shapes=((), (1, 5), (2, 3, 4))),
    Row("adaptive_grad_clip", {"clipping": sizes, "axis": st.sampled_from([0, 1, (0, 1)])}, shapes=((4, 3), (3, 5))),
    Row(
        "adaptive_grad_clip",
        {"clipping": sizes, "axis": st.sampled_from([0, 1, -3, (0, 1), (0, 2), (1, 2), (0, 1, 2)])},
        shapes=((2, 3, 4), (3, 2, 2)),
    ),
    Row("zero_nans"),
    Row("normalize"),
    Row("normalize_by_update_norm", {"scale_factor": st.floats(-2.0, 2.0), "eps": epsilons}),
    Row("centralize"),
    Row("add_noise", {"eta": 0.0, "gamma": 0.5, "key": 0}),  # without noise, since draws differ
]


def _adagc(o: Any) -> Any:
    link = r.adaptive_clip(
        max_norm=o["lambda_abs"], threshold=o["lambda_rel"], beta=o["beta"], warmup=o["warmup_steps"], epsilon=o["eps"]
    )
    adam = r.adam(beta1=o["betas"][0], beta2=o["betas"][1], epsilon=o["eps"])
    return r.chain(link, adam).bind(lr=o["lr"], weight_decay=o["weight_decay"], decay="before")


adagc = {
    "lr": rates,
    "betas": betas,
    "beta": beta,
    "lambda_rel": st.floats(0.5, 2.0),
    "warmup_steps": st.integers(1, 10),
    "weight_decay": decays,
    "eps": st.floats(1e-6, 1e-2),
    "foreach": False,
}
PEERS = [
    Peer("AdaGC", {"lambda_abs": 1e9, **adagc}, _adagc),
    Peer(
        "AdaGC",
        {"lambda_abs": st.floats(0.1, 20.0), **adagc},
        _adagc,
        tolerance=1e-5,
        why="the peer rounds the global norm of its warm-up to float32: 2^-24 of it, and what Adam makes of that",
    ),
]


WARM = {"lr": 0.01, "betas": (0.9, 0.999), "beta": 0.98, "lambda_abs": 1.0, "lambda_rel": 1.05, "eps": 1e-8} | {
    "warmup_steps": 100, "weight_decay": 0.1, "foreach": False,
}  # fmt: skip


def _beside_adagc() -> float:
    params, grads = problem(0)
    return largest(ours(_adagc(WARM), params, grads), peers("AdaGC", WARM, params, grads))


def _only_there(law: Callable[[], Any], rule: Any, g: Any) -> float:
    """Return infinity if a library's law gives a NaN and the rule gives a number."""
    with np.errstate(all="ignore"):
        mine = optcore.clipping.clipped(rule, g)
        return math.inf if (np.isnan(law()) & np.isfinite(mine)).any() else 0.0


def _keras_of_an_infinite_norm() -> Any:
    n = np.float64(np.inf)
    return np.array([1.0, np.inf]) * (min(1 / n, 1.0) + (n - n))


def _optax_of_zero() -> Any:
    import optax

    tx = optax.contrib.normalize()
    return np.asarray(tx.update(np.zeros(2), tx.init(np.zeros(2)))[0])


whole = {"lr": rates}
where = {
    "unit": st.sampled_from(["output", "first", "last", "leaf"]),
    "axis": st.sampled_from([None, 0, 1, -1, -2]),
    "layout": st.sampled_from(["out_in", "in_out"]),
}
CUBES = ((7,), (4, 3), (2, 3, 4), (2, 3, 2, 2))


def _paper(rule: Any, law: Any, numbers: Any, **options: Any) -> Paper:
    return Paper(rule, papers.steps(law), {**whole, **numbers}, tree=True, **options)


PAPERS = [
    _paper(r.clip_by_value, papers.cut_each_element, {"limit": limits}),
    _paper(r.clip_by_norm, papers.clipnorm_of_keras, {"max_norm": limits}),
    _paper(r.clip_by_norm_soft, papers.soft_per_leaf, {"max_norm": limits}),
    _paper(r.clip_by_global_norm, papers.hard_over_the_tree, {"max_norm": limits, "epsilon": epsilons}),
    _paper(r.clip_by_global_norm_soft, papers.soft_over_the_tree, {"max_norm": limits}),
    _paper(
        r.clip_by_global_p_norm,
        papers.norm_of_any_order,
        {"max_norm": limits, "order": st.floats(0.5, 6.0), "epsilon": epsilons},
    ),
    _paper(r.clip_by_global_max, papers.largest_of_all, {"max_norm": limits, "epsilon": epsilons}),
    _paper(r.clip_by_block_rms, papers.rms_per_leaf, {"threshold": limits}),
    _paper(r.clip_by_global_rms, papers.rms_over_the_tree, {"threshold": limits}),
    _paper(
        r.clip_by_unit_norm, papers.unit_after_unit, {"max_norm": limits, "heads": st.booleans(), **where}, shapes=CUBES
    ),
    _paper(
        r.adaptive_gradient_clip,
        papers.agc_of_the_paper,
        {
            "clipping": sizes,
            "epsilon": st.floats(1e-3, 1.0),
            "floor": st.floats(1e-6, 2.0),
            "heads": st.booleans(),
            **where,
        },
        shapes=CUBES,
    ),
    _paper(r.normalize_by_norm, papers.over_the_norm, {"epsilon": epsilons, "floor": limits}),
    _paper(r.normalize_by_global_norm, papers.over_the_norm_of_all, {"epsilon": epsilons}),
    _paper(r.normalize_by_rms, papers.over_the_rms, {"epsilon": epsilons, "floor": limits}),
    _paper(r.normalize_by_global_rms, papers.over_the_rms_of_all, {"epsilon": epsilons, "floor": limits}),
    _paper(r.normalize_by_column, papers.over_the_columns, {"epsilon": epsilons, "layout": where["layout"]}),
    _paper(
        r.normalize_by_deviation,
        papers.over_the_deviation,
        {"epsilon": epsilons, "channels": st.booleans(), "layout": where["layout"]},
    ),
    _paper(r.softsign_compress, papers.softsign, {"scale": limits}),
    _paper(r.mu_law_compress, papers.mu_law, {"mu": st.floats(0.01, 300.0), "scale": limits}),
    _paper(r.a_law_compress, papers.a_law, {"a": st.floats(1.0, 100.0), "scale": limits}),
    _paper(r.trust_region_clip, papers.trust_region, {"scale": limits, "weight": st.floats(0, 1), "limit": limits}),
    _paper(
        r.zclip,
        papers.zclip_of_its_authors,
        {
            "beta": beta,
            "threshold": st.floats(0.1, 3.0),
            "max_norm": st.one_of(st.none(), st.floats(0.1, 20.0)),
            "to": st.sampled_from(["adaptive", "mean", "threshold"]),
            "factor": st.floats(0.5, 1.0),
            "warmup": st.integers(2, 8),
            "skip": st.booleans(),
            "epsilon": epsilons,
            "epsilon_norm": epsilons,
        },
    ),
    _paper(
        r.adaptive_clip,
        papers.adagc_of_the_paper,
        {
            "max_norm": limits,
            "threshold": st.floats(0.5, 2.0),
            "beta": beta,
            "warmup": st.integers(1, 10),
            "epsilon": epsilons,
        },
    ),
    _paper(
        r.clip_by_quantile,
        papers.quantile_of_the_norms,
        {"quantile": st.floats(0, 1), "rate": st.floats(0, 1), "initial": limits},
    ),
    _paper(
        r.clip_by_percentile,
        papers.percentile_of_the_last_norms,
        {"percentile": st.floats(0, 100), "window": st.integers(1, 20), "epsilon": epsilons},
    ),
    _paper(r.zero_if_large, papers.dropped_where_large, {"max_norm": st.floats(1.0, 50.0)}),
    _paper(
        r.spike_aware_clip,
        papers.spikes_of_spam,
        {"threshold": st.floats(1.0, 50.0), "beta": beta, "start": st.integers(1, 8)},
    ),
    _paper(
        lambda lr, deviation: noised(r.gaussian_noise(deviation=deviation)).bind(lr=lr),
        papers.with_noise,
        {"deviation": limits},
    ),
]

DIFFERENCES = [
    Difference(
        "global norm",
        "torch",
        "1e-6 added to the norm",
        '`clip_by_global_norm(like="torch")`, and the functions `clip_grad_norm_` of the torch adapter',
        lambda: gap(r.clip_by_global_norm(max_norm=1.0), r.clip_by_global_norm(max_norm=1.0, like="torch")),
    ),
    Difference(
        "global norm",
        "Keras",
        "an infinite norm turns every element to NaN, here finite ones to 0",
        '`clip_by_global_norm(like="keras")`',
        lambda: _only_there(_keras_of_an_infinite_norm, r.clip_by_global_norm(max_norm=1.0), np.array([1.0, np.inf])),
    ),
    Difference(
        "normalized gradient",
        "optax",
        "a zero gradient turns to NaN, here it stays zero",
        "`normalize_by_global_norm`",
        lambda: _only_there(_optax_of_zero, r.normalize_by_global_norm, np.zeros(2)),
    ),
    Difference(
        "normalized gradient",
        "pytorch_optimizer",
        "divides by the unbiased standard deviation of the elements; the others by a norm",
        "`normalize_by_deviation`",
        lambda: gap(r.normalize_by_norm, r.normalize_by_deviation, lr=0.1),
    ),
    Difference(
        "adaptive gradient clipping",
        "optax, timm, pytorch_optimizer",
        "a leaf of three axes has its norms over one of them, the first or the second; here over all but the output",
        '`adaptive_gradient_clip(like="optax")`, `like="torch"`',
        lambda: gap(r.adaptive_gradient_clip(unit="last"), r.adaptive_gradient_clip(like="optax"), shapes=((2, 3, 4),)),
    ),
    Difference(
        "clipping by norm",
        "heavyball",
        "divides by the larger of norm and threshold: not by 1 where nothing is clipped, unless the threshold is 1",
        "`normalize_by_norm(floor=...)`, `normalize_by_rms(floor=...)`",
        lambda: gap(r.clip_by_norm(max_norm=0.5), r.normalize_by_norm(floor=0.5), lr=0.1),
    ),
    Difference(
        "AdaGC",
        "pytorch_optimizer",
        "rounds the global norm of its warm-up to float32",
        "`chain(adaptive_clip, adam)`",
        _beside_adagc,
        Rounding("float32", 2.0**-24, lambda: walked(_adagc(WARM))),
    ),
]
