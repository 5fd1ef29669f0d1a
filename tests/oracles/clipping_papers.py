"""Clipping laws as their sources write them, with plain arithmetic on the gradients of all leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracles.noise import noise

# Laws of all leaves at one step, literally: the gradients, a memory, the count, the parameters, the numbers.


def steps(law: Callable[..., Any]) -> Callable[..., Any]:
    """Return the last parameters of gradient descent with a clipping law."""

    def run(p: list[Any], grads: Any, *, lr: float = 1.0, **numbers: Any) -> list[Any]:
        memory: dict[str, Any] = {"p": p}
        for t, g in enumerate(grads, 1):
            d = law([np.array(x) for x in g], memory, t, **numbers)
            memory["p"] = [a - lr * b for a, b in zip(memory["p"], d, strict=True)]
        return memory["p"]  # type: ignore[no-any-return]

    run.__name__ = law.__name__
    return run


def total(grads: list[Any]) -> float:
    return float(np.sqrt(sum((g * g).sum() for g in grads)))


def cut_each_element(g: Any, m: Any, t: int, *, limit: float) -> Any:
    return [np.clip(x, -limit, limit) for x in g]


def clipnorm_of_keras(g: Any, m: Any, t: int, *, max_norm: float) -> Any:
    return [x * max_norm / max(np.linalg.norm(x), max_norm) for x in g]


def soft_per_leaf(g: Any, m: Any, t: int, *, max_norm: float) -> Any:
    return [x * max_norm / (np.linalg.norm(x) + max_norm) for x in g]


def soft_over_the_tree(g: Any, m: Any, t: int, *, max_norm: float) -> Any:
    """Zhang et al. 2020, eq. 3."""
    return [x * max_norm / (total(g) + max_norm) for x in g]


def hard_over_the_tree(g: Any, m: Any, t: int, *, max_norm: float, epsilon: float) -> Any:
    return [x * min(1.0, max_norm / (total(g) + epsilon)) for x in g]


def norm_of_any_order(g: Any, m: Any, t: int, *, max_norm: float, order: float, epsilon: float) -> Any:
    """The p-norm of the norms, as torch words it."""
    n = sum(np.linalg.norm(x.ravel(), order) ** order for x in g) ** (1 / order)
    return [x * min(1.0, max_norm / (n + epsilon)) for x in g]


def largest_of_all(g: Any, m: Any, t: int, *, max_norm: float, epsilon: float) -> Any:
    return [x * min(1.0, max_norm / (max(np.abs(y).max() for y in g) + epsilon)) for x in g]


def percentile_of_the_last_norms(g: Any, m: Any, t: int, *, percentile: float, window: int, epsilon: float) -> Any:
    """Seetharaman et al. 2020, alg. 1, then torch's clip_grad_norm_; the memory ends after ``window`` norms."""
    m["norms"] = [*m.get("norms", []), total(g)][-window:]
    return hard_over_the_tree(g, m, t, max_norm=np.percentile(m["norms"], percentile), epsilon=epsilon)


def dropped_where_large(g: Any, m: Any, t: int, *, max_norm: float) -> Any:
    return [x if total(g) < max_norm else 0.0 * x for x in g]


def rms_per_leaf(g: Any, m: Any, t: int, *, threshold: float) -> Any:
    """Shazeer & Stern 2018, alg. 4."""
    return [x / max(1.0, np.sqrt(np.mean(x * x)) / threshold) for x in g]


def rms_over_the_tree(g: Any, m: Any, t: int, *, threshold: float) -> Any:
    rms = np.sqrt(sum((x * x).sum() for x in g) / sum(x.size for x in g))
    return [x / max(1.0, rms / threshold) for x in g]


def units(x: Any, unit: str, layout: str, heads: bool, axis: int | None = None) -> Any:
    """Return writable views of the gradient, one for each unit that has a norm of its own."""
    if x.ndim < 2 or (unit == "leaf" and axis is None):
        return [x]
    if axis is not None:
        return list(np.moveaxis(x, axis, 0))
    last = unit == "last" or (unit == "output" and layout == "in_out")
    if heads and x.ndim == 3:
        pairs = np.moveaxis(x, 0 if last else 1, -1)
        return [part for head in pairs for part in head]
    return list(np.moveaxis(x, -1, 0) if last else x)


def unit_after_unit(g: Any, m: Any, t: int, *, max_norm: float, **unit: Any) -> Any:
    for x in g:
        for part in units(x, **unit):
            part *= min(1.0, max_norm / np.linalg.norm(part))
    return g


def agc_of_the_paper(g: Any, m: Any, t: int, *, clipping: float, epsilon: float, floor: float, **unit: Any) -> Any:
    """Brock et al. 2021, eq. 3, and the floor of their code."""
    for x, p in zip(g, m["p"], strict=True):
        for part, weights in zip(units(x, **unit), units(p, **unit), strict=True):
            most = clipping * max(np.linalg.norm(weights), epsilon)
            if not np.linalg.norm(part) < most:
                part *= most / max(np.linalg.norm(part), floor)
    return g


def over_the_norm(g: Any, m: Any, t: int, *, epsilon: float, floor: float) -> Any:
    return [x / max(np.linalg.norm(x) + epsilon, floor) for x in g]


def over_the_norm_of_all(g: Any, m: Any, t: int, *, epsilon: float) -> Any:
    return [x / (total(g) + epsilon) for x in g]


def over_the_rms(g: Any, m: Any, t: int, *, epsilon: float, floor: float) -> Any:
    return [x / max(np.sqrt(np.mean(x * x)) + epsilon, floor) for x in g]


def over_the_rms_of_all(g: Any, m: Any, t: int, *, epsilon: float, floor: float) -> Any:
    rms = np.sqrt(sum((x * x).sum() for x in g) / sum(x.size for x in g))
    return [x / max(rms + epsilon, floor) for x in g]


def over_the_columns(g: Any, m: Any, t: int, *, epsilon: float, layout: str) -> Any:
    for x in g:
        for part in units(x, "output", layout, heads=False):
            part /= np.linalg.norm(part) + epsilon
    return g


def over_the_deviation(g: Any, m: Any, t: int, *, epsilon: float, channels: bool, layout: str) -> Any:
    for x in g:
        for part in units(x, "output" if channels else "leaf", layout, heads=False):
            part /= np.std(part, ddof=1) + epsilon
    return g


def softsign(g: Any, m: Any, t: int, *, scale: float) -> Any:
    return [x / (1 + np.abs(x) / scale) for x in g]


def mu_law(g: Any, m: Any, t: int, *, mu: float, scale: float) -> Any:
    """ITU-T G.711."""
    return [scale * np.sign(x) * np.log1p(mu * np.abs(x / scale)) / np.log1p(mu) for x in g]


def a_law(g: Any, m: Any, t: int, *, a: float, scale: float) -> Any:
    """ITU-T G.711, element by element."""

    def one(x: float) -> float:
        size = abs(x) / scale
        y = a * size / (1 + np.log(a)) if size < 1 / a else (1 + np.log(a * size)) / (1 + np.log(a))
        return float(np.copysign(scale * y, x))

    return [np.vectorize(one)(x) for x in g]


def trust_region(g: Any, m: Any, t: int, *, scale: float, weight: float, limit: float) -> Any:
    """heavyball's formula."""
    d = [weight * np.tanh(x / scale) + (1 - weight) * np.copysign(np.log1p(np.abs(x / scale)), x) for x in g]
    return [np.clip(x * scale, -limit, limit) for x in d]


def zclip_of_its_authors(
    g: Any, m: Any, t: int, *, beta: float, threshold: float, max_norm: float | None, to: str, factor: float,
    warmup: int, skip: bool, epsilon: float, epsilon_norm: float,
) -> Any:  # fmt: skip
    """Kumar et al. 2025 and their code, with the buffer of the warm-up."""
    n = total(g)
    seen = m.setdefault("buffer", [])
    if "mean" not in m:
        seen.append(n)
        if len(seen) >= warmup:
            m["mean"], m["var"] = np.mean(seen), np.var(seen)
        scale = 1.0 if max_norm is None else min(1.0, max_norm / (n + epsilon_norm))
        return [x * scale for x in g]
    deviation = np.sqrt(m["var"])
    z = (n - m["mean"]) / (deviation + epsilon)
    value = None
    if to == "threshold":
        if n > m["mean"] + threshold * deviation:
            value = m["mean"] + threshold * deviation
    elif z > threshold:
        value = m["mean"] if to == "mean" else factor * (m["mean"] + threshold * deviation / (z / threshold))
    aim = n if value is None else value
    aim = aim if max_norm is None else min(aim, max_norm)
    if value is None or not skip:
        x = n if value is None else value
        m["mean"] = beta * m["mean"] + (1 - beta) * x
        m["var"] = beta * m["var"] + (1 - beta) * (x - m["mean"]) ** 2
    return [x * (aim / (n + epsilon_norm)) if n > aim and aim / (n + epsilon_norm) < 1 else x for x in g]


def adagc_of_the_paper(
    g: Any, m: Any, t: int, *, max_norm: float, threshold: float, beta: float, warmup: int, epsilon: float
) -> Any:
    """Wang et al. 2025, alg. 1, with the epsilons of pytorch_optimizer."""
    n, norms, out = total(g), m.setdefault("norms", [None] * len(g)), []
    for i, x in enumerate(g):
        if norms[i] is None or t < warmup:
            out.append(x * min(1.0, max_norm / (n + epsilon)))
            size = np.linalg.norm(out[-1])
            norms[i] = size if norms[i] is None else min(norms[i], size)
        else:
            out.append(x * min(1.0, threshold * max(norms[i], epsilon) / max(np.linalg.norm(x), epsilon)))
            norms[i] = beta * norms[i] + (1 - beta) * np.linalg.norm(out[-1])
    return out


def quantile_of_the_norms(g: Any, m: Any, t: int, *, quantile: float, rate: float, initial: float) -> Any:
    """Andrew et al. 2021, alg. 1 with one user and no noise."""
    limit, n = m.get("limit", initial), total(g)
    m["limit"] = limit * np.exp(-rate * ((n <= limit) - quantile))
    return [x * min(1.0, limit / n) for x in g]


def spikes_of_spam(g: Any, m: Any, t: int, *, threshold: float, beta: float, start: int) -> Any:
    """Huang et al. 2025, alg. 1."""
    v = m.setdefault("v", [np.zeros_like(x) for x in g])
    for i, x in enumerate(g):
        if t >= start:
            spike = x**2 > threshold * v[i]
            x[spike] = np.sign(x[spike]) * np.sqrt(threshold * v[i][spike])
        v[i] = beta * v[i] + (1 - beta) * x**2
    return g


def with_noise(g: Any, m: Any, t: int, *, deviation: float) -> Any:
    return [x + deviation * noise(x.shape, t) for x in g]
