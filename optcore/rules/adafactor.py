"""Adafactor: Adam's second moment, stored as the means of its rows and columns."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge

from optcore.moments import ema, rms
from optcore.rule import Conventions, rule
from optcore.scalars import on, power
from optcore.typing import Array, Count, Limit, Namespace, NonNegative, Positive, Scalar, Unit

Square = Annotated[float, Ge(0), Unit(g=2)]
LIKE: Conventions = {
    "paper": {},
    "keras": {"lr": 1e-3, "decay": "before"},
    "torch": {"epsilon1": 0.0, "mean_floor": 2.0**-23, "floor": 2.0**-46},
    "optax": {"lr": 1.0, "relative_step": False, "factored": "largest", "min_dim": 128},
}


class AdafactorState(NamedTuple):
    rows: Array  #: EMA of the row means of g^2, axes kept, 0-d for leaves that are not factored; unit [g^2]
    columns: Array  #: EMA of the column means of g^2, axes kept, 0-d for leaves that are not factored; unit [g^2]
    v: Array  #: EMA of g^2, 0-d for leaves that are factored; unit [g^2]


def _axes(shape: tuple[int, ...], factored: str, min_dim: int) -> tuple[int, int] | None:
    """Return the two axes over which the second moment is factored; None for a leaf that is not factored.

    The mean over the first one gives ``columns``, the mean over the second ``rows``.
    """
    if len(shape) < 2:
        return None
    order = sorted(range(len(shape)), key=lambda i: shape[i]) if factored == "largest" else range(len(shape))
    row, column = list(order)[-2:]
    return (row, column) if min(shape[row], shape[column]) >= min_dim else None


def start(
    xp: Namespace, p: Array, *, factored: Literal["last", "largest"] = "last", min_dim: Count = 1
) -> AdafactorState:
    zero = xp.zeros_like(p)
    axes = _axes(p.shape, factored, min_dim)
    if axes is None:
        return AdafactorState(xp.sum(zero), xp.sum(zero), zero)
    rows, columns = (xp.sum(zero, axis=axis, keepdims=True) for axis in (axes[1], axes[0]))
    return AdafactorState(rows, columns, xp.sum(zero))


def direction(
    xp: Namespace, g: Array, s: AdafactorState, t: Scalar, beta2_decay: Scalar, epsilon1: Scalar, threshold: Scalar,
    mean_floor: Scalar, floor: Scalar, factored: str, min_dim: int, offset: Scalar,
) -> tuple[Array, AdafactorState]:  # fmt: skip
    """Return ``g / sqrt(V)``, scaled down to an RMS of at most ``threshold``, and the new state.

    Adafactor, factored_rms and AdaLOMO have it in common.
    """
    since = on(xp, t, offset).maximum(t - offset, 1.0)
    beta2 = 1.0 - power(xp, since, -beta2_decay)
    square = g * g + epsilon1
    axes = _axes(g.shape, factored, min_dim)
    if axes is None:
        v = ema(beta2, s.v, square)
        new = s._replace(v=v)
    else:
        row, column = axes
        rows = ema(beta2, s.rows, xp.mean(square, axis=column, keepdims=True))
        columns = ema(beta2, s.columns, xp.mean(square, axis=row, keepdims=True))
        new = AdafactorState(rows, columns, s.v)
        v = rows / xp.maximum(xp.mean(rows, axis=row, keepdims=True), mean_floor) * columns
    d = g / xp.sqrt(xp.maximum(v, floor))
    return d / xp.maximum(rms(xp, d) / threshold, 1.0), new


@rule(AdafactorState, family="factored", kind="leafwise", axes=True, owns="lr", init=start, like=LIKE)
def adafactor(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdafactorState,
    t: Scalar,
    *,
    lr: NonNegative = 1e-2,
    beta2_decay: Positive = 0.8,
    epsilon1: Square = 1e-30,
    epsilon2: Annotated[float, Ge(0), Unit(p=1)] = 1e-3,
    threshold: Limit = 1.0,
    mean_floor: Square = 0.0,
    floor: Square = 0.0,
    relative_step: bool = True,
    factored: Literal["last", "largest"] = "last",
    min_dim: Count = 1,
    offset: NonNegative = 0.0,
) -> tuple[Array, AdafactorState]:
    """``g / sqrt(V)`` cut to RMS ``threshold``, times ``max(epsilon2, RMS(p))`` and the relative step.

    ``V = rows columns / mean(rows)`` over the two axes that ``factored`` names. A leaf with fewer axes, or with one of
    these shorter than ``min_dim``, has the mean square of each element instead. The relative step is
    ``min(lr, 1/sqrt(t))``, or lr itself without ``relative_step``. torch keeps V from zero by ``mean_floor`` and
    ``floor`` instead of ``epsilon1``. The average of V starts anew at step ``offset + 1``: for fine-tuning, ``offset``
    is the number of steps made before.
    Source: Shazeer & Stern 2018, alg. 4 to 6 and sec. 7.
    """
    d, new = direction(xp, g, s, t, beta2_decay, epsilon1, threshold, mean_floor, floor, factored, min_dim, offset)
    step = on(xp, lr, t).minimum(lr, power(xp, t, -0.5)) if relative_step else lr
    return step * (xp.maximum(rms(xp, p), epsilon2) * d), new
