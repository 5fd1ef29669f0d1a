"""The rows of laws with noise, Kron and bSAM: both sides are given the same draws and second gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import optcore
from optcore.compose import Wrapped, combinator
from oracles import SHAPES, Difference, Paper, Rounding, decays, largest, ours, problem, rates, walked

r = optcore
first = st.floats(0.5, 0.95)


def noise(shape: tuple[int, ...], t: int) -> Any:
    """Return the numbers that torch.randn_like draws after ``torch.manual_seed(t)``."""
    import torch

    torch.manual_seed(t)
    return torch.randn(shape, dtype=torch.float64).numpy()


@combinator()
def noised(inner: Any, xp: Any, p: Any, g: Any, s: Wrapped, t: Any) -> Any:
    """A combinator that does the driver's part of Kron: before each step it puts the noise into the state."""
    d, state = yield from inner(xp, p, g, s.inner._replace(z=noise(p.shape, t)), t)
    return d, Wrapped(state)


def _diagonal(shape: tuple[int, ...], axis: int, diagonal: str, max_size: int, min_ndim: int) -> bool:
    n = shape[axis]
    longest = [i for i, size in enumerate(shape) if size == max(shape)]
    one = {"none": False, "all": True, "one": axis == longest[-1], "smart_one": longest == [axis]}[diagonal]
    return one or n == 1 or n > max_size or len(shape) < min_ndim


def kron_of_the_paper(
    p: Any, grads: Any, *, lr: float, beta: float, precondition_lr: float, scale: float, interval: int, epsilon: float,
    limit: float | None, epsilon_limit: float, of_momentum: bool, diagonal: str, max_size: int, min_ndim: int,
) -> Any:  # fmt: skip
    """Li 2018, on the whole Kronecker product as one matrix; norms of the fit as pytorch_optimizer bounds them.

    A triangular factor's norm is bounded by two steps of the power iteration from the longest row.
    """
    n = p.shape
    diagonals = [_diagonal(n, i, diagonal, max_size, min_ndim) for i in range(p.ndim)]
    factors = [scale ** (1 / p.ndim) * np.eye(size) for size in n]
    m = np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m = beta * m + (1 - beta) * g
        mean = m / (1 - beta**t)
        if t % interval == 1 or interval == 1:
            whole = _product(factors)
            a = (whole @ (mean if of_momentum else g).ravel()).reshape(n)
            b = (np.linalg.inv(whole).T @ noise(n, t).ravel()).reshape(n)
            for i, q in enumerate(factors):
                x, y = (np.moveaxis(z, i, 0).reshape(n[i], -1) for z in (a, b))
                less, more = x @ x.T - y @ y.T, x @ x.T + y @ y.T
                if diagonals[i]:
                    step, size = np.diag(np.diag(less)), np.diag(more).max()
                else:
                    e = more[np.argmax((more**2).sum(1))]
                    step, size = np.triu(less), np.linalg.norm(more @ more @ e) / np.linalg.norm(more @ e)
                factors[i] = q - precondition_lr * step / (size + epsilon) @ q
        whole = _product(factors)
        d = (whole.T @ whole @ mean.ravel()).reshape(n)
        if limit is not None:
            d = d * min(limit / (np.sqrt((d**2).mean()) + epsilon_limit), 1.0)
        p = p - lr * d
    return p


def _product(factors: list[Any]) -> Any:
    whole = np.eye(1)
    for q in factors:
        whole = np.kron(whole, q)
    return whole


def kron_of_pytorch_optimizer(
    p: Any, grads: Any, *, lr: float, momentum: float, weight_decay: float, of_momentum: bool, interval: int,
    mode: str | None, rate: float, scale: float,
) -> Any:  # fmt: skip
    """The installed Kron, with the numbers that only its groups take, balanced at every fit."""
    import pytorch_optimizer
    import torch

    leaf = torch.nn.Parameter(torch.tensor(p))
    group = {"params": [leaf], "precondition_lr": rate, "precondition_init_scale": scale}
    optimizer = pytorch_optimizer.Kron(
        [group],
        lr=lr,
        momentum=momentum,
        weight_decay=weight_decay,
        pre_conditioner_update_probability=lambda step: torch.tensor(float(step % interval == 0)),
        memory_save_mode=mode,
        momentum_into_precondition_update=of_momentum,
        precondition_dtype=torch.float64,
        balance_prob=1.0,
    )
    for t, g in enumerate(grads, 1):
        leaf.grad = torch.tensor(g)
        torch.manual_seed(t)
        optimizer.step()
    return leaf.detach().numpy()


def _kron(
    *, lr: float, momentum: float, weight_decay: float, of_momentum: bool, interval: int, mode: str | None,
    rate: float, scale: float,
) -> Any:  # fmt: skip
    rule = r.kron(
        beta=momentum,
        of_momentum=of_momentum,
        interval=interval,
        precondition_lr=rate,
        scale=scale,
        diagonal="none" if mode is None else mode.removesuffix("_diag"),
    )
    return noised(rule).bind(lr=lr, weight_decay=weight_decay, decay="with")


@combinator()
def sharpened(inner: Any, xp: Any, p: Any, g: Any, s: Wrapped, t: Any, *, share: float = 1.0) -> Any:
    """A combinator that does the caller's part of bSAM: it writes a share of g as the gradient at the noisy point."""
    d, state = yield from inner(xp, p, g, s.inner._replace(noisy=share * g), t)
    return d, Wrapped(state)


def bsam_of_the_paper(
    p: Any, grads: Any, *, lr: float, beta1: float, beta2: float, weight_decay: float, damping: float, s0: float,
    delayed: bool, share: float,
) -> Any:  # fmt: skip
    """Moellenhoff & Khan 2023, alg. 1; delayed as the authors' code."""
    m, s = np.zeros_like(p), s0 * np.ones_like(p)
    for g in grads:
        noisy = share * g
        old = s
        m = beta1 * m + (1 - beta1) * (g + weight_decay * p)
        s = beta2 * s + (1 - beta2) * (np.sqrt(s) * np.abs(noisy) + weight_decay + damping)
        p = p - lr * m / (old if delayed else s)
    return p


def bsam_in_nats(p: Any, grads: Any, *, lr: float, damping: float, nat: float) -> Any:
    """Moellenhoff & Khan 2023, alg. 1, for a loss in other units: gradients over nat, precisions times nat."""
    numbers = {"beta1": 0.9, "beta2": 0.9, "weight_decay": 0.1 / nat, "delayed": False, "share": 1.0}
    return bsam_of_the_paper(p, [g / nat for g in grads], lr=lr, s0=1 / nat, damping=damping / nat, **numbers)


def _sharpened(share: float, **numbers: Any) -> Any:
    rule_numbers = {k: v for k, v in numbers.items() if k != "lr"}
    return sharpened(r.bsam(**rule_numbers), share=share).bind(lr=numbers["lr"])


kron = {
    "lr": rates,
    "interval": st.integers(1, 4),
    "of_momentum": st.booleans(),
}
PLAIN: dict[str, Any] = {
    "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0, "of_momentum": True, "interval": 1, "mode": None, "rate": 0.1,
    "scale": 1.0,
}  # fmt: skip
PAPERS = [
    Paper(
        lambda **numbers: noised(r.kron(**numbers)),
        kron_of_the_paper,
        {
            "beta": first,
            "precondition_lr": st.floats(0.02, 0.5),
            "scale": st.floats(0.1, 2),
            "epsilon": st.floats(0.0, 1.0),
            "limit": st.one_of(st.none(), st.floats(0.1, 2)),
            "epsilon_limit": st.floats(0.0, 1.0),
            "diagonal": st.sampled_from(["none", "one", "smart_one", "all"]),
            "max_size": st.sampled_from([2, 3, 8192]),
            "min_ndim": st.sampled_from([1, 2, 3]),
            **kron,
        },
        shapes=((7,), (4, 3), (3, 3), (1, 5), (2, 3, 2, 2)),
    ),
    *(
        Paper(
            _kron,
            kron_of_pytorch_optimizer,
            {
                "momentum": first,
                "weight_decay": decay,
                "mode": st.sampled_from([None, "one_diag", "smart_one_diag", "all_diag"]),
                "rate": st.floats(0.02, 0.3),
                "scale": st.floats(0.1, 2),
                **kron,
            },
            tolerance=1e-6,
            why="the peer solves its triangular systems in float32: 2^-24 times the factors' condition in each fit",
            shapes=shapes,
        )
        for shapes, decay in ((SHAPES, 0.0), (SHAPES[1:], decays))  # the peer decays matrices only
    ),
    Paper(
        _sharpened,
        bsam_of_the_paper,
        {
            "lr": rates,
            "beta1": first,
            "beta2": st.floats(0.8, 0.999),
            "weight_decay": decays,
            "damping": st.floats(0.01, 1),
            "s0": st.floats(0.1, 2),
            "delayed": st.booleans(),
            "share": st.floats(-2, 2),
        },
    ),
    Paper(
        lambda lr, damping, nat: _sharpened(1.0, lr=lr, beta2=0.9, damping=damping, nat=nat, weight_decay=0.1),
        bsam_in_nats,
        {"lr": rates, "damping": st.floats(0.01, 1), "nat": st.floats(0.1, 10)},
    ),
]


def _apart(rule: Any, law: Any, **numbers: Any) -> float:
    """Return the largest difference between a rule and another implementation after 15 steps."""
    params, grads = problem(0)
    a = ours(rule, params, grads)
    return largest(a, [law(p.copy(), [g[i] for g in grads], **numbers) for i, p in enumerate(params)])


def bsam_of_pytorch_optimizer(p: Any, grads: Any, **options: Any) -> Any:
    """The installed BSAM, of which only the third of the steps that make an update is run."""
    import pytorch_optimizer
    import torch

    leaf = torch.nn.Parameter(torch.tensor(p))
    optimizer = pytorch_optimizer.BSAM([leaf], num_data=1, **options)
    for g in grads:
        leaf.grad = torch.tensor(g)
        for group in optimizer.param_groups:
            optimizer.init_group(group)
        optimizer.third_step()
    return leaf.detach().numpy()


DIFFERENCES = [
    Difference(
        "bSAM",
        "pytorch_optimizer",
        "averages `weight_decay g` for the gradient, and the square of the precision, from the perturbed gradient; "
        "its noise has the variance for a deviation",
        "`bsam`",
        lambda: _apart(
            _sharpened(1.0, lr=0.01, weight_decay=0.1), bsam_of_pytorch_optimizer, lr=0.01, weight_decay=0.1
        ),
    ),
    Difference(
        "Kron",
        "pytorch_optimizer",
        "solves its triangular systems in float32; here in the leaf's precision",
        "`kron`",
        lambda: _apart(_kron(**PLAIN), kron_of_pytorch_optimizer, **PLAIN),
        Rounding("float32", 2.0**-24, lambda: walked(_kron(**PLAIN))),
    ),
]
