"""QHM, quasi-hyperbolic momentum: the gradient mixed with its moving average."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import rule
from optcore.typing import Array, Decay, Namespace, Scalar, UnitInterval


class QhmState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]


@rule(QhmState, family="descent", lr=1.0, decay="coupled", title="QHM")
def qhm(
    xp: Namespace, p: Array, g: Array, s: QhmState, t: Scalar, *, beta: Decay = 0.999, nu: UnitInterval = 0.7
) -> tuple[Array, QhmState]:
    """``(1 - nu) g + nu m``, where m is the moving average of the gradient.

    ``nu=1`` is the averaged momentum, ``nu=beta`` Nesterov's. Source: Ma & Yarats 2019, eq. 3 and 4, with their
    rule of thumb for the defaults.
    """
    m = ema(beta, s.m, g)
    return ema(nu, m, g), QhmState(m)
