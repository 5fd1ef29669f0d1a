"""RMSprop; ``chain(rmsprop, momentum)`` and ``chain(rmsprop, velocity)`` are RMSprop with momentum."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import Conventions, rule
from optcore.rules.adam import EpsilonRoot
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar

LIKE: Conventions = {
    "torch": {"beta": 0.99, "lr": 0.01, "decay": "coupled"},
    "optax": {"beta": 0.9, "epsilon": 0.0, "epsilon_root": 1e-8},
    "keras": {"beta": 0.9, "epsilon": 0.0, "epsilon_root": 1e-7, "decay": "before"},
}


class RmspropState(NamedTuple):
    v: Array  #: EMA of the squared gradient, zero at the start unless initial_scale is given; unit [g^2]


def _start(xp: Namespace, p: Array, *, initial_scale: EpsilonRoot = 0.0) -> RmspropState:
    return RmspropState(xp.zeros_like(p) + initial_scale)


@rule(RmspropState, family="adaptive", lr=1e-3, init=_start, like=LIKE, title="RMSprop")
def rmsprop(
    xp: Namespace,
    p: Array,
    g: Array,
    s: RmspropState,
    t: Scalar,
    *,
    beta: Decay = 0.9,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    debias: bool = False,
) -> tuple[Array, RmspropState]:
    """The gradient over the root of its mean square: ``g / (sqrt(v + epsilon_root) + epsilon)``.

    ``debias`` corrects v for its start at zero, as optax can. Source: Hinton 2012, lecture 6e (decay 0.9,
    learning rate 0.001).
    """
    v = ema(beta, s.v, g * g)
    square = v / bias_correction(xp, beta, t) if debias else v
    return g / (xp.sqrt(square + epsilon_root) + epsilon), RmspropState(v)
