"""GaLore: Adam in a subspace of the gradient's singular vectors."""

from __future__ import annotations

from typing import Literal, NamedTuple

from optcore.matrix import eigenbasis
from optcore.moments import denominator, ema
from optcore.rule import Conventions, Refresh, rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Count, Decay, Epsilon, Namespace, Positive, Scalar

Side = Literal["smaller", "larger"]
LIKE: Conventions = {
    "paper": {},
    "optax": {"side": "larger", "scale": 1.0, "epsilon": 1e-8, "epsilon_hat": 0.0, "decay": "with"},
}


class GaloreState(NamedTuple):
    m: Array  #: EMA of the projected gradient, zero at the start; unit [g]
    v: Array  #: EMA of the projected gradient's square, zero at the start; unit [g^2]
    basis: Array  #: singular vectors as columns, 0-d for leaves that are no matrix; unit [1]


def _on_the_right(shape: tuple[int, ...], side: Side) -> bool:
    """Tell whether the columns are projected: for side "smaller" they are if the matrix is at least as tall as wide."""
    return (shape[0] >= shape[1]) is (side == "smaller")


def _project(xp: Namespace, p: Array, g: Array, s: GaloreState, t: Scalar, *, side: Side, rank: Count) -> GaloreState:
    if p.ndim != 2:
        return s
    x = xp.matrix_transpose(g) if _on_the_right(p.shape, side) else g
    return s._replace(basis=eigenbasis(xp, x @ xp.matrix_transpose(x))[:, : min(rank, *p.shape)])


def _start(xp: Namespace, p: Array, *, side: Side = "smaller", rank: Count = 128) -> GaloreState:
    zero = xp.zeros_like(p)
    if p.ndim != 2:
        return GaloreState(zero, xp.zeros_like(p), xp.sum(zero))
    rank = min(rank, *p.shape)
    if _on_the_right(p.shape, side):
        basis, low = (xp.matrix_transpose(zero) @ zero)[:, :rank], zero[:, :rank]
    else:
        basis, low = (zero @ xp.matrix_transpose(zero))[:, :rank], zero[:rank, :]
    return GaloreState(low + 0.0, low + 0.0, basis + 0.0)


@rule(
    GaloreState,
    family="matrix",
    kind="leafwise",
    axes=True,
    init=_start,
    refresh=Refresh(_project, "interval"),
    lr=1e-3,
    decay="after",
    like=LIKE,
)
def galore(
    xp: Namespace,
    p: Array,
    g: Array,
    s: GaloreState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 0.0,
    epsilon_hat: Epsilon = 1e-6,
    rank: Count = 128,
    interval: Count = 200,
    scale: Positive = 0.25,
    side: Side = "smaller",
) -> tuple[Array, GaloreState]:
    """Adam on the gradient projected to its ``rank`` leading singular vectors, projected back.

    ``side`` says which side of a matrix is projected; for a square matrix "smaller" means the columns. The singular
    vectors are computed at steps 1, 1 + interval, ...; the moments are not rotated to new ones. Leaves that are no
    matrix take plain Adam steps.
    Source: Zhao et al. 2024, alg. 2; jiaweizzhao/GaLore; optax projects the larger side.
    """
    matrix = p.ndim == 2
    right = matrix and _on_the_right(p.shape, side)
    back = xp.matrix_transpose(s.basis) if matrix else s.basis
    low = (g @ s.basis if right else back @ g) if matrix else g
    m, v = ema(beta1, s.m, low), ema(beta2, s.v, low * low)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    d = m / bc1 / denominator(xp, v, bc2, epsilon, 0.0, epsilon_hat)
    if matrix:
        d = scale * (d @ back if right else s.basis @ d)
    return d, GaloreState(m, v, s.basis)
