"""PowerSign, AddSign, Tiger, Amos, hidden accumulation, exponentiated gradients: from the papers, number by number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

import optcore
from oracles import Paper, Peer, beta, decays, epsilons, rates

steps = st.integers(4, 20)
every = st.integers(1, 5)
signs = np.sign


def _decay(kind: str, t: int, steps: int, periods: Any, zero_after: float | None) -> float:
    """tensorflow.contrib.opt.sign_decay, at TF's global step t = 0, 1, ..."""
    if kind == "linear":
        return max(0, (steps - min(t, steps)) / steps)
    if kind == "cosine":
        if zero_after is not None and 2 * periods * min(t, steps) / steps >= 2 * zero_after:
            return 0.0
        return 0.5 * (1 + math.cos(2 * math.pi * periods * min(t, steps) / steps))
    if kind == "restart":
        if zero_after is not None and periods * t / steps >= zero_after:
            return 0.0
        return 0.5 * (1 + math.cos(math.pi * ((periods * t) % steps) / steps))
    return 1.0


def powersign_of_the_paper(
    p: Any, grads: Any, *, lr: float, beta: float, base: float, kind: str, steps: int, periods: Any, zero_after: Any
) -> Any:
    """Bello et al. 2017, sec. 4."""
    m = np.zeros_like(p)
    for t, g in enumerate(grads):
        m = beta * m + (1 - beta) * g
        p = p - lr * base ** (_decay(kind, t, steps, periods, zero_after) * signs(g) * signs(m)) * g
    return p


def addsign_of_the_paper(
    p: Any, grads: Any, *, lr: float, beta: float, alpha: float, kind: str, steps: int, periods: Any, zero_after: Any
) -> Any:
    """Bello et al. 2017, sec. 4."""
    m = np.zeros_like(p)
    for t, g in enumerate(grads):
        m = beta * m + (1 - beta) * g
        p = p - lr * (alpha + _decay(kind, t, steps, periods, zero_after) * signs(g) * signs(m)) * g
    return p


def _signed(rule: Any) -> Any:
    def bound(*, kind: str, steps: int, periods: Any, zero_after: Any, **numbers: Any) -> Any:
        options = {} if kind == "linear" else {"periods": periods, "zero_after": zero_after}
        if kind == "none":
            return rule(**numbers)
        return rule(**numbers, strength=getattr(optcore.schedules, f"internal_{kind}")(steps=steps, **options))

    return bound


def tiger_of_the_author(
    p: Any, grads: Any, *, lr: float, weight_decay: float, beta: float, every: int, shrink: float, use: str, bad: Any
) -> Any:
    """bojone/tiger, micro-step by micro-step; the gradient of micro-step ``bad`` holds a NaN."""
    del bad
    m = np.zeros_like(p)
    use = ("weight" if p.ndim > 1 else "offset") if use == "shape" else use
    for i, g in enumerate(grads):
        b = beta if i % every == 0 else 1.0
        rate = lr if (i + 1) % every == 0 else 0.0
        spoilt = bool(np.isnan(g).any())
        if spoilt:
            b, g = 1.0, np.zeros_like(g)
        m = b * m + (1 - beta) / every * g
        wd, centre = weight_decay, 0.0
        if use in ("offset", "factor"):
            rate, wd, centre = 0.5 * rate, 0.0, 1.0 if use == "factor" else 0.0
        elif use == "embedding":
            rate = rate * np.sqrt(np.mean(p * p, axis=-1, keepdims=True))
        else:
            rate = rate * np.sqrt(np.mean(p * p))
        p = (p - centre) * shrink + centre if spoilt else p - rate * (np.sign(m) + wd * p)
    return p


def amos_of_the_paper(
    p: Any, grads: Any, *, lr: float, beta: float, eta: float, c: float, d: float, extra: float, axes: Any, mu: Any
) -> Any:
    """Tian & Parikh 2022, alg. 1 with jestimator's constants; momentum of the displacement where mu is given."""
    v = b = m = 0.0
    over = None if axes == "none" else tuple(range(p.ndim)) if axes == "all" or p.ndim == 1 else tuple(range(1, p.ndim))
    mean = (lambda x: x) if over is None else (lambda x: np.mean(x, axis=over, keepdims=True))
    for t, g in enumerate(grads, 1):
        v = beta * v + (1 - beta) * mean(g * g)
        rv = (1 - beta**t) / np.maximum(v, 2.0**-125)
        dc = (1 + c * math.sqrt(lr) * b) ** -0.5
        gamma = dc * lr**2 * rv * mean(g * g)
        dd = 1 / (1 + d * math.sqrt(lr * eta) * b)
        step = dd * (0.5 * gamma * p + lr * eta * np.sqrt(rv) * g + extra * p)
        b = b + gamma * (1 + b)
        m = step if mu is None else mu * m + (1 - mu) * step
        p = p - m
    return p


def _amos(*, mu: Any, **numbers: Any) -> Any:
    rule = optcore.amos(shape="none", layout="out_in", **numbers)
    return rule if mu is None else optcore.chain(rule, optcore.averaged_momentum(beta=mu))


def momentum_of_group_means(p: Any, grads: Any, *, lr: float, weight_decay: float, beta: float, every: int) -> Any:
    """SGDM (average form) on the means of whole groups, which accumulation in the momentum must equal."""
    m = np.zeros_like(p)
    for n in range(len(grads) // every):
        m = beta * m + (1 - beta) * np.mean(grads[n * every : (n + 1) * every], axis=0)
        p = p - lr * (m + weight_decay * p)
    return p


def adam_of_micro_steps(
    p: Any, grads: Any, *, lr: float, weight_decay: float, beta1: float, beta2: float, epsilon: float,
    epsilon_root: float, every: int, form: str,
) -> Any:  # fmt: skip
    """Su 2021: chi in the moments, or the plain moments with beta' and a gate on the rate."""
    m = v = np.zeros_like(p)
    chi = lambda x: 1.0 if x % every == 0 else 0.0  # noqa: E731
    for t, g in enumerate(grads, 1):
        if form == "exact":
            m = ((beta1 - 1) * chi(t - 1) + 1) * m + (1 - beta1) * g / every
            v = ((beta2 - 1) * chi(t - 1) + 1) * v + (1 - beta2) * g**2 / every
            mhat, vhat = m / (1 - beta1 ** (t / every)), v / (1 - beta2 ** (t / every))
        else:
            b1, b2 = 1 - (1 - beta1) / every, 1 - (1 - beta2) / every
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            mhat, vhat = m / (1 - b1**t), v / (1 - b2**t)
        p = p - chi(t) * lr * (mhat / (np.sqrt(vhat + epsilon_root) + epsilon) + weight_decay * p)
    return p


def cheap_momentum(p: Any, grads: Any, *, lr: float, beta: float, every: int) -> Any:
    """Su 2021: an unchanged optimizer with beta' and a gate on the rate."""
    m, b = np.zeros_like(p), 1 - (1 - beta) / every
    for t, g in enumerate(grads, 1):
        m = b * m + (1 - b) * g
        p = p - (lr if t % every == 0 else 0.0) * m
    return p


def simplex_of_the_paper(p: Any, grads: Any, *, lr: float) -> Any:
    """Kivinen & Warmuth 1997, EG."""
    for g in grads:
        r = np.exp(-lr * g)
        p = p * r / np.sum(p * r)
    return p


def pair_of_the_paper(p: Any, grads: Any, *, lr: float, budget: float) -> Any:
    """Kivinen & Warmuth 1997, EG+- with U = budget."""
    plus, minus = (budget / p.size + p) / 2, (budget / p.size - p) / 2
    for g in grads:
        a, b = plus * np.exp(-lr * budget * g), minus * np.exp(lr * budget * g)
        z = np.sum(a + b)
        plus, minus = budget * a / z, budget * b / z
        p = plus - minus
    return p


def signed_of_the_authors(p: Any, grads: Any, *, lr: float) -> Any:
    """Cornford et al. 2024."""
    for g in grads:
        p = p * np.exp(-lr * np.sign(p) * g)
    return p


kinds = {"kind": st.sampled_from(["none", "linear", "cosine", "restart"]), "steps": steps, "zero_after": None}
zeroed = {**kinds, "kind": st.sampled_from(["cosine", "restart"]), "zero_after": st.floats(0.3, 0.9)}
adam = {
    "lr": rates,
    "weight_decay": decays,
    "beta1": beta,
    "beta2": beta,
    "epsilon": epsilons,
    "epsilon_root": epsilons,
}

PAPERS = [
    *(
        Paper(_signed(rule), law, {"lr": rates, "beta": beta, name: number, "periods": st.integers(1, 3), **options})
        for rule, law, name, number in (
            (optcore.powersign, powersign_of_the_paper, "base", st.floats(1.1, 5)),
            (optcore.addsign, addsign_of_the_paper, "alpha", st.floats(0, 2)),
        )
        for options in (kinds, zeroed)
    ),
    Paper(
        lambda bad, **numbers: optcore.tiger(**numbers),
        tiger_of_the_author,
        {
            "lr": rates, "weight_decay": decays, "beta": beta, "every": every, "shrink": st.floats(0.5, 0.99), "bad": 0,
            "use": st.sampled_from(["shape", "weight", "embedding", "offset", "factor"]),
        },
    ),
    Paper(
        _amos,
        amos_of_the_paper,
        {
            "lr": rates, "beta": beta, "eta": st.floats(0.1, 2), "c": st.floats(0.1, 1), "d": st.floats(0.1, 1),
            "extra": st.floats(0, 0.1), "axes": st.sampled_from(["all", "input", "none"]),
            "mu": st.none() | beta,
        },
    ),
    Paper(
        optcore.accumulated_momentum,
        momentum_of_group_means,
        {"lr": rates, "weight_decay": decays, "beta": beta, "every": st.sampled_from([1, 3, 5])},
    ),
    Paper(
        optcore.accumulated_momentum(form="cheap"),
        cheap_momentum,
        {"lr": rates, "beta": beta, "every": every},
    ),
    Paper(
        optcore.accumulated_adam,
        adam_of_micro_steps,
        {**adam, "every": every, "form": st.sampled_from(["exact", "cheap"])},
    ),
    Paper(optcore.exponentiated_simplex, simplex_of_the_paper, {"lr": rates}, positive=True),
    Paper(
        lambda **numbers: optcore.exponentiated_pair(**numbers),
        pair_of_the_paper,
        {"lr": st.floats(1e-5, 1e-3), "budget": st.floats(100, 300)},  # |p| < budget/n, and exponents of order one
    ),
    Paper(optcore.exponentiated_signed, signed_of_the_authors, {"lr": rates}),
]  # fmt: skip

PEERS = [
    Peer(
        "Tiger",
        {"lr": rates, "beta": beta, "weight_decay": 0.0},  # its core alone: a vector's rate, with half = 1
        lambda o: optcore.tiger(lr=o["lr"], beta=o["beta"], use="offset", half=1.0),
    ),
    Peer(
        "Amos",
        {"lr": rates, "beta": beta},
        lambda o: optcore.amos(lr=o["lr"], beta=o["beta"], layout="out_in"),
        1e-11,
        "its denominator is v + 1e-18 where the paper has max(v, 2^-125)",
    ),
]


def hypergradient_of_the_paper(
    p: list[Any], grads: Any, *, inner: str, rate0: float, additive: float, multiplicative: float, wd: float
) -> Any:
    """Baydin et al. 2018, alg. 4 to 6, one sum over all leaves; Adam in the form of their code (eps-hat)."""
    alpha, n = rate0, len(p)
    u, m, v = ([np.zeros_like(x) for x in p] for _ in range(3))
    for t, raw in enumerate(grads, 1):
        g = [x + wd * y for x, y in zip(raw, p, strict=True)]
        dot = sum(float(np.sum(a * b)) for a, b in zip(g, u, strict=True))
        size = math.sqrt(sum(np.sum(x * x) for x in g) * sum(np.sum(x * x) for x in u))
        alpha = alpha * (1 + multiplicative * (dot / size if size else 0.0)) + additive * dot
        if inner == "sgd":
            u = g
        elif inner == "nesterov":
            m = [0.9 * a + b for a, b in zip(m, g, strict=True)]
            u = [b + 0.9 * a for a, b in zip(m, g, strict=True)]
        else:
            m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
            v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g, strict=True)]
            scale = math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            u = [scale * a / (np.sqrt(b) + 1e-8) for a, b in zip(m, v, strict=True)]
        p = [p[i] - alpha * u[i] for i in range(n)]
    return p


def _hypergradient(*, inner: str, wd: float, **numbers: Any) -> Any:
    rules = {"sgd": optcore.sgd, "nesterov": optcore.nesterov, "adam": optcore.adam(epsilon=0.0, epsilon_hat=1e-8)}
    return optcore.hypergradient(rules[inner], **numbers).bind(weight_decay=wd)


def step_sizes_of_the_text(
    p: list[Any], grads: Any, *, lr: float, beta: float, mu: float, gain_rate: float, gain_cosine: float,
    scale_rate: float, scale_cosine: float, limit: float,
) -> Any:  # fmt: skip
    """After Amid et al. 2022: gains and scale first, with the last averages; then averages, velocity and step."""
    hold = lambda x: np.clip(x, -limit, limit)  # noqa: E731
    m, h, gain, s = [np.zeros_like(x) for x in p], [np.zeros_like(x) for x in p], [np.ones_like(x) for x in p], 1.0
    for g in grads:
        dot = sum(float(np.sum(a * b)) for a, b in zip(h, g, strict=True))
        size = math.sqrt(sum(np.sum(x * x) for x in h) * sum(np.sum(x * x) for x in g))
        s = s * math.exp(hold(scale_rate * dot + scale_cosine * (dot / size if size else 0.0)))
        for i, x in enumerate(g):
            gain[i] = gain[i] * np.exp(hold(gain_rate * m[i] * x + gain_cosine * np.sign(m[i] * x)))
            m[i] = beta * m[i] + (1 - beta) * x
            h[i] = mu * h[i] + lr * gain[i] * x
            p[i] = p[i] - s * h[i]
    return p


def lora_by_torch(
    params: Any, grads: Any, *, rank: int, lr: float, ratio: float, scale: float, spread: float
) -> list[Any]:
    """torch's own Adam on the factors, their gradients by autodiff of the composed matrix; from the drawn starts."""
    import torch

    rule = optcore.lora(optcore.sgd, optcore.sgd, rank=rank, spread=spread)
    drawn = [leaf.b for leaf in optcore.backends.Optimizer(rule).init(list(params)).leaves]
    found = []
    for i, p in enumerate(params):
        base, b = torch.tensor(p), torch.tensor(drawn[i], requires_grad=True)
        a = torch.zeros(p.shape[0], min(rank, *p.shape), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([{"params": [a]}, {"params": [b], "lr": lr * ratio}], lr=lr)
        for g in grads:
            optimizer.zero_grad()
            (torch.tensor(g[i]) * (base + scale * a @ b)).sum().backward()
            optimizer.step()
        found.append((base + scale * a @ b).detach().numpy())
    return found


small = st.floats(0, 1e-3)
PAPERS += [
    Paper(
        _hypergradient,
        hypergradient_of_the_paper,
        {
            "inner": st.sampled_from(["sgd", "nesterov", "adam"]), "rate0": st.floats(1e-4, 1e-2),
            "additive": st.floats(0, 1e-6), "multiplicative": st.floats(0, 0.1), "wd": decays,
        },
        tree=True,
    ),
    Paper(
        optcore.exponentiated_step_size,
        step_sizes_of_the_text,
        {
            "lr": st.floats(1e-4, 1e-2), "beta": beta, "mu": beta, "gain_rate": small, "gain_cosine": small,
            "scale_rate": small, "scale_cosine": small, "limit": st.floats(0.1, 1),
        },
        tree=True,
    ),
    Paper(
        lambda **numbers: optcore.lora(optcore.adam, optcore.adam, **numbers),
        lora_by_torch,
        {
            "rank": st.integers(1, 4), "lr": rates, "ratio": st.floats(0.5, 16), "scale": st.floats(0.1, 2),
            "spread": st.floats(0.1, 2),
        },
        shapes=((4, 3), (3, 5), (6, 6)),
        tree=True,
    ),
]  # fmt: skip
