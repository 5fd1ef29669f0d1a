"""One rule for matrices, another for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from optcore.compose import combinator
from optcore.rule import Law
from optcore.typing import Array, Namespace, Scalar


class MatricesState(NamedTuple):
    matrix: Any
    other: Any


def _start(matrix: Callable[..., Any], other: Callable[..., Any], xp: Namespace, p: Array) -> MatricesState:
    return MatricesState(matrix(xp, p), None) if p.ndim == 2 else MatricesState(None, other(xp, p))


@combinator(MatricesState, init=_start)
def matrices(
    matrix: Callable[..., Law],
    other: Callable[..., Law],
    xp: Namespace,
    p: Array,
    g: Array,
    s: MatricesState,
    t: Scalar,
) -> Law:
    """Give leaves of two axes to the first rule and all others to the second: ``matrices(muon, adam)``.

    Source: the hybrid of KellerJordan/Muon, by shape alone.
    """
    if p.ndim == 2:
        d, state = yield from matrix(xp, p, g, s.matrix, t)
        return d, MatricesState(state, None)
    d, state = yield from other(xp, p, g, s.other, t)
    return d, MatricesState(None, state)
