"""One rule for matrices, another for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from optcore.compose import combinator
from optcore.rule import Law
from optcore.typing import Array, Namespace, Scalar


class MatricesState(NamedTuple):
    matrix: Any
    other: Any


Use = Literal["shape", "other"]


def _start(
    matrix: Callable[..., Any], other: Callable[..., Any], xp: Namespace, p: Array, *, use: Use = "shape"
) -> MatricesState:
    return MatricesState(matrix(xp, p), None) if _is_matrix(p, use) else MatricesState(None, other(xp, p))


def _is_matrix(p: Array, use: Use) -> bool:
    return use == "shape" and p.ndim == 2


@combinator(MatricesState, init=_start)
def matrices(
    matrix: Callable[..., Law],
    other: Callable[..., Law],
    xp: Namespace,
    p: Array,
    g: Array,
    s: MatricesState,
    t: Scalar,
    *,
    use: Use = "shape",
) -> Law:
    """Give leaves of two axes to the first rule and all others to the second: ``matrices(muon, adam)``.

    ``use="other"`` gives a matrix to the second rule too, as for an embedding.
    Source: the hybrid of KellerJordan/Muon, by shape alone.
    """
    if _is_matrix(p, use):
        d, state = yield from matrix(xp, p, g, s.matrix, t)
        return d, MatricesState(state, None)
    d, state = yield from other(xp, p, g, s.other, t)
    return d, MatricesState(None, state)
