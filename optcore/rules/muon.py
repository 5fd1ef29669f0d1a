"""Muon, for matrices; ``matrices(muon, adam)`` gives other leaves to another rule."""

from __future__ import annotations

from typing import Literal, NamedTuple

from optcore.matrix import orthogonalize
from optcore.moments import ema
from optcore.rule import Conventions, rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Count, Decay, Epsilon, Layout, Namespace, Positive, Scalar

LIKE: Conventions = {
    "paper": {},
    "torch": {"epsilon": 0.0, "floor": 1e-7, "lr": 1e-3, "weight_decay": 0.1},
    "optax": {"average": "corrected", "epsilon": 1e-8},
    "keras": {"average": "sum", "scale": "rms", "lr": 1e-3, "weight_decay": 0.004, "decay": "before"},
    "moonlight": {"average": "sum", "scale": "rms", "lr": 1e-3, "weight_decay": 0.1},
}


class MuonState(NamedTuple):
    m: Array  #: EMA or decaying sum of the gradient, zero at the start; unit [g]


@rule(MuonState, kind="leafwise", axes=True, ndim=2, lr=0.02, like=LIKE)
def muon(
    xp: Namespace,
    p: Array,
    g: Array,
    s: MuonState,
    t: Scalar,
    *,
    beta: Decay = 0.95,
    nesterov: bool = True,
    average: Literal["ema", "sum", "corrected"] = "ema",
    scale: Literal["aspect", "rms", "none"] = "aspect",
    rms: Positive = 0.2,
    epsilon: Epsilon = 1e-7,
    floor: Epsilon = 0.0,
    a: float = 3.4445,
    b: float = -4.7750,
    c: float = 2.0315,
    iterations: Count = 5,
    layout: Layout | None = None,
) -> tuple[Array, MuonState]:
    """The momentum with its singular values pushed to 1 by Newton-Schulz, scaled by the matrix's shape.

    ``scale`` is "aspect", ``sqrt(max(1, out/in))``, or "rms", ``rms sqrt(max(out, in))``, which
    gives Adam's step size. ``average`` is how the momentum is kept: as a mean, as a sum, or as optax's
    bias-corrected mean. Source: Jordan et al. 2024 (KellerJordan/Muon); "rms" from Liu et al. 2025, eq. 4.
    """
    m = beta * s.m + g if average == "sum" else ema(beta, s.m, g)
    look = m
    if average == "corrected":
        look = m / bias_correction(xp, beta, t)
        if nesterov:
            later = m / bias_correction(xp, beta, t + 1)
            look = ema(beta, later, g / bias_correction(xp, beta, t))
    elif nesterov:
        look = g + beta * m if average == "sum" else ema(beta, g, m)
    d = orthogonalize(xp, look, epsilon, floor, (a, b, c), iterations)
    out, into = g.shape if layout == "out_in" else (g.shape[1], g.shape[0])
    factor = {"aspect": max(1.0, out / into) ** 0.5, "rms": max(out, into) ** 0.5, "none": 1.0}[scale]
    return (rms * factor if scale == "rms" else factor) * d, MuonState(m)
