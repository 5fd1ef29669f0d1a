"""The rows of the rules that pytorch_optimizer collects: Adam's relatives, momenta, projections, wrappers."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import optcore
from oracles import Difference, Peer, beta, betas, decays, gap, ours, peers, problem, rates

r = optcore
momenta = st.floats(0.1, 0.95)
wide = st.floats(0.05, 1.0)
"""Epsilons beside which the 1e-15 that pytorch_optimizer adds under the root of v is below 1e-12 of a parameter."""
HALF = "Newton-Schulz in bfloat16: 2^-8 in each iteration, in steps of lr = 0.01"


def _pair(o: Any) -> dict[str, float]:
    return {"beta1": o["betas"][0], "beta2": o["betas"][1]}


def _leaf(o: Any) -> dict[str, float]:
    return {"lr": o["lr"], "weight_decay": o["weight_decay"]}


common = {"lr": rates, "weight_decay": decays}
adaptive = {"betas": betas, **common}
CLASSIC: dict[str, Any] = {"weight_decouple": False}

PEERS = [
    Peer(
        "SGDW",
        {"momentum": momenta, "dampening": st.floats(0, 0.5), **common},
        lambda o: r.sgdw(beta=o["momentum"], dampening=o["dampening"], **_leaf(o)),
    ),
    Peer(
        "SGDW",
        {"momentum": momenta, "nesterov": True, **common},
        lambda o: r.nesterov(beta=o["momentum"], decay="before", **_leaf(o)),
    ),
    Peer(
        "StableAdamW",
        {"eps": st.floats(1e-8, 0.1), **adaptive},
        lambda o: r.stable_adamw(epsilon=o["eps"], **_pair(o), **_leaf(o)),
    ),
    Peer(
        "MARS",
        {"eps": wide, "gamma": st.floats(0.01, 0.3), "optimize_1d": True, **adaptive},
        lambda o: r.mars(epsilon=0.0, epsilon_hat=o["eps"], gamma=o["gamma"], all_leaves=True, **_pair(o), **_leaf(o)),
    ),
    Peer(
        "MARS",
        {"eps": wide, "betas_1d": betas, "betas": betas, "lr": 0.01, "lr_1d": 0.01, "weight_decay_1d": 0.0},
        lambda o: r.mars(
            epsilon=0.0,
            epsilon_hat=o["eps"],
            lr=o["lr"],
            beta1_other=o["betas_1d"][0],
            beta2_other=o["betas_1d"][1],
            **_pair(o),
        ),
        shapes=((7,), (4, 3)),  # the peer takes leaves of four axes for matrices
    ),
    Peer(
        "MARS",
        {"mars_type": "lion", "optimize_1d": True, **adaptive},
        lambda o: r.mars(form="lion", all_leaves=True, decay="before", **_pair(o), **_leaf(o)),
    ),
    Peer(
        "MARS",
        {"mars_type": "shampoo", "betas": betas, "lr": 0.01},
        lambda o: r.mars(form="shampoo", layout="out_in", lr=o["lr"], **_pair(o)),
        shapes=((4, 3), (3, 5)),
        tolerance=5e-3,
        why=HALF,
    ),
    Peer(
        "AdaBound",
        {"eps": wide, "gamma": st.floats(1e-3, 0.5), "final_lr": st.floats(0.01, 1.0), **adaptive},
        lambda o: r.adabound(epsilon_hat=o["eps"], gamma=o["gamma"], final_lr=o["final_lr"], **_pair(o), **_leaf(o)),
    ),
    Peer(
        "AdaBound",
        {"eps": wide, "ams_bound": True, **adaptive, **CLASSIC},
        lambda o: r.adabound(epsilon_hat=o["eps"], amsbound=True, decay="coupled", **_pair(o), **_leaf(o)),
    ),
    Peer(
        "AdaMod",
        {"eps": st.floats(1e-8, 0.1), "betas": st.tuples(momenta, beta, beta), **common},
        lambda o: r.adamod(epsilon_hat=o["eps"], beta3=o["betas"][2], **_pair(o), **_leaf(o)),
    ),
    *(
        Peer(
            "AdamP",
            # a small delta leaves most leaves as they are, a large one projects all of more than one axis
            {
                "delta": delta,
                "wd_ratio": st.floats(0, 0.99),
                "nesterov": nesterov,
                "eps": st.floats(1e-8, 0.1),
                **adaptive,
            },
            lambda o: r.adamp(
                threshold=o["delta"],
                decay_ratio=o["wd_ratio"],
                nesterov=o["nesterov"],
                epsilon=o["eps"],
                epsilon_p=o["eps"],
                layout="out_in",
                **_pair(o),
                **_leaf(o),
            ),
        )
        for delta, nesterov in ((0.1, False), (1.0, False), (1.5, True), (5.0, False))
    ),
    *(
        Peer(
            "SGDP",
            {
                "delta": delta,
                "wd_ratio": st.floats(0, 0.99),
                "nesterov": nesterov,
                "eps": st.floats(1e-8, 0.1),
                "momentum": momenta,
                "dampening": st.floats(0, 0.5),
                **common,
            },
            lambda o: r.sgdp(
                threshold=o["delta"],
                decay_ratio=o["wd_ratio"],
                nesterov=o["nesterov"],
                epsilon=o["eps"],
                epsilon_p=o["eps"],
                beta=o["momentum"],
                dampening=o["dampening"],
                layout="out_in",
                **_leaf(o),
            ),
        )
        for delta, nesterov in ((0.1, True), (1.0, False), (5.0, True))
    ),
    Peer(
        "QHM",
        {"momentum": momenta, "nu": st.floats(0, 1), **common},
        lambda o: r.qhm(beta=o["momentum"], nu=o["nu"], **_leaf(o)),
    ),
    Peer(
        "QHAdam",
        {"nus": st.tuples(st.floats(0, 1), st.floats(0, 1)), "eps": st.floats(1e-4, 0.1), **adaptive},
        lambda o: r.qhadam(nu1=o["nus"][0], nu2=o["nus"][1], epsilon=o["eps"], **_pair(o), **_leaf(o)),
        tolerance=2e-6,
        why="the peer's sums of weights are float32: 2^-24 of each average",
    ),
    Peer(
        "PID",
        {
            "momentum": momenta,
            "dampening": st.floats(0, 0.5),
            "integral": st.floats(0, 6),
            "derivative": st.floats(0, 12),
            **common,
        },
        lambda o: r.pid(
            beta=o["momentum"], dampening=o["dampening"], integral=o["integral"], derivative=o["derivative"], **_leaf(o)
        ),
    ),
    Peer(
        "AggMo",
        {"betas": st.tuples(st.floats(0, 0.4), st.floats(0.5, 0.8), st.floats(0.9, 0.99)), **common},
        lambda o: r.aggmo(beta3=o["betas"][2], **_pair(o), **_leaf(o)),
    ),
    *(
        Peer(
            "ApolloDQN",
            {
                "rebound": rebound,
                "beta": momenta,
                "eps": st.floats(1e-5, 1e-3),
                "init_lr": 0.01,
                "warmup_steps": 1,
                "weight_decay": decays,
                "lr": 0.01,
            },
            lambda o: r.apollo(
                rebound=o["rebound"],
                beta=o["beta"],
                epsilon=o["eps"] / (0.01 if o["rebound"] == "constant" else 1.0),
                epsilon_hat=o["eps"],
                **_leaf(o),
            ),
        )
        for rebound in ("constant", "belief")
    ),
    Peer(
        "LaProp",
        {"eps": wide, "foreach": False, **adaptive},  # its batched form rounds the step size to float32
        lambda o: r.laprop(epsilon=0.0, epsilon_hat=o["eps"], decay="after", **_pair(o), **_leaf(o)),
    ),
    Peer(
        "GrokFastAdamW",
        {"grokfast_alpha": beta, "grokfast_lamb": st.floats(0.1, 5), "normalize_lr": False, "eps": 0.0, **adaptive},
        lambda o: r.chain(
            r.grokfast(beta=o["grokfast_alpha"], gain=o["grokfast_lamb"]), r.adam(epsilon=0.0, **_pair(o))
        ).bind(**_leaf(o)),
    ),
    Peer(
        "Ranger",
        # the rectification must set in within the row's 15 steps and after its first
        {
            "betas": st.tuples(momenta, st.floats(0.9, 0.999)),
            "k": st.integers(2, 6),
            "alpha": st.floats(0.1, 0.9),
            "n_sma_threshold": st.integers(5, 7),
            "eps": st.floats(1e-5, 0.1),
            "degenerated_to_sgd": True,
            **common,
        },
        lambda o: r.ranger(
            interval=o["k"],
            alpha=o["alpha"],
            threshold=float(o["n_sma_threshold"]),
            epsilon_hat=o["eps"],
            layout="out_in",
            **_pair(o),
            **_leaf(o),
        ),
    ),
    Peer(
        "Ranger",
        {"gc_conv_only": True, "degenerated_to_sgd": True, "lr": rates},
        lambda o: r.ranger(min_ndim=4, layout="out_in", lr=o["lr"]),
    ),
    Peer(
        "Ranger",
        {"degenerated_to_sgd": True, **common},
        lambda o: r.lookahead(
            r.chain(r.centralize(layout="out_in"), r.radam(beta1=0.95, epsilon=0.0, epsilon_hat=1e-5)), interval=6
        ).bind(**_leaf(o)),
    ),
    Peer(
        "CAME",
        {
            "betas": st.tuples(momenta, st.floats(0.8, 0.999), st.floats(0.8, 0.999)),
            "clip_threshold": st.floats(0.5, 2),
            "eps1": st.floats(1e-30, 1e-3),
            "eps2": st.floats(1e-16, 1e-3),
            **common,
        },
        lambda o: r.came(
            beta3=o["betas"][2],
            threshold=o["clip_threshold"],
            epsilon1=o["eps1"],
            epsilon2=o["eps2"],
            decay="before",
            **_pair(o),
            **_leaf(o),
        ),
    ),
    Peer(
        "Grams",
        {"eps": st.floats(1e-8, 0.1), **adaptive},
        lambda o: r.grams(r.adam(epsilon=o["eps"], **_pair(o))).bind(**_leaf(o)),
    ),
    Peer("DiffGrad", {"eps": wide, **adaptive}, lambda o: r.diffgrad(epsilon_hat=o["eps"], **_pair(o), **_leaf(o))),
    Peer(
        "AdaNorm",
        {"eps": wide, "r": beta, **adaptive},
        lambda o: r.adanorm(epsilon_hat=o["eps"], gamma=o["r"], **_pair(o), **_leaf(o)),
    ),
    # cautious=True masks the first moment, which has the direction's sign, and counts as scaling "count" does
    Peer("Lion", {"cautious": True, **adaptive}, lambda o: r.cautious(r.lion(**_pair(o))).bind(**_leaf(o))),
    Peer(
        "LaProp",
        {"cautious": True, "eps": wide, **adaptive},
        lambda o: r.cautious(r.laprop(epsilon=0.0, epsilon_hat=o["eps"], **_pair(o))).bind(decay="after", **_leaf(o)),
    ),
    Peer(
        "AdamP",
        {"cautious": True, "delta": 0.0, "eps": st.floats(1e-8, 0.1), **adaptive},  # delta 0 projects nothing: AdamW
        lambda o: r.cautious(r.adam(epsilon=0.0, epsilon_hat=o["eps"], **_pair(o))).bind(**_leaf(o)),
    ),
    Peer(
        "MARS",
        {"cautious": True, "eps": wide, "optimize_1d": True, **adaptive},
        lambda o: r.cautious(r.mars(epsilon=0.0, epsilon_hat=o["eps"], all_leaves=True, **_pair(o))).bind(**_leaf(o)),
    ),
    Peer(
        "Lion",
        {"use_gc": True, **adaptive},
        lambda o: r.chain(r.centralize(layout="out_in"), r.lion(**_pair(o))).bind(**_leaf(o)),
    ),
]


def laprop_with_the_rate_inside(p: Any, grads: Any, *, turn: int) -> Any:
    """The authors' code and pytorch_optimizer, at a rate of 0.1 that falls to 0.01."""
    m, v, weight = np.zeros_like(p), np.zeros_like(p), 0.0
    for t, g in enumerate(grads, 1):
        lr = 0.1 if t <= turn else 0.01
        v = 0.999 * v + 0.001 * g * g
        m = 0.9 * m + 0.1 * lr * g / ((np.sqrt(v) + 1e-15) / np.sqrt(1 - 0.999**t))
        weight = 0.9 * weight + 0.1 * lr
        p = p - m / (weight / lr)
    return p


def _apart(name: str, options: Any, rule: Any, scale: float = 1.0) -> float:
    """Return the largest difference of a parameter between an optimizer of pytorch_optimizer and a rule."""
    params, grads = problem(0)
    grads = [[scale * g for g in step] for step in grads]
    pairs = zip(peers(name, options, params, grads), ours(rule, params, grads), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def _inside() -> float:
    params, grads = problem(0)
    rate = r.schedules.piecewise(start=0.1, points=[(10, 0.01)])
    mine = ours(r.laprop(lr=rate), params, grads)
    theirs = [laprop_with_the_rate_inside(p, [g[i] for g in grads], turn=10) for i, p in enumerate(params)]
    return max(float(np.abs(a - b).max()) for a, b in zip(mine, theirs, strict=True))


DIFFERENCES = [
    Difference(
        "Ranger",
        "pytorch_optimizer",
        "climbs while RAdam is not rectified, unless `degenerated_to_sgd=True`; here momentum descends",
        "`ranger`",
        lambda: _apart("Ranger", {}, r.ranger(layout="out_in")),
    ),
    Difference(
        "LaProp",
        "pytorch_optimizer, authors' code",
        "the learning rate goes into the average: another path once it changes",
        "`laprop`, the paper's",
        _inside,
    ),
    Difference(
        "LaProp, MARS, AdaBound, diffGrad, AdaNorm",
        "pytorch_optimizer",
        "adds 1e-15 under the root of v, here LaProp with gradients of 1e-8, whose own epsilon is 1e-15",
        "`laprop` and the others without it",
        lambda: _apart("LaProp", {"lr": 4e-4}, r.laprop, scale=1e-8),
    ),
    Difference(
        "MARS",
        "pytorch_optimizer",
        "takes every leaf of two axes or more for a matrix; the authors those of two",
        "`mars`",
        lambda: _apart("MARS", {"weight_decay_1d": 0.0}, r.mars),
    ),
    Difference(
        "centralization",
        "optax",
        "a unit is the first axis, which JAX layers take as input",
        '`centralize(like="optax")`',
        lambda: gap(r.chain(r.centralize(like="optax"), r.sgd), r.chain(r.centralize(layout="in_out"), r.sgd), lr=0.1),
    ),
]
