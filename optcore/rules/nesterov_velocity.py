"""Nesterov's accelerated gradient, velocity form."""

from __future__ import annotations

from optcore.rule import rule
from optcore.rules.velocity import Rate, VelocityState
from optcore.typing import Array, Decay, Namespace, Scalar


@rule(VelocityState, family="descent", owns="lr")
def nesterov_velocity(
    xp: Namespace, p: Array, g: Array, s: VelocityState, t: Scalar, *, lr: Rate = 0.01, beta: Decay = 0.9
) -> tuple[Array, VelocityState]:
    """``velocity = beta velocity - lr g``; then ``beta velocity - lr g`` with the new velocity is added to p.

    Source: Sutskever et al. 2013, eq. 3 and 4 in the variables of Bengio et al. 2013;
    keras.optimizers.SGD(nesterov=True).
    """
    new = beta * s.velocity - lr * g
    return lr * g - beta * new, VelocityState(new)
