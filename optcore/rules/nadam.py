"""NAdam: Adam that looks ahead along its momentum."""

from __future__ import annotations

from optcore.moments import denominator, ema
from optcore.rule import rule
from optcore.rules.adam import AdamState, EpsilonRoot
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar


@rule(AdamState, lr=2e-3, like={"optax": {}}, title="Nadam")
def nadam(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
) -> tuple[Array, AdamState]:
    """Adam with ``beta1 m / (1 - beta1^(t+1)) + (1 - beta1) g / (1 - beta1^t)`` for its first moment.

    The momentum is constant, as in optax; torch and Keras let it grow with t. Source: Dozat 2016, alg. 2
    with mu_t = beta1.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    later, now = bias_correction(xp, beta1, t + 1), bias_correction(xp, beta1, t)
    ahead = ema(beta1, m / later, g / now)
    return ahead / denominator(xp, v, bias_correction(xp, beta2, t), epsilon, epsilon_root, 0.0), AdamState(m, v)
