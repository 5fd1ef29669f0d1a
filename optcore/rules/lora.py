"""LoRA as an optimizer: two rules train low-rank factors, and the matrix moves by the change of their product."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt

from optcore.compose import combinator
from optcore.rule import Law
from optcore.typing import Array, Count, Drawn, Namespace, Positive, Scalar, Unit


class LoraState(NamedTuple):
    a: Array  #: left factor of shape (rows, rank), zero at the start; unit [p]
    b: Drawn  #: right factor of shape (rank, columns), normal numbers at the start; unit [p]
    left: Any
    right: Any


def _start(
    left: Callable[..., Any],
    right: Callable[..., Any],
    xp: Namespace,
    p: Array,
    *,
    rank: Count = 4,
    spread: Annotated[float, Gt(0), Unit(p=1)] = 1.0,
) -> LoraState:
    rank = min(rank, *p.shape)
    a, b = xp.zeros_like(p)[:, :rank], xp.ones_like(p)[:rank, :] * (spread / sqrt(rank))
    return LoraState(a, b, left(xp, a), right(xp, b))


@combinator(LoraState, kind="leafwise", axes=True, ndim=2, init=_start)
def lora(
    left: Callable[..., Law],
    right: Callable[..., Law],
    xp: Namespace,
    p: Array,
    g: Array,
    s: LoraState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(p=1, d=-1)] = 1e-3,
    ratio: Positive = 1.0,
    scale: Annotated[float, Gt(0), Unit(p=-1)] = 1.0,
) -> Law:
    """The displacement of ``p = base + scale a b`` when its factors take steps ``lr`` and ``lr ratio`` of two rules.

    The factors' gradients are ``scale g b^T`` and ``scale a^T g``; base is never computed. With gradient descent the
    step is ``lr scale^2 (g b^T b + a a^T g) - lr^2 scale^3 g b^T a^T g`` at ratio 1. The left factor a starts at zero,
    the right factor b with normal numbers of deviation ``spread / sqrt(rank)``. Their ``E[b^T b] = spread^2 I`` makes
    the first step of gradient descent ``lr scale^2 spread^2 g`` on average. Hu et al. call a B and b A, and leave the
    deviation open. For another start, put other factors into the state.
    Source: Hu et al. 2022, eq. 3; Su 2023 (kexue.fm 9590); a rate for each factor: Hayou et al. 2024 (LoRA+).
    """
    da, one = yield from left(xp, s.a, scale * (g @ xp.matrix_transpose(s.b)), s.left, t)
    db, two = yield from right(xp, s.b, scale * (xp.matrix_transpose(s.a) @ g), s.right, t)
    da, db = lr * da, (lr * ratio) * db
    b = s.b - db
    return scale * (da @ b + s.a @ db), LoraState(s.a - da, b, one, two)
