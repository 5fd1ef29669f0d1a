"""Muon: an orthogonalized momentum, for matrices; ``matrices(muon, adam)`` gives other leaves to another rule."""

from __future__ import annotations

from math import sqrt
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge

from optcore.matrix import Preconditioning, orthogonalize
from optcore.moments import ema
from optcore.rule import Conventions, rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Count, Decay, Epsilon, Layout, Namespace, Positive, Scalar, Unit

LIKE: Conventions = {
    "paper": {},
    "torch": {"epsilon": 0.0, "floor": 1e-7, "lr": 1e-3, "weight_decay": 0.1},
    "optax": {"momentum": "corrected", "epsilon": 1e-8},
    "keras": {"momentum": "sum", "scale": "rms", "lr": 1e-3, "weight_decay": 0.004, "decay": "before"},
    "moonlight": {"momentum": "sum", "scale": "rms", "lr": 1e-3, "weight_decay": 0.1},
}
DION = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)
"""The polynomials of optax' preset "dion", one for each iteration; later iterations repeat the last."""


Momentum = Literal["ema", "sum", "corrected"]
Scale = Literal["aspect", "rms", "spectral", "none"]
Polynomial = Literal["fixed", "dion"]
Square = Annotated[float, Ge(0), Unit(g=2)]


class MuonState(NamedTuple):
    m: Array  #: EMA or decaying sum of the gradient, zero at the start; unit [g]


def looked(
    xp: Namespace, g: Array, old: Array, t: Scalar, beta: Scalar, nesterov: bool, momentum: Momentum
) -> tuple[Array, Array]:
    """Return the momentum that is orthogonalized, with look-ahead and correction, and the one that is kept."""
    m = beta * old + g if momentum == "sum" else ema(beta, old, g)
    if momentum == "corrected" and nesterov:
        later = m / bias_correction(xp, beta, t + 1)
        return ema(beta, later, g / bias_correction(xp, beta, t)), m
    if momentum == "corrected":
        return m / bias_correction(xp, beta, t), m
    if nesterov:
        return (g + beta * m if momentum == "sum" else ema(beta, m, g)), m
    return m, m


def schedule(a: Scalar, b: Scalar, c: Scalar, iterations: int, polynomial: str) -> list[tuple[Scalar, Scalar, Scalar]]:
    """Return the coefficients of the polynomial for each iteration."""
    return [(a, b, c) if polynomial == "fixed" else DION[min(i, len(DION) - 1)] for i in range(iterations)]


def shape_factor(shape: tuple[int, ...], layout: Layout | None, scale: str, rms: Scalar) -> Scalar:
    """Return the factor by which the orthogonalized matrix is multiplied, from the shape of the leaf."""
    out, into = shape if layout == "out_in" else (shape[1], shape[0])
    if scale == "rms":
        return rms * sqrt(max(out, into))
    aspect = sqrt(out / into)
    return {"aspect": max(1.0, aspect), "spectral": aspect, "none": 1.0}[scale]


@rule(MuonState, family="matrix", kind="leafwise", axes=True, ndim=2, lr=0.02, like=LIKE)
def muon(
    xp: Namespace,
    p: Array,
    g: Array,
    s: MuonState,
    t: Scalar,
    *,
    beta: Decay = 0.95,
    nesterov: bool = True,
    momentum: Momentum = "ema",
    scale: Scale = "aspect",
    rms: Positive = 0.2,
    epsilon: Epsilon = 1e-7,
    floor: Epsilon = 0.0,
    a: float = 3.4445,
    b: float = -4.7750,
    c: float = 2.0315,
    iterations: Count = 5,
    polynomial: Polynomial = "fixed",
    preconditioning: Preconditioning = "frobenius",
    gram_floor: Square = 1e-8,
    layout: Layout | None = None,
) -> tuple[Array, MuonState]:
    """The momentum with its singular values pushed to 1 by Newton-Schulz, scaled by the matrix's shape.

    ``scale`` is "aspect", ``sqrt(max(1, out/in))``, "spectral", ``sqrt(out/in)``, or "rms",
    ``rms sqrt(max(out, in))``, which gives Adam's step size. ``momentum`` says how the momentum is kept: as a mean
    ("ema"), as a "sum", or as optax' bias-corrected mean ("corrected"). ``polynomial`` is ``(a, b, c)`` in every
    iteration ("fixed"), or one for each by "dion". ``preconditioning`` names the division before the iterations.
    Source: Jordan et al. 2024 (KellerJordan/Muon); "rms" from Liu et al. 2025, eq. 4; polynomials and preconditioning
    of optax.contrib.muon.
    """
    look, m = looked(xp, g, s.m, t, beta, nesterov, momentum)
    d = orthogonalize(xp, look, schedule(a, b, c, iterations, polynomial), epsilon, floor, preconditioning, gram_floor)
    return shape_factor(g.shape, layout, scale, rms) * d, MuonState(m)
