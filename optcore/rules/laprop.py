"""LaProp: Adam that divides each gradient by the root of the second moment before it averages, not after."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import denominator, ema
from optcore.rule import rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar


class LapropState(NamedTuple):
    m: Array  #: EMA of the scaled gradient, zero at the start; unit [1]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]


@rule(LapropState, family="adaptive", lr=4e-4, title="LaProp")
def laprop(
    xp: Namespace,
    p: Array,
    g: Array,
    s: LapropState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-15,
    epsilon_hat: Epsilon = 0.0,
) -> tuple[Array, LapropState]:
    """The average of ``g / sqrt(v)``: each gradient is divided by the second moment at its own step.

    The authors' code has the learning rate inside the average, which is the same while the rate is constant;
    pytorch_optimizer has ``epsilon_hat``.
    Source: Ziyin, Wang & Ueda 2020, alg. 1; Z-T-WANG/LaProp-Optimizer.
    """
    v = ema(beta2, s.v, g * g)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    m = ema(beta1, s.m, g / denominator(xp, v, bc2, epsilon, 0.0, epsilon_hat))
    return m / bc1, LapropState(m, v)
