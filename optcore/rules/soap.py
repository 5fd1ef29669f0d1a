"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.matrix import eigenbasis, sorted_basis
from optcore.moments import ema
from optcore.rule import Refresh, rule
from optcore.scalars import bias_correction, on, select
from optcore.typing import Array, Count, Decay, Epsilon, Namespace, Scalar, Unit


class SoapState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient in the eigenbasis, zero at the start; unit [g^2]
    left: Array  #: EMA of g g^T, 0-d for leaves that are no matrix; unit [g^2]
    right: Array  #: EMA of g^T g, 0-d for leaves that are no matrix; unit [g^2]
    rows: Array  #: eigenbasis of left, 0-d for leaves that are no matrix; unit [1]
    columns: Array  #: eigenbasis of right, 0-d for leaves that are no matrix; unit [1]


def _start(xp: Namespace, p: Array) -> SoapState:
    zero = xp.zeros_like(p)
    if p.ndim != 2:
        return SoapState(zero, xp.zeros_like(p), *(xp.sum(zero) for _ in range(4)))
    square = [zero @ xp.matrix_transpose(zero), xp.matrix_transpose(zero) @ zero]
    return SoapState(zero, xp.zeros_like(p), *square, *(x + 0.0 for x in square))


def _first(xp: Namespace, p: Array, g: Array, s: SoapState, t: Scalar) -> SoapState:
    if p.ndim != 2:
        return s
    return s._replace(rows=eigenbasis(xp, s.left), columns=eigenbasis(xp, s.right))


def _again(xp: Namespace, p: Array, g: Array, s: SoapState, t: Scalar) -> SoapState:
    """One step of orthogonal iteration, with the second moment's axes put in the new order."""
    if p.ndim != 2:
        return s
    by_row, rows = sorted_basis(xp, s.left, s.rows)
    by_column, columns = sorted_basis(xp, s.right, s.columns)
    v = xp.take(xp.take(s.v, by_row, axis=0), by_column, axis=1)
    return s._replace(v=v, rows=rows, columns=columns)


@rule(
    SoapState,
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
) -> tuple[Array, SoapState]:
    """Adam on the gradient rotated by the eigenvectors of ``left`` and ``right``, rotated back.

    The first step only gathers, without a decay too, so the rule owns it: ``p' = p - lr d``, then
    ``p' - lr weight_decay p'``. The basis is found at the second step and turned every ``interval`` steps.
    Leaves that are no matrix take plain Adam steps. Source: Vyas et al. 2024, alg. 3; nikhilvyas/SOAP.
    """
    k = on(xp, t).maximum(t - 1, 1)
    bc1, bc2 = bias_correction(xp, beta1, k), bias_correction(xp, beta2, k)
    started, zero = t > 1, xp.zeros_like(g)
    rate = lr * (on(xp, bc2).sqrt(bc2) / bc1)
    m = ema(beta1, s.m, g)
    if p.ndim == 2:
        turn, back = xp.matrix_transpose(s.rows), xp.matrix_transpose(s.columns)
        turned = turn @ g @ s.columns
        v = ema(beta2, s.v, turned * turned)
        d = s.rows @ ((turn @ m @ s.columns) / (xp.sqrt(v) + epsilon_hat)) @ back
        left = ema(shampoo_beta, s.left, g @ xp.matrix_transpose(g))
        s = s._replace(left=left, right=ema(shampoo_beta, s.right, xp.matrix_transpose(g) @ g))
    else:
        v = ema(beta2, s.v, g * g)
        d = m / (xp.sqrt(v) + epsilon_hat)
    step = rate * d
    step = step + (lr * weight_decay) * (p - step)
    s = s._replace(m=select(xp, started, m, s.m), v=select(xp, started, v, s.v))
    return select(xp, started, step, zero), s
