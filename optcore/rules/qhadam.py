"""QHAdam: Adam with its first moment mixed with the gradient, and its second with the gradient's square."""

from __future__ import annotations

from optcore.moments import ema
from optcore.rule import rule
from optcore.rules.adam import AdamState
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar, UnitInterval


@rule(AdamState, family="adaptive", lr=1e-3, decay="coupled", title="QHAdam")
def qhadam(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamState,
    t: Scalar,
    *,
    beta1: Decay = 0.995,
    beta2: Decay = 0.999,
    nu1: UnitInterval = 0.7,
    nu2: UnitInterval = 1.0,
    epsilon: Epsilon = 1e-8,
) -> tuple[Array, AdamState]:
    """``(1 - nu1) g + nu1 m`` over the root of ``(1 - nu2) g^2 + nu2 v``, where m and v are Adam's corrected moments.

    ``nu1=nu2=1`` is Adam, ``nu1=beta1`` an NAdam. Source: Ma & Yarats 2019, eq. 6, with their rule of thumb for
    the defaults.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    return ema(nu1, m / bc1, g) / (xp.sqrt(ema(nu2, v / bc2, g * g)) + epsilon), AdamState(m, v)
