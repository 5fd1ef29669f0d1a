"""DoG: the learning rate is the distance moved so far over the root of the sum of squared gradient norms."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.norms import global_norms
from optcore.rule import Law, rule
from optcore.rules.adam import EpsilonRoot
from optcore.typing import Array, Namespace, NonNegative, Scalar, Shared, Unit


class DogState(NamedTuple):
    start: Array  #: the parameter before the first step; unit [p]
    distance: Shared  #: largest distance from the start so far; unit [p]
    squares: Shared  #: sum of squared norms of the gradient; unit [g^2]


def _start(xp: Namespace, p: Array) -> DogState:
    zero = xp.zeros_like(p)
    return DogState(p, xp.sum(zero), xp.sum(zero))


@rule(
    DogState,
    family="parameter-free",
    init=_start,
    lr=1.0,
    decay="coupled",
    title="DoG",
    like={"optax": {}, "paper": {}},
)
def dog(
    xp: Namespace,
    p: Array,
    g: Array,
    s: DogState,
    t: Scalar,
    *,
    first_distance: Annotated[float, Ge(0), Unit(p=1)] = 1e-6,
    first_share: NonNegative = 1e-6,
    first_rate: Annotated[float, Ge(0), Unit(p=1, g=-1)] | None = None,
    epsilon: EpsilonRoot = 1e-8,
) -> Law:
    """``r / sqrt(G + epsilon) g``: r is the largest distance from the start, G the sum of squared norms, of all leaves.

    Before the first step r is ``first_distance + first_share |p|``. If ``first_rate`` is given, it is the rate of the
    first step instead. Source: Ivgi, Hinder & Carmon 2023, alg. 1 and sec. 4.1; epsilon of optax.
    """
    moved, size, length = yield from global_norms(xp, p - s.start, p, g)
    begun, zero = s.squares > 0, xp.zeros_like(size)
    at_least = zero if first_rate is not None else xp.where(begun, zero, first_distance + first_share * size)
    distance = xp.maximum(xp.maximum(s.distance, moved), at_least)
    squares = s.squares + length * length
    root = xp.sqrt(squares + epsilon)
    rate = distance / xp.where(root == 0, xp.ones_like(root), root)
    if first_rate is not None:
        rate = xp.where(begun, rate, zero + first_rate)
    return rate * g, DogState(s.start, distance, squares)
