"""The papers of matrix laws and of Sophia in plain NumPy, and installed optimizers that a row cannot call."""

from __future__ import annotations

from typing import Any

import numpy as np


def shampoo_of_the_paper(
    p: Any, grads: Any, *, lr: float, beta: float | None, epsilon: float, interval: int, weight_decay: float
) -> Any:
    """Gupta et al. 2018, alg. 2, with the roots taken at steps 1, 1 + interval, ..."""
    k = p.ndim
    statistics: list[Any] = [np.zeros((n, n)) for n in p.shape]
    roots: list[Any] = []
    for t, g in enumerate(grads):
        g = g + weight_decay * p
        for i in range(k):
            others = tuple(j for j in range(k) if j != i)
            gram = np.tensordot(g, g, axes=(others, others))
            statistics[i] = statistics[i] + gram if beta is None else beta * statistics[i] + (1 - beta) * gram
        if t % interval == 0:
            roots = []
            for s in statistics:
                w, q = np.linalg.eigh(s + epsilon * np.eye(len(s)))
                roots.append(q @ np.diag(w ** (-1 / (2 * k))) @ q.T)
        d = g
        for i in range(k):
            d = np.moveaxis(np.tensordot(roots[i], d, axes=(1, i)), 0, i)
        p = p - lr * d
    return p


def galore_of_the_paper(
    p: Any, grads: Any, *, lr: float, beta1: float, beta2: float, epsilon_hat: float, rank: int, scale: float,
    side: str, weight_decay: float,
) -> Any:  # fmt: skip
    """Zhao et al. 2024, alg. 2, up to the second subspace: singular vectors from a decomposition of the gradient."""
    project = back = lambda x: x
    if p.ndim == 2:
        u, _, vh = np.linalg.svd(grads[0], full_matrices=False)
        columns = p.shape[0] >= p.shape[1]
        if columns == (side == "smaller"):
            project, back = (lambda x: x @ vh[:rank].T), (lambda x: scale * x @ vh[:rank])
        else:
            project, back = (lambda x: u[:, :rank].T @ x), (lambda x: scale * u[:, :rank] @ x)
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        low = project(g)
        m, v = beta1 * m + (1 - beta1) * low, beta2 * v + (1 - beta2) * low**2
        step = np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + epsilon_hat)
        p = p - lr * back(step)
        p = p - lr * weight_decay * p
    return p


def five(m: Any, a: float, b: float, c: float, steps: int = 5, small: float = 1e-7) -> Any:
    """Return the result of Newton-Schulz on singular values: the polynomial ``a s + b s^3 + c s^5`` of each of them."""
    u, s, vh = np.linalg.svd(m, full_matrices=False)
    s = s / (np.sqrt((m**2).sum()) + small)
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return u @ np.diag(s) @ vh


def muon_of_its_authors(
    p: Any, grads: Any, *, lr: float, beta: float, nesterov: bool, momentum: str, scale: str, weight_decay: float,
    polynomial: Any, iterations: int,
) -> Any:  # fmt: skip
    """KellerJordan/Muon ("ema", "aspect") and MoonshotAI/Moonlight ("sum", "rms"); a kernel is (out, rest)."""
    shape = p.shape
    p = p.reshape(shape[0], -1)
    rows, columns = p.shape
    factor = {
        "aspect": np.sqrt(max(1.0, rows / columns)),
        "rms": 0.3 * np.sqrt(max(rows, columns)),
        "spectral": np.sqrt(rows / columns),
        "none": 1.0,
    }[scale]
    m = np.zeros_like(p)
    for g in grads:
        g = g.reshape(p.shape)
        if momentum == "sum":
            m = beta * m + g
            u = g + beta * m if nesterov else m
        else:
            m = m + (1 - beta) * (g - m)
            u = g + beta * (m - g) if nesterov else m
        p = p * (1 - lr * weight_decay) - lr * factor * five(u, *polynomial, iterations)
    return p.reshape(shape)


def muon_in_bfloat16(p: Any, grads: Any, **options: Any) -> Any:
    """The installed torch.optim.Muon, which iterates in bfloat16."""
    import torch

    leaf = torch.nn.Parameter(torch.tensor(p))
    optimizer = torch.optim.Muon([leaf], **options)
    for g in grads:
        leaf.grad = torch.tensor(g)
        optimizer.step()
    return leaf.detach().numpy()


def muon_of_torch(p: Any, grads: Any, **options: Any) -> Any:
    """The installed torch.optim.Muon, kept in float64 where it would iterate in bfloat16."""
    from unittest import mock

    import torch

    with mock.patch.object(torch.Tensor, "bfloat16", torch.Tensor.clone):
        return muon_in_bfloat16(p, grads, **options)


def scion_of_the_paper(
    p: Any, grads: Any, *, lr: float, beta: float, scale: float, cap: bool, normalize: bool, layout: str,
    polynomial: Any, iterations: int, epsilon_spectral: float,
) -> Any:  # fmt: skip
    """Pethick et al. 2025, alg. 2, with the spectral norm; vectors are scaled to RMS 1."""
    m = np.zeros_like(p)
    for g in grads:
        m = beta * m + (1 - beta) * g
        if p.ndim == 1:
            d = m / (np.sqrt((m**2).mean()) + 1e-8)
        else:
            x = m if layout == "out_in" else np.moveaxis(m, (-1, -2), (0, 1))
            out, into, *kernel = x.shape
            factor = np.sqrt(out / into if normalize else out) / np.prod(kernel)
            factor = max(1.0, factor) if cap else factor
            y = five(x.reshape(out, -1), *polynomial, iterations, epsilon_spectral).reshape(x.shape)
            d = factor * (y if layout == "out_in" else np.moveaxis(y, (0, 1), (-1, -2)))
        p = p - lr * scale * d
    return p


def adamuon_of_the_paper(
    p: Any, grads: Any, *, lr: float, beta1: float, beta2: float, epsilon: float, sign: bool, nesterov: bool,
    rms: float, polynomial: Any, iterations: int,
) -> Any:  # fmt: skip
    """Si et al. 2025, alg. 1; without ``sign`` and with the correction of v the authors' code."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        m = beta1 * m + (1 - beta1) * g
        u = beta1 * m + (1 - beta1) * g if nesterov else m
        o = five(np.sign(u), *polynomial, iterations, 0.0) if sign else five(u, *polynomial, iterations)
        v = beta2 * v + (1 - beta2) * o**2
        d = o / (np.sqrt(v) + epsilon)
        p = p - lr * rms * np.sqrt(p.size) / np.sqrt((d**2).sum()) * d
    return p


def soap_of_the_authors(
    p: Any, grads: Any, *, lr: float, beta1: float, beta2: float, shampoo_beta: float, interval: int, max_dim: int,
    correct_bias: bool, weight_decay: float,
) -> Any:  # fmt: skip
    """nikhilvyas/SOAP: the first gradient is gathered only; k counts the updates."""
    sides = [n <= max_dim for n in p.shape] if p.ndim == 2 else []
    gram = lambda g: [g @ g.T, g.T @ g]  # noqa: E731
    statistics = [(1 - shampoo_beta) * x for x in gram(grads[0])] if sides else []
    bases = [
        np.linalg.eigh(x)[1][:, ::-1] if take else np.eye(len(x)) for x, take in zip(statistics, sides, strict=True)
    ]
    m, v = np.zeros_like(p), np.zeros_like(p)
    turn = (lambda x: bases[0].T @ x @ bases[1]) if sides else lambda x: x
    back = (lambda x: bases[0] @ x @ bases[1].T) if sides else lambda x: x
    for k, g in enumerate(grads[1:], 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * turn(g) ** 2
        factor = np.sqrt(1 - beta2**k) / (1 - beta1**k) if correct_bias else 1.0
        p = p - lr * factor * back(turn(m) / (np.sqrt(v) + 1e-8))
        p = p - lr * weight_decay * p
        if not sides:
            continue
        statistics = [shampoo_beta * x + (1 - shampoo_beta) * y for x, y in zip(statistics, gram(g), strict=True)]
        if k % interval == 0:
            for axis in (0, 1):
                if sides[axis]:
                    size = np.diag(bases[axis].T @ statistics[axis] @ bases[axis])
                    order = np.argsort(size)[::-1]
                    v = np.take(v, order, axis=axis)
                    bases[axis] = np.linalg.qr(statistics[axis] @ bases[axis][:, order])[0]
    return p


def sophia_of_the_paper(
    p: Any, grads: Any, *, lr: float, beta1: float, beta2: float, gamma: float, epsilon: float,
    threshold: float | None, interval: int, weight_decay: float,
) -> Any:  # fmt: skip
    """Liu et al. 2023, alg. 3, with the squared gradient for the estimate."""
    m, h = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        if t % interval == 1 or interval == 1:
            h = beta2 * h + (1 - beta2) * g * g
        p = p - lr * weight_decay * p
        d = m / np.maximum(gamma * h, epsilon)
        p = p - lr * (d if threshold is None else np.clip(d, -threshold, threshold))
    return p


def sophia_of_pytorch_optimizer(
    p: Any, grads: Any, *, lr: float, betas: Any, bound: float, eps: float, interval: int, weight_decay: float
) -> Any:
    """The installed SophiaH, given the squared gradient for the Hessian's diagonal every so many steps."""
    import pytorch_optimizer
    import torch

    leaf = torch.nn.Parameter(torch.tensor(p))
    options = dict(lr=lr, betas=betas, p=bound, eps=eps, weight_decay=weight_decay, update_period=1000)
    optimizer = pytorch_optimizer.SophiaH([leaf], **options)
    for t, g in enumerate(grads):
        leaf.grad = torch.tensor(g)
        optimizer.step(hessian=[torch.tensor(g * g)] if t % interval == 0 else None)
    return leaf.detach().numpy()


def sophia_of_optax(p: Any, grads: Any, **options: Any) -> Any:
    """The installed optax.contrib.sophia, with the squared gradient for the Hessian's diagonal."""
    import jax.numpy as jnp
    import optax

    square = optax.GradientTransformation(lambda p: optax.EmptyState(), lambda g, s, p: (g * g, s))
    tx = optax.contrib.sophia(hessian_diagonal_fn=square, **options)
    params = jnp.asarray(p)
    state = tx.init(params)
    for g in grads:
        step, state = tx.update(jnp.asarray(g), state, params)
        params = optax.apply_updates(params, step)
    return np.asarray(params)


def adafactor_of_optax(p: Any, grads: Any, *, lr: float, offset: int, scaled: bool) -> Any:
    """The installed optax.adafactor, fine-tuning from step ``offset`` on; every step before counts as a first one."""
    import jax.numpy as jnp
    import optax

    options = dict(min_dim_size_to_factor=2, decay_offset=offset, multiply_by_parameter_scale=scaled)
    tx = optax.adafactor(lr, **options)
    params = jnp.asarray(p)
    for t, g in enumerate(grads):
        if t <= offset:
            begun = tx.init(params)
            state = (begun[0]._replace(count=jnp.asarray(offset)), *begun[1:])
        step, state = tx.update(jnp.asarray(g), state, params)
        params = optax.apply_updates(params, step)
    return np.asarray(params)


def grafted(p: Any, grads: Any, *, lr: float, beta: float) -> Any:
    """Anil et al. 2020, sec. 3.3: a sign's direction with the length of heavy-ball momentum."""
    b, m = np.zeros_like(p), np.zeros_like(p)
    for g in grads:
        b, m = beta * b + g, beta * m + (1 - beta) * g
        p = p - lr * np.sqrt((b**2).sum()) / np.sqrt(m.size) * np.sign(m)
    return p


def descended_and_shrunk(p: Any, grads: Any, *, lr: float, rate: float) -> Any:
    """Gradient descent whose decay is not multiplied by the learning rate."""
    for g in grads:
        p = p - lr * g - rate * p
    return p
