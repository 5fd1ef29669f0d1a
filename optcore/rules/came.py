"""CAME: Adafactor with a second factored average, which shortens steps that differ much from their own mean."""

from __future__ import annotations

from typing import Any, NamedTuple

from optcore.moments import ema, rms
from optcore.rule import rule
from optcore.rules.adafactor import Square
from optcore.typing import Array, Decay, Limit, Namespace, NonNegative, Scalar


class CameState(NamedTuple):
    m: Array  #: EMA of the clipped direction, zero at the start; unit [1]
    rows: Array  #: EMA of the row means of g^2, axes kept, 0-d for leaves without rows; unit [g^2]
    columns: Array  #: EMA of the column means of g^2, axes kept, 0-d for leaves without rows; unit [g^2]
    v: Array  #: EMA of g^2, 0-d for leaves with rows; unit [g^2]
    row_trust: Array  #: EMA of the row means of (d - m)^2, axes kept, 0-d for leaves without rows; unit [1]
    column_trust: Array  #: EMA of the column means of (d - m)^2, axes kept, 0-d for leaves without rows; unit [1]


def _start(xp: Namespace, p: Array) -> CameState:
    zero = xp.zeros_like(p)
    if p.ndim < 2:
        return CameState(zero, xp.sum(zero), xp.sum(zero), xp.zeros_like(p), xp.sum(zero), xp.sum(zero))
    (rows, columns), (row_trust, column_trust) = _means(xp, zero), _means(xp, zero)
    return CameState(zero, rows, columns, xp.sum(zero), row_trust, column_trust)


def _means(xp: Namespace, x: Array) -> tuple[Array, Array]:
    return xp.mean(x, axis=-1, keepdims=True), xp.mean(x, axis=-2, keepdims=True)


def _whole(xp: Namespace, rows: Array, columns: Array) -> Any:
    """Return the root of the matrix of rank one that has these row and column means."""
    return xp.sqrt(rows / xp.mean(rows, axis=-2, keepdims=True)) * xp.sqrt(columns)


@rule(CameState, family="factored", kind="leafwise", axes=True, init=_start, lr=2e-4, title="CAME")
def came(
    xp: Namespace,
    p: Array,
    g: Array,
    s: CameState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    beta3: Decay = 0.9999,
    epsilon1: Square = 1e-30,
    epsilon2: NonNegative = 1e-16,
    threshold: Limit = 1.0,
) -> tuple[Array, CameState]:
    """The average of Adafactor's clipped direction d, over the root of the mean squared distance of d from it.

    Both second moments are factored over the last two axes. Leaves with fewer axes keep v and are moved by the average
    alone.
    Source: Luo et al. 2023, alg. 2; yangluo7/CAME.
    """
    square = g * g + epsilon1
    new = s
    if g.ndim < 2:
        new = new._replace(v=ema(beta2, s.v, square))
        d = g / xp.sqrt(new.v)
    else:
        rows, columns = _means(xp, square)
        new = new._replace(rows=ema(beta2, s.rows, rows), columns=ema(beta2, s.columns, columns))
        d = g / _whole(xp, new.rows, new.columns)
    d = d / xp.maximum(rms(xp, d) / threshold, 1.0)
    m = ema(beta1, s.m, d)
    new = new._replace(m=m)
    if g.ndim < 2:
        return m, new
    rows, columns = _means(xp, (d - m) * (d - m) + epsilon2)
    new = new._replace(row_trust=ema(beta3, s.row_trust, rows), column_trust=ema(beta3, s.column_trust, columns))
    return m / _whole(xp, new.row_trust, new.column_trust), new
