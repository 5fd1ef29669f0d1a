"""The rows of schedule-free rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

import optcore
from oracles import Difference, Paper, Peer, Row, decays, epsilons, gap, peers, rates
from oracles.parameter_free import Tree, apart, by_optax, momenta, named, shares

powers = st.floats(0.0, 3.0)
FREE = {"momentum": "beta", "weight_lr_power": "rate_power", "warmup_steps": "warmup"}
free = {"lr": rates, "weight_decay": decays, "r": st.floats(0, 2), "weight_lr_power": powers}
by_two = {"betas": st.tuples(st.floats(0.5, 0.95), st.floats(0.8, 0.999))}
warmups = st.integers(1, 10)
b = {"b1": st.floats(0.5, 0.95), "b2": st.floats(0.8, 0.999)}
"""A schedule-free b1 of at least 0.5: the libraries recover x by a division by it, which costs digits below."""
beta = {"beta_1": st.floats(0.5, 0.95), "beta_2": st.floats(0.8, 0.999)}
OPTAX = [
    Row("schedule_free_sgd", {"learning_rate": rates, "b1": b["b1"], "weight_decay": decays}),
    Row(
        "schedule_free_sgd",
        {"warmup_steps": warmups, "weight_lr_power": powers},
        tolerance=3e-5,
        why="optax' schedules are float32: 2^-24 of each of 15 steps of up to 30",
    ),
    Row("schedule_free_adamw", {"learning_rate": rates, "weight_decay": decays, "eps": epsilons, **b}),
    Row(
        "schedule_free_adamw",
        {"warmup_steps": warmups, "weight_lr_power": powers},
        tolerance=1e-8,
        why="optax' schedules are float32: 2^-24 of each of 15 steps of at most 0.0025 sqrt(1000)",
    ),
]
KERAS = [
    Row("ScheduleFreeAdamW", {"learning_rate": rates, "epsilon": epsilons, "weight_decay": decays, **beta}),
    Row("ScheduleFreeAdamW", {"warmup_steps": warmups}),
]
PEERS = [
    Peer(
        "ScheduleFreeSGD",
        {"momentum": st.floats(0.5, 0.95), "warmup_steps": warmups, **free},
        named(optcore.schedule_free_sgd, **FREE),
    ),
    Peer("ScheduleFreeAdamW", {"warmup_steps": warmups, "eps": epsilons, **by_two, **free}, lambda o: _rooted(o)),
    Peer("ScheduleFreeRAdam", {"eps": epsilons, **by_two, **free}, named(optcore.schedule_free_radam, **FREE)),
    Peer(
        "ScheduleFreeRAdam",
        {"lr": 1.0, "betas": (0.9, 0.98), "silent_sgd_phase": False},
        named(optcore.schedule_free_radam, silent_sgd_phase="silent"),
    ),
]


def _rooted(options: Mapping[str, Any]) -> Any:
    """Return schedule-free AdamW with these options and the 1e-15 that pytorch_optimizer adds in the root."""
    return named(optcore.schedule_free_adamw(epsilon_root=1e-15), **FREE)(options)


def schedule_free(
    p: Any, grads: Sequence[Any], *, lr: float, beta: float, r: float, rate_power: float, warmup: int,
    weight_decay: float, momentum: float,
) -> Any:  # fmt: skip
    """Defazio et al. 2024, eq. 3 to 5, with the three sequences as they are, around a decaying sum of gradients."""
    x, z, y, m, total, most = p, p, p, 0.0, 0.0, 0.0
    for t, g in enumerate(grads, 1):
        rate = lr * min(t / warmup, 1.0)
        most = max(most, rate)
        m = momentum * m + g
        z = z - rate * (m + weight_decay * y)
        weight = t**r * most**rate_power
        total += weight
        x = (1 - weight / total) * x + weight / total * z
        y = beta * x + (1 - beta) * z
    return y


def schedule_free_radam(
    p: Any, grads: Sequence[Any], *, lr: float, beta2: float, plain: float, weight_decay: float, r: float
) -> Any:
    """RAdamScheduleFree with its first phase of gradient steps, of which ``plain`` scales the gradient."""
    x, z, y, v, total, most = p, p, p, np.zeros_like(p), 0.0, 0.0
    limit = 2 / (1 - beta2) - 1
    for t, g in enumerate(grads, 1):
        v = beta2 * v + (1 - beta2) * g**2
        free = limit - 2 * t * beta2**t / (1 - beta2**t)
        if free > 4:
            rate = lr * ((free - 4) * (free - 2) * limit / ((limit - 4) * (limit - 2) * free)) ** 0.5
            u = g / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
        else:
            rate, u = lr, plain * g
        most = max(most, rate)
        z = z - rate * (u + weight_decay * y)
        total += t**r * most**2
        share = t**r * most**2 / total
        x = (1 - share) * x + share * z
        y = 0.9 * x + 0.1 * z
    return y


def schedule_free_of_optax(p: Tree, grads: Sequence[Tree], *, lr: float, beta: float, rate_power: float) -> Tree:
    import optax

    return by_optax(optax.contrib.schedule_free(optax.signum(lr), lr, beta, rate_power), p, grads)


PAPERS = [
    Paper(
        lambda momentum, **hyper: optcore.schedule_free(optcore.momentum(beta=momentum), **hyper),
        schedule_free,
        {
            "lr": rates, "beta": momenta, "r": st.floats(0, 2), "rate_power": powers, "warmup": warmups,
            "weight_decay": decays, "momentum": st.floats(0.1, 0.9),
        },
    ),
    Paper(
        lambda **hyper: optcore.schedule_free(optcore.signum, **hyper),
        schedule_free_of_optax,
        {"lr": rates, "beta": st.floats(0.5, 0.95), "rate_power": powers},
        tree=True,
    ),
    Paper(
        optcore.schedule_free_radam(silent=False),
        schedule_free_radam,
        {"lr": rates, "beta2": st.floats(0.8, 0.999), "plain": shares, "weight_decay": decays, "r": st.floats(0, 2)},
    ),
]  # fmt: skip
r = optcore
DIFFERENCES = [
    Difference(
        "ScheduleFreeAdamW",
        "optax",
        "the walk warms up one step after its weights, from 0",
        '`schedule_free_adamw(like="optax")`',
        lambda: gap(r.schedule_free_adamw(warmup=9), r.schedule_free_adamw(like="optax", warmup=9), lr=0.01),
    ),
    Difference(
        "ScheduleFreeAdamW",
        "Keras",
        "the plain mean also while warming up, and a decay of the parameter alone",
        "`schedule_free_adamw_mean`",
        lambda: gap(r.schedule_free_adamw(warmup=9), r.schedule_free_adamw_mean(warmup=9), lr=0.01, weight_decay=0.1),
    ),
    Difference(
        "ScheduleFreeRAdam",
        "pytorch_optimizer",
        "without the silent phase a first learning rate of 1, whatever lr is",
        "`schedule_free_radam` takes lr, as its authors do",
        lambda: apart(
            r.schedule_free_radam(silent=False, lr=0.01),
            lambda p, g, **options: peers("ScheduleFreeRAdam", options, p, g),
            lr=0.01,
            silent_sgd_phase=False,
        ),
    ),
]
