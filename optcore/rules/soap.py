"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.matrix import eigenbasis, sorted_basis
from optcore.moments import ema, rms
from optcore.rule import Refresh, rule
from optcore.scalars import bias_correction, on, select
from optcore.typing import Array, Count, Decay, Epsilon, Namespace, NonNegative, Scalar, Unit


class SoapState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient in the eigenbasis, zero at the start; unit [g^2]
    left: Array  #: EMA of g g^T, 0-d if that side is not rotated; unit [g^2]
    right: Array  #: EMA of g^T g, 0-d if that side is not rotated; unit [g^2]
    rows: Array  #: eigenbasis of left, 0-d if that side is not rotated; unit [1]
    columns: Array  #: eigenbasis of right, 0-d if that side is not rotated; unit [1]


def _matrix(xp: Namespace, x: Array) -> Array:
    """Return a vector as a matrix of one column, and a matrix as it is."""
    return xp.reshape(x, (x.shape[0], 1)) if x.ndim == 1 else x


def _start(xp: Namespace, p: Array, *, max_dim: Count = 10000, precondition_1d: bool = False) -> SoapState:
    zero = xp.zeros_like(p)
    grams: list[Array] = [xp.sum(zero) for _ in range(4)]
    if p.ndim == 2 or (p.ndim == 1 and precondition_1d):
        x = _matrix(xp, zero)
        if x.shape[0] <= max_dim:
            grams[0], grams[2] = (x @ xp.matrix_transpose(x) for _ in range(2))
        if p.ndim == 2 and x.shape[1] <= max_dim:
            grams[1], grams[3] = (xp.matrix_transpose(x) @ x for _ in range(2))
    return SoapState(zero, xp.zeros_like(p), *grams)


def _first(xp: Namespace, p: Array, g: Array, s: SoapState, t: Scalar) -> SoapState:
    rows = eigenbasis(xp, s.left) if s.left.ndim else s.rows
    return s._replace(rows=rows, columns=eigenbasis(xp, s.right) if s.right.ndim else s.columns)


def _again(xp: Namespace, p: Array, g: Array, s: SoapState, t: Scalar) -> SoapState:
    """Update both bases by one orthogonal iteration, and put the second moment's axes into the new order."""
    if s.left.ndim:
        order, rows = sorted_basis(xp, s.left, s.rows)
        s = s._replace(v=xp.take(s.v, order, axis=0), rows=rows)
    if s.right.ndim:
        order, columns = sorted_basis(xp, s.right, s.columns)
        s = s._replace(v=xp.take(s.v, order, axis=1), columns=columns)
    return s


def _turned(xp: Namespace, x: Array, s: SoapState, *, back: bool = False) -> Array:
    """Rotate a leaf into the eigenbases of its sides, or ``back`` from them; a side without one is not rotated."""
    y = _matrix(xp, x) if s.rows.ndim else x
    if s.rows.ndim:
        y = (s.rows if back else xp.matrix_transpose(s.rows)) @ y
    if s.columns.ndim:
        y = y @ (xp.matrix_transpose(s.columns) if back else s.columns)
    return xp.reshape(y, x.shape) if x.ndim == 1 else y


@rule(
    SoapState,
    family="matrix",
    kind="leafwise",
    axes=True,
    init=_start,
    refresh=Refresh(_again, "interval", at=2, first=_first),
    owns="decay",
    title="SOAP",
)
def soap(
    xp: Namespace,
    p: Array,
    g: Array,
    s: SoapState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(p=1)] = 3e-3,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.0,
    beta1: Decay = 0.95,
    beta2: Decay = 0.95,
    shampoo_beta: Decay = 0.95,
    epsilon_hat: Epsilon = 1e-8,
    interval: Count = 10,
    correct_bias: bool = True,
    normalize: bool = False,
    epsilon_normalize: NonNegative = 1e-8,
) -> tuple[Array, SoapState]:
    """Adam on the gradient rotated by the eigenvectors of ``left`` and ``right``, rotated back.

    The first step only gathers statistics and does not decay either, so the rule owns the decay: ``p' = p - lr d``,
    then ``p' - lr weight_decay p'``. The basis is computed at the second step and updated every ``interval`` steps.
    Sides longer than ``max_dim`` are not rotated. Leaves that are no matrix take plain Adam steps, except vectors with
    ``precondition_1d``. ``normalize`` scales the direction to RMS 1. Source: Vyas et al. 2024, alg. 3; nikhilvyas/SOAP.
    """
    k = on(xp, t).maximum(t - 1, 1)
    bc1, bc2 = bias_correction(xp, beta1, k), bias_correction(xp, beta2, k)
    started, zero = t > 1, xp.zeros_like(g)
    factor = lr * (on(xp, bc2).sqrt(bc2) / bc1) if correct_bias else lr
    m, turned = ema(beta1, s.m, g), _turned(xp, g, s)
    v = ema(beta2, s.v, turned * turned)
    d = _turned(xp, _turned(xp, m, s) / (xp.sqrt(v) + epsilon_hat), s, back=True)
    if normalize:
        d = d / (rms(xp, d) + epsilon_normalize)
    x = _matrix(xp, g) if s.left.ndim else g
    if s.left.ndim:
        s = s._replace(left=ema(shampoo_beta, s.left, x @ xp.matrix_transpose(x)))
    if s.right.ndim:
        s = s._replace(right=ema(shampoo_beta, s.right, xp.matrix_transpose(x) @ x))
    step = factor * d
    step = step + (lr * weight_decay) * (p - step)
    s = s._replace(m=select(xp, started, m, s.m), v=select(xp, started, v, s.v))
    return select(xp, started, step, zero), s
