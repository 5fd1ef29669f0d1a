"""Optimistic gradient descent, for games: the step adds the change of the gradient since the previous step."""

from __future__ import annotations

from typing import NamedTuple

from optcore.rule import rule
from optcore.scalars import select
from optcore.typing import Array, Namespace, NonNegative, Scalar


class OptimisticState(NamedTuple):
    last: Array  #: the gradient of the previous step; unit [g]


@rule(OptimisticState, family="descent", lr=0.01)
def optimistic_gradient_descent(
    xp: Namespace,
    p: Array,
    g: Array,
    s: OptimisticState,
    t: Scalar,
    *,
    alpha: NonNegative = 1.0,
    beta: NonNegative = 1.0,
) -> tuple[Array, OptimisticState]:
    """``(alpha + beta) g - beta last``: alpha times the gradient plus beta times its change, which is 0 at t = 1.

    Source: Mokhtari et al. 2020, eq. 13 (generalised OGDA); the learning rate depends on the game, 0.01 is a modest
    start.
    """
    last = select(xp, t > 1, s.last, g)
    return (alpha + beta) * g - beta * last, OptimisticState(g + 0.0)
