"""diffGrad: Adam with smaller steps where the gradient changes little from step to step."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Gt

from optcore.moments import denominator, ema
from optcore.rule import rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar, Unit


class DiffgradState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]
    last: Array  #: gradient of the previous step, zero at the start; unit [g]


@rule(DiffgradState, family="adaptive", lr=1e-3, title="DiffGrad")
def diffgrad(
    xp: Namespace,
    p: Array,
    g: Array,
    s: DiffgradState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon_hat: Epsilon = 1e-8,
    scale: Annotated[float, Gt(0), Unit(g=1)] = 1.0,
) -> tuple[Array, DiffgradState]:
    """Adam's direction times the sigmoid of ``|g - last| / scale``, which lies in [1/2, 1).

    The paper's scale is 1, in the unit of the gradient. Source: Dubey et al. 2020, eq. 4 to 8; shivram1987/diffGrad.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    friction = 1.0 / (1.0 + xp.exp(-xp.abs(g - s.last) / scale))
    return friction * m / bc1 / denominator(xp, v, bc2, 0.0, 0.0, epsilon_hat), DiffgradState(m, v, g)
