"""Simplified AdEMAMix: one sum of gradients in place of two means."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import denominator, ema
from optcore.rule import rule
from optcore.rules.adam import EpsilonRoot
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, NonNegative, Scalar


class SimplifiedAdemamixState(NamedTuple):
    m: Array  #: decaying sum of the gradient, zero at the start; unit [g]
    n: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]


@rule(SimplifiedAdemamixState, family="adaptive", lr=1e-4, like={"optax": {}}, title="SimplifiedAdEMAMix")
def simplified_ademamix(
    xp: Namespace,
    p: Array,
    g: Array,
    s: SimplifiedAdemamixState,
    t: Scalar,
    *,
    beta1: Decay = 0.99,
    beta2: Decay = 0.95,
    alpha: NonNegative = 0.0,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
) -> tuple[Array, SimplifiedAdemamixState]:
    """``(m + alpha g) / sqrt(n)``, where m is a decaying sum of gradients.

    The sum is up to ``1 / (1 - beta1)`` times as large as a gradient, for which the learning rate must allow.
    Source: Morwani et al. 2025, alg. 1; defaults of optax.contrib.simplified_ademamix, rate of pytorch_optimizer.
    """
    m, n = beta1 * s.m + g, ema(beta2, s.n, g * g)
    root = denominator(xp, n, bias_correction(xp, beta2, t), epsilon, epsilon_root, 0.0)
    return (m + alpha * g) / root, SimplifiedAdemamixState(m, n)
