"""Heavy-ball momentum, average form: the buffer is a mean of gradients."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Namespace, Scalar


class AverageState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]


@rule(AverageState, family="descent", lr=1e-2)
def averaged_momentum(
    xp: Namespace, p: Array, g: Array, s: AverageState, t: Scalar, *, beta: Decay = 0.9, debias: bool = False
) -> tuple[Array, AverageState]:
    """``m = beta m + (1 - beta) g``; the direction is m, divided by ``1 - beta^t`` with ``debias``.

    It is equal to the sum form at the rate ``lr (1 - beta)``. Source: the first moment of Kingma & Ba 2015;
    optax.ema, whose default is ``debias=True``.
    """
    m = ema(beta, s.m, g)
    return m / bias_correction(xp, beta, t) if debias else m, AverageState(m)
