"""Muon with its step scaled by the dual norm of the momentum."""

from __future__ import annotations

from optcore.matrix import Preconditioning, orthogonalize
from optcore.rule import rule
from optcore.rules.muon import LIKE, Momentum, MuonState, Polynomial, Scale, Square, looked, schedule, shape_factor
from optcore.typing import Array, Count, Decay, Epsilon, Layout, Namespace, Positive, Scalar


@rule(MuonState, family="matrix", kind="leafwise", axes=True, ndim=2, lr=0.02, like={"optax": LIKE["optax"]})
def adaptive_muon(
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
    """Muon's direction times its inner product with the momentum, which is about the sum of singular values.

    The direction is in [g], so the learning rate needs another size than Muon's; the options are Muon's.
    Source: Bernstein & Newhouse 2024, prop. 5; ``adaptive`` of optax.contrib.muon.
    """
    look, m = looked(xp, g, s.m, t, beta, nesterov, momentum)
    d = orthogonalize(xp, look, schedule(a, b, c, iterations, polynomial), epsilon, floor, preconditioning, gram_floor)
    d = xp.sum(look * d) * d
    return shape_factor(g.shape, layout, scale, rms) * d, MuonState(m)
