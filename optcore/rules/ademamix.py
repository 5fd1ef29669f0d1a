"""AdEMAMix: Adam with a second, slow mean of the gradient."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import denominator, ema
from optcore.rule import rule
from optcore.rules.adam import EpsilonRoot
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, NonNegative, Scalar


class AdemamixState(NamedTuple):
    m1: Array  #: fast EMA of the gradient, zero at the start; unit [g]
    m2: Array  #: slow EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]


@rule(AdemamixState, family="adaptive", lr=1e-3, like={"optax": {}, "paper": {}}, title="AdEMAMix")
def ademamix(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdemamixState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    beta3: Decay = 0.9999,
    alpha: NonNegative = 5.0,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
) -> tuple[Array, AdemamixState]:
    """Adam with ``m1 + alpha m2`` for its first moment, where m2 is a slow average without bias correction.

    The paper lets alpha and beta3 rise at the beginning, for which schedules can be given.
    Source: Pagliardini, Ablin & Grangier 2024, eq. AdEMAMix; defaults of optax.contrib.ademamix.
    """
    m1, m2, v = ema(beta1, s.m1, g), ema(beta3, s.m2, g), ema(beta2, s.v, g * g)
    root = denominator(xp, v, bias_correction(xp, beta2, t), epsilon, epsilon_root, 0.0)
    return (m1 / bias_correction(xp, beta1, t) + alpha * m2) / root, AdemamixState(m1, m2, v)
