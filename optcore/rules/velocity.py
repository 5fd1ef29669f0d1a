"""Heavy-ball momentum, velocity form: the learning rate goes into the buffer."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.rule import rule
from optcore.typing import Array, Decay, Namespace, Scalar, Unit

Rate = Annotated[float, Ge(0), Unit(g=-1, p=1)]


class VelocityState(NamedTuple):
    velocity: Array  #: the displacement that the last step added to p, zero at the start; unit [p]


@rule(VelocityState, family="descent", owns="lr")
def velocity(
    xp: Namespace, p: Array, g: Array, s: VelocityState, t: Scalar, *, lr: Rate = 0.01, beta: Decay = 0.9
) -> tuple[Array, VelocityState]:
    """``velocity = beta velocity - lr g``, which is added to p.

    A change of the learning rate acts only on gradients that are added from then on. Source: Sutskever et al. 2013,
    eq. 1 and 2; keras.optimizers.SGD.
    """
    new = beta * s.velocity - lr * g
    return -new, VelocityState(new)
