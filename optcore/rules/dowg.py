"""DoWG: as DoG, but the gradients in the denominator are weighted by the distance moved when they were seen."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt

from optcore.norms import global_norms
from optcore.rule import Law, rule
from optcore.typing import Array, Namespace, Scalar, Shared, Unit

Squared = Annotated[float, Gt(0), Unit(p=2)]


class DowgState(NamedTuple):
    start: Array  #: the parameter before the first step; unit [p]
    distance: Shared  #: largest squared distance from the start so far; unit [p^2]
    squares: Shared  #: sum of squared norms of the gradient, weighted by distance; unit [p^2 g^2]


def _start(xp: Namespace, p: Array, *, first_distance: Squared = 1e-4) -> DowgState:
    zero = xp.zeros_like(p)
    return DowgState(p, xp.sum(zero) + first_distance, xp.sum(zero))


@rule(
    DowgState,
    family="parameter-free",
    init=_start,
    lr=1.0,
    decay="coupled",
    title="DoWG",
    like={"optax": {}, "paper": {"epsilon": 0.0}},
)
def dowg(
    xp: Namespace,
    p: Array,
    g: Array,
    s: DowgState,
    t: Scalar,
    *,
    epsilon: Annotated[float, Ge(0), Unit(p=1, g=1)] = 1e-4,
) -> Law:
    """``r / (sqrt(V) + epsilon) g``: r is the largest squared distance from the start, V the sum of ``r |g|^2``.

    Both are over all leaves; r starts at ``first_distance``. Source: Khaled, Mishchenko & Jin 2023, alg. 1; numbers
    of optax.
    """
    moved, length = yield from global_norms(xp, p - s.start, g)
    distance = xp.maximum(s.distance, moved * moved)
    squares = s.squares + distance * (length * length)
    root = xp.sqrt(squares) + epsilon
    return distance / xp.where(root == 0, xp.ones_like(root), root) * g, DowgState(s.start, distance, squares)
