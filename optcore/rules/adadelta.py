"""Adadelta."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import Conventions, rule
from optcore.rules.adam import EpsilonRoot
from optcore.typing import Array, Decay, Namespace, Scalar

LIKE: Conventions = {
    "torch": {"decay": "coupled"},
    "optax": {"decay": "coupled"},
    "keras": {"beta": 0.95, "epsilon_root": 1e-7, "lr": 1e-3, "decay": "before"},
}


class AdadeltaState(NamedTuple):
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]
    x: Array  #: EMA of the squared direction, zero at the start; unit [g^2]


@rule(AdadeltaState, family="adaptive", lr=1.0, like=LIKE)
def adadelta(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdadeltaState,
    t: Scalar,
    *,
    beta: Decay = 0.9,
    epsilon_root: EpsilonRoot = 1e-6,
) -> tuple[Array, AdadeltaState]:
    """``sqrt(x + epsilon_root) / sqrt(v + epsilon_root) g``, where x is the mean square of earlier directions.

    The same epsilon is added to both accumulators, so d is in [g]; the learning rate, 1 in the paper, turns it into
    the unit of p. Source: Zeiler 2012, alg. 1; default decay and epsilon of torch.optim.Adadelta.
    """
    v = ema(beta, s.v, g * g)
    d = xp.sqrt(s.x + epsilon_root) / xp.sqrt(v + epsilon_root) * g
    return d, AdadeltaState(v, ema(beta, s.x, d * d))
