"""COCOB: coin betting, which needs no learning rate."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Gt

from optcore.rule import rule
from optcore.typing import Array, Namespace, NonNegative, Positive, Scalar, Unit

Stake = Annotated[float, Gt(0), Unit(g=1)]


class CocobState(NamedTuple):
    start: Array  #: the parameter before the first step; unit [p]
    sum: Array  #: sum of negative gradients, zero at the start; unit [g]
    largest: Array  #: largest gradient so far, epsilon at the start; unit [g]
    total: Array  #: sum of absolute gradients, zero at the start; unit [g]
    reward: Array  #: the gain of the bets so far, zero at the start; unit [p g]


def _start(xp: Namespace, p: Array, *, epsilon: Stake = 1e-8) -> CocobState:
    zero, scale = xp.zeros_like(p), xp.zeros_like(p) + epsilon
    return CocobState(p, zero, scale, xp.zeros_like(p), xp.zeros_like(p))


@rule(
    CocobState,
    family="parameter-free",
    owns="lr",
    decay="coupled",
    init=_start,
    title="COCOB",
    like={"optax": {}, "paper": {}},
)
def cocob(
    xp: Namespace,
    p: Array,
    g: Array,
    s: CocobState,
    t: Scalar,
    *,
    lr: NonNegative = 1.0,
    alpha: Positive = 100.0,
    wealth: Annotated[float, Gt(0), Unit(p=1)] = 1.0,
) -> tuple[Array, CocobState]:
    """``p' = start + sum / (largest max(total + largest, alpha largest)) (wealth largest + reward)``.

    Each coordinate bets a share of its wealth on the sign of the next gradient. ``alpha`` keeps the first bets small;
    ``wealth`` is the starting wealth for each unit of the largest gradient, 1 in the paper. The learning rate
    multiplies the gradient, as in optax. Source: Orabona & Tommasi 2017, alg. 2; epsilon of optax.
    """
    g = lr * g
    largest = xp.maximum(s.largest, xp.abs(g))
    total = s.total + xp.abs(g)
    reward = xp.maximum(s.reward - g * (p - s.start), xp.zeros_like(p))
    new = s.sum - g
    share = new / xp.maximum(total + largest, alpha * largest)  # one division at a time: the product could overflow
    bet = share * (wealth + reward / largest)
    return p - s.start - bet, CocobState(s.start, new, largest, total, reward)
