"""PID: the gradient, its integral and its derivative."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import rule
from optcore.scalars import select
from optcore.typing import Array, Decay, Namespace, NonNegative, Scalar, UnitInterval


class PidState(NamedTuple):
    last: Array  #: gradient of the previous step, zero at the start; unit [g]
    i: Array  #: decaying sum of the gradient, zero at the start; unit [g]
    d: Array  #: EMA of the gradient's change, zero at the start; unit [g]


@rule(PidState, family="descent", lr=1e-3, decay="coupled", title="PID")
def pid(
    xp: Namespace,
    p: Array,
    g: Array,
    s: PidState,
    t: Scalar,
    *,
    beta: Decay = 0.9,
    dampening: UnitInterval = 0.0,
    integral: NonNegative = 5.0,
    derivative: NonNegative = 10.0,
) -> tuple[Array, PidState]:
    """``g + integral i + derivative d``, with i the momentum and d the average change of the gradient.

    At the first step the change is 0. Source: An et al. 2018, eq. 12; gains of tensorboy/PIDOptimizer.
    """
    i = beta * s.i + (1.0 - dampening) * g
    d = ema(beta, s.d, select(xp, t > 1, 1.0, 0.0) * (g - s.last))
    return g + integral * i + derivative * d, PidState(g, i, d)
