"""The papers of the rules in popular.py, and optimizers of libraries that need more than a list of leaves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import optcore
from oracles import Paper, beta, betas, decays, rates

r = optcore
momenta = st.floats(0.1, 0.95)
SINGLE = "the state, or all, is kept in float32 whatever the parameters are: 2^-24 in each of 15 steps"


def _module(params: list[Any], name: str = "w") -> tuple[Any, list[Any]]:
    import torch

    leaves = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(p)) for p in params])
    return torch.nn.ModuleDict({name: leaves}), list(leaves)


def adam_mini_of_a_module(
    params: list[Any], grads: list[Any], *, lr: float, pair: Any, eps: float, wd: float, name: str
) -> Any:
    """pytorch_optimizer's AdamMini, which takes a module: a block is a leaf, or an element in embeddings."""
    import pytorch_optimizer
    import torch

    module, leaves = _module(params, name)
    optimizer = pytorch_optimizer.AdamMini(module, lr=lr, betas=pair, eps=eps, weight_decay=wd)
    for step in grads:
        for p, g in zip(leaves, step, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    return [p.detach().numpy() for p in leaves]


def _fused(name: str) -> Callable[..., Any]:
    """pytorch_optimizer's LOMO and AdaLOMO step inside the backward pass of a loss with these gradients."""

    def law(params: list[Any], grads: list[Any], *, lr: float, **options: Any) -> Any:
        import pytorch_optimizer
        import torch

        module, leaves = _module(params)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the peer's own, about DeepSpeed
            optimizer = getattr(pytorch_optimizer, name)(module, **options)
        for step in grads:
            loss = sum((p * torch.tensor(g)).sum() for p, g in zip(leaves, step, strict=True))
            optimizer.fused_backward(loss, lr)
        return [p.detach().numpy() for p in leaves]

    law.__name__ = name
    return law


def lookahead_of_torch(params: list[Any], grads: list[Any], *, lr: float, k: int, alpha: float, wd: float) -> Any:
    """pytorch_optimizer's Lookahead around torch's AdamW."""
    import pytorch_optimizer
    import torch

    leaves = [torch.nn.Parameter(torch.tensor(p)) for p in params]
    inner = torch.optim.AdamW(leaves, lr=lr, weight_decay=wd)
    optimizer = pytorch_optimizer.Lookahead(inner, k=k, alpha=alpha)
    for step in grads:
        for p, g in zip(leaves, step, strict=True):
            p.grad = torch.tensor(g)
        optimizer.step()
    return [p.detach().numpy() for p in leaves]


def _optax(build: Callable[..., Any], synced: bool = False) -> Callable[..., Any]:
    def law(params: list[Any], grads: list[Any], **numbers: Any) -> Any:
        import jax
        import optax

        with jax.enable_x64(True):
            optimizer = build(optax, **numbers)
            tree: Any = [jax.numpy.asarray(p) for p in params]
            tree = optax.LookaheadParams.init_synced(tree) if synced else tree
            state = optimizer.init(tree)
            for step in grads:
                updates, state = optimizer.update([jax.numpy.asarray(g) for g in step], state, tree)
                tree = optax.apply_updates(tree, updates)
            return [np.asarray(p) for p in (tree.fast if synced else tree)]

    law.__name__ = build.__name__
    return law


def lookahead_of_optax(optax: Any, *, lr: float, k: int, alpha: float) -> Any:
    return optax.lookahead(optax.adam(lr), k, alpha)


def centralize_of_optax(optax: Any, *, lr: float) -> Any:
    return optax.chain(optax.centralize(), optax.adam(lr))


def sgdw_with_the_rate_inside(p: Any, grads: Any, *, alpha: float, lam: float, b: float) -> Any:
    """Loshchilov & Hutter's algorithm 1 with a schedule that falls to a tenth at the tenth step."""
    m = 0.0 * p
    for t, g in enumerate(grads):
        eta = 1.0 if t < 10 else 0.1
        m = b * m + eta * alpha * g
        p = p - m - eta * lam * p
    return p


def adam_mini_of_rows(p: Any, grads: Any, *, lr: float, b1: float, b2: float, eps: float, last: bool = False) -> Any:
    """Each output, the first axis or the last, has one second moment."""
    if last:
        p, grads = np.moveaxis(p, -1, 0), [np.moveaxis(g, -1, 0) for g in grads]
    m = np.zeros_like(p)
    v = np.zeros(p.shape[0])
    for t, g in enumerate(grads, 1):
        m = b1 * m + (1 - b1) * g
        for i in range(p.shape[0]):
            v[i] = b2 * v[i] + (1 - b2) * np.mean(g[i] ** 2)
        size = np.sqrt(v / (1 - b2**t)).reshape(-1, *(1,) * (p.ndim - 1))
        p = p - lr * (m / (1 - b1**t)) / (size + eps)
    return np.moveaxis(p, 0, -1) if last else p


def mars_of_matrices(
    p: Any, grads: Any, *, lr: float, b1: float, b2: float, gamma: float, bound: float, form: str
) -> Any:
    """Yuan et al.'s algorithms on matrices, Adam on all else; eps 1e-8."""
    m, v, last = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        if p.ndim != 2:
            m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
            p = p - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
            continue
        c = g + gamma * b1 / (1 - b1) * (g - last)
        length = np.sqrt(np.sum(c * c))
        c = c * (bound / length) if length > bound else c
        m, last = b1 * m + (1 - b1) * c, g
        if form == "adamw":
            v = b2 * v + (1 - b2) * c * c
            p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        elif form == "lion":
            p = p - lr * np.sign(m)
        else:
            x = m / (1 - b1)
            x = x / (np.linalg.norm(x) + 1e-8)
            for _ in range(5):
                a = x @ x.T
                x = 3.4445 * x - 4.7750 * a @ x + 2.0315 * a @ a @ x
            p = p - lr * max(1.0, p.shape[0] / p.shape[1]) ** 0.5 * x
    return p


def qhadam(p: Any, grads: Any, *, lr: float, b1: float, b2: float, nu1: float, nu2: float, eps: float) -> Any:
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        top = (1 - nu1) * g + nu1 * m / (1 - b1**t)
        p = p - lr * top / (np.sqrt((1 - nu2) * g * g + nu2 * v / (1 - b2**t)) + eps)
    return p


def apollo(p: Any, grads: Any, *, lr: float, b: float, eps: float, floor: float) -> Any:
    """Ma's algorithm 1 with a constant rebound."""
    m, hessian, d = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        before, m = m, m + (1 - b) / (1 - b**t) * (g - m)
        length = np.sum(d**4) ** 0.25 + eps
        secant = np.sum(d * (m - before)) + np.sum(d * hessian * d) / length * length
        hessian = hessian - secant / length**2 * (d / length) ** 2
        d = m / np.maximum(np.abs(hessian), floor)
        p = p - lr * d
    return p


def diffgrad(p: Any, grads: Any, *, lr: float, b1: float, b2: float, scale: float) -> Any:
    """Dubey et al. 2020, with eps 1e-8 beside the uncorrected root, as the authors' code has it."""
    m, v, last = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        friction = 1 / (1 + np.exp(-np.abs(last - g) / scale))
        p = p - lr * np.sqrt(1 - b2**t) / (1 - b1**t) * friction * m / (np.sqrt(v) + 1e-8)
        last = g
    return p


def laprop(p: Any, grads: Any, *, lr: float, b1: float, b2: float, eps: float) -> Any:
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        v = b2 * v + (1 - b2) * g * g
        m = b1 * m + (1 - b1) * g / ((np.sqrt(v) + eps) / np.sqrt(1 - b2**t))
        p = p - lr * m / (1 - b1**t)
    return p


def adafactor_at_the_size_of_p(
    p: Any, grads: Any, *, lr: float, wd: float, power: float, cut: float, e1: float, e2: float
) -> Any:
    """AdaLomo's algorithm 1, the last two axes factored."""
    rows = columns = v = 0.0
    for t, g in enumerate(grads, 1):
        b, square = 1 - t**-power, g * g + e1
        if p.ndim < 2:
            v = b * v + (1 - b) * square
            u = g / np.sqrt(v)
        else:
            rows = b * rows + (1 - b) * square.mean(-1)
            columns = b * columns + (1 - b) * square.mean(-2)
            u = g / np.sqrt((rows / rows.mean(-1, keepdims=True))[..., None] * columns[..., None, :])
        u = u / max(1.0, np.sqrt(np.mean(u * u)) / cut)
        size = max(e2, np.sqrt(np.mean(p * p)))
        p = p * (1 - lr * size * wd) - lr * size * u
    return p


def gradient_filter(p: Any, grads: Any, *, lr: float, b: float, gain: float) -> Any:
    """Lee et al.'s EMA filter in front of plain descent."""
    m: Any = None
    for g in grads:
        m = g if m is None else b * m + (1 - b) * g
        p = p - lr * (g + gain * m)
    return p


def centralize(p: Any, grads: Any, *, lr: float, axis: int, least: int) -> Any:
    """Gradient descent on gradients less the mean of each slice along an axis."""
    for g in grads:
        g = g.copy()
        if g.ndim >= max(least, 2):
            for i in range(g.shape[axis]):
                part = np.moveaxis(g, axis, 0)[i]
                part -= part.sum() / part.size
        p = p - lr * g
    return p


def cautious_adamw(p: Any, grads: Any, *, lr: float, b1: float, b2: float, wd: float) -> Any:
    """The authors' C-AdamW in its eager form: the mask over its mean, at least 1e-3, on the first moment."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        p = p * (1 - lr * wd)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        mask = np.where(m * g > 0, 1.0, 0.0)
        mask = mask / max(mask.mean(), 1e-3)
        p = p - lr * math.sqrt(1 - b2**t) / (1 - b1**t) * (m * mask) / (np.sqrt(v) + 1e-6)
    return p


pair = {"b1": st.floats(0.5, 0.95), "b2": st.floats(0.8, 0.999)}
PAPERS = [
    Paper(
        lambda alpha, lam, b: r.velocity(beta=b).bind(
            lr=r.schedules.piecewise(start=alpha, points=[(10, 0.1 * alpha)]), weight_decay=lam / alpha, decay="with"
        ),
        sgdw_with_the_rate_inside,
        {"alpha": rates, "lam": st.floats(0, 0.1), "b": momenta},
    ),
    *(
        Paper(
            lambda lr, pair, eps, wd, name, blocks=blocks: r.adam_mini(
                beta1=pair[0], beta2=pair[1], epsilon=eps, lr=lr, weight_decay=wd, blocks=blocks
            ),
            adam_mini_of_a_module,
            {"lr": rates, "pair": betas, "eps": st.floats(1e-3, 0.1), "wd": decays, "name": name},
            tree=True,
            tolerance=2e-6,
            why=SINGLE,
        )
        for blocks, name in (("tensor", "w"), ("element", "embed"))
    ),
    *(
        Paper(
            lambda lr, b1, b2, eps, last: r.adam_mini(
                beta1=b1, beta2=b2, epsilon=eps, lr=lr, blocks="row", layout="in_out" if last else "out_in"
            ),
            adam_mini_of_rows,
            {"lr": rates, "eps": st.floats(1e-8, 0.1), "last": last, **pair},
        )
        for last in (False, True)
    ),
    *(
        Paper(
            lambda lr, b1, b2, gamma, bound, form: r.mars(
                lr=lr, beta1=b1, beta2=b2, gamma=gamma, max_norm=bound, form=form, layout="out_in"
            ),
            mars_of_matrices,
            {"lr": rates, "gamma": st.floats(0, 0.3), "bound": st.floats(0.1, 30.0), "form": form, **pair},
        )
        for form in ("adamw", "lion", "shampoo")
    ),
    Paper(
        lambda lr, b1, b2, nu1, nu2, eps: r.qhadam(lr=lr, beta1=b1, beta2=b2, nu1=nu1, nu2=nu2, epsilon=eps),
        qhadam,
        {"lr": rates, "nu1": st.floats(0, 1), "nu2": st.floats(0, 1), "eps": st.floats(1e-8, 0.1), **pair},
    ),
    Paper(
        lambda lr, b, eps, floor: r.apollo(lr=lr, beta=b, epsilon=eps, floor=floor),
        apollo,
        {"lr": rates, "b": momenta, "eps": st.floats(0.01, 1), "floor": st.floats(0.01, 1)},
    ),
    Paper(
        lambda lr, b1, b2, scale: r.diffgrad(lr=lr, beta1=b1, beta2=b2, scale=scale),
        diffgrad,
        {"lr": rates, "scale": st.floats(0.1, 10), **pair},
    ),
    Paper(
        lambda lr, b1, b2, eps: r.laprop(lr=lr, beta1=b1, beta2=b2, epsilon=0.0, epsilon_hat=eps),
        laprop,
        {"lr": rates, "eps": st.floats(1e-15, 1e-3), **pair},
    ),
    Paper(lambda lr: r.lomo(lr=lr), _fused("LOMO"), {"lr": rates}, tree=True, tolerance=2e-6, why=SINGLE),
    Paper(
        lambda lr, weight_decay, clip_threshold: r.adalomo(lr=lr, weight_decay=weight_decay, threshold=clip_threshold),
        _fused("AdaLOMO"),
        {"lr": rates, "weight_decay": decays, "clip_threshold": st.floats(0.5, 2)},
        tree=True,
        shapes=((7,), (4, 3)),  # the peer cannot take more axes
        tolerance=1e-5,
        why=SINGLE,
    ),
    Paper(
        lambda lr, wd, power, cut, e1, e2: r.adalomo(
            lr=lr, weight_decay=wd, beta2_decay=power, threshold=cut, epsilon1=e1, epsilon2=e2
        ),
        adafactor_at_the_size_of_p,
        {
            "lr": rates,
            "wd": decays,
            "power": st.floats(0.5, 1),
            "cut": st.floats(0.5, 2),
            "e1": st.floats(1e-30, 1e-3),
            "e2": st.floats(1e-3, 2),
        },
    ),
    Paper(
        lambda lr, b, gain: r.chain(r.grokfast(beta=b, gain=gain), r.sgd).bind(lr=lr),
        gradient_filter,
        {"lr": rates, "b": beta, "gain": st.floats(0, 5)},
    ),
    Paper(
        lambda lr, k, alpha, wd: r.lookahead(r.adamw, lr=lr, interval=k, alpha=alpha, weight_decay=wd),
        lookahead_of_torch,
        {"lr": rates, "k": st.integers(1, 6), "alpha": st.floats(0, 1), "wd": decays},
        tree=True,
    ),
    Paper(
        lambda lr, k, alpha: r.lookahead(r.adam, lr=lr, interval=k, alpha=alpha),
        _optax(lookahead_of_optax, synced=True),
        {"lr": rates, "k": st.integers(1, 6), "alpha": st.floats(0, 1)},
        tree=True,
    ),
    Paper(
        lambda lr: r.chain(r.centralize(like="optax"), r.adam).bind(lr=lr),
        _optax(centralize_of_optax),
        {"lr": rates},
        tree=True,
    ),
    *(
        Paper(
            lambda lr, axis, least, unit=unit, layout=layout: r.chain(
                r.centralize(unit=unit, min_ndim=least, layout=layout), r.sgd
            ).bind(lr=lr),
            centralize,
            {"lr": rates, "axis": axis, "least": st.integers(1, 4)},
        )
        for unit, layout, axis in (
            ("output", "out_in", 0),
            ("output", "in_out", -1),
            ("last", "out_in", -1),
            ("first", "in_out", 0),
        )
    ),
    Paper(
        lambda lr, b1, b2, wd: r.cautious(
            r.adam(beta1=b1, beta2=b2, epsilon=0.0, epsilon_hat=1e-6), scaling="mean"
        ).bind(lr=lr, weight_decay=wd),
        cautious_adamw,
        {"lr": rates, "wd": decays, **pair},
    ),
]
