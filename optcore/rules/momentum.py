"""Heavy-ball momentum, sum form: the learning rate stays outside the buffer."""

from __future__ import annotations

from typing import NamedTuple

from optcore.rule import rule
from optcore.scalars import select
from optcore.typing import Array, Decay, Namespace, Scalar, UnitInterval


class MomentumState(NamedTuple):
    m: Array  #: decaying sum of gradients, zero at the start; unit [g]


@rule(MomentumState, family="descent", lr=1e-3, decay="coupled")
def momentum(
    xp: Namespace, p: Array, g: Array, s: MomentumState, t: Scalar, *, beta: Decay = 0.9, dampening: UnitInterval = 0.0
) -> tuple[Array, MomentumState]:
    """``m = beta m + (1 - dampening) g``, where the first step has no dampening; the direction is m.

    A change of the learning rate acts on the whole buffer at once. While the rate is constant, this form is equal to
    the velocity form. Source: Polyak 1964; torch.optim.SGD, optax.trace.
    """
    m = beta * s.m + select(xp, t > 1, 1.0 - dampening, 1.0) * g
    return m, MomentumState(m)
