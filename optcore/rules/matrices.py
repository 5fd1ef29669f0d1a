"""A combinator that gives matrices to one rule and all other leaves to another."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Literal, NamedTuple

from optcore.compose import Inner, combinator
from optcore.rule import Law
from optcore.typing import Array, Namespace, Scalar


class MatricesState(NamedTuple):
    matrix: Any
    other: Any


Use = Literal["shape", "other", "first", "last"]


def _start(
    matrix: Callable[..., Any], other: Callable[..., Any], xp: Namespace, p: Array, *, use: Use = "shape"
) -> MatricesState:
    shape = _matrix_of(p, use)
    if shape is None:
        return MatricesState(None, other(xp, p))
    return MatricesState(matrix(xp, p if p.ndim == 2 else xp.reshape(p, shape)), None)


def _matrix_of(p: Array, use: Use) -> tuple[int, int] | None:
    """Return the shape of the matrix as which a leaf goes to the first rule; None if it goes to the second."""
    n = p.shape
    if use == "other" or p.ndim < 2 or (p.ndim > 2 and use == "shape"):
        return None
    return (prod(n[:-1]), n[-1]) if use == "last" else (n[0], prod(n[1:]))


@combinator(MatricesState, init=_start, steps=True)
def matrices(
    matrix: Inner,
    other: Inner,
    xp: Namespace,
    p: Array,
    g: Array,
    s: MatricesState,
    t: Scalar,
    *,
    use: Use = "shape",
) -> Law:
    """Give leaves of two axes to the first rule and all others to the second: ``matrices(muon, adam)``.

    ``use="first"`` and ``use="last"`` give leaves of more axes to the first rule too, reshaped to a matrix of their
    first axis and the rest, or of the rest and their last axis. That suits the kernels of convolutions, whose outputs
    come first in torch and last in JAX and Keras. ``use="other"`` gives matrices to the second rule as well, such as
    an embedding. Each rule makes its whole step, with a learning rate and decay of its own if it has them.
    Source: the hybrid of KellerJordan/Muon, by shape alone.
    """
    shape = _matrix_of(p, use)
    if shape is None:
        (_, step), state = yield from other.step(xp, p, g, s.other, t)
        return -step, MatricesState(None, state)
    if p.ndim == 2:
        (_, step), state = yield from matrix.step(xp, p, g, s.matrix, t)
        return -step, MatricesState(state, None)
    (_, step), state = yield from matrix.step(xp, xp.reshape(p, shape), xp.reshape(g, shape), s.matrix, t)
    return -xp.reshape(step, p.shape), MatricesState(state, None)
