"""AdaBelief: Adam with the gradient's distance from its mean in the denominator."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import Conventions, rule
from optcore.rules.adam import EpsilonRoot
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar

LIKE: Conventions = {"optax": {}, "paper": {"epsilon": 1e-8, "epsilon_root": 1e-8}}


class AdabeliefState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared distance of the gradient from m, zero at the start; unit [g^2]


@rule(AdabeliefState, family="adaptive", lr=1e-3, like=LIKE, title="AdaBelief")
def adabelief(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdabeliefState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-16,
    epsilon_root: EpsilonRoot = 1e-16,
    nesterov: bool = False,
) -> tuple[Array, AdabeliefState]:
    """Adam with ``v = beta2 v + (1 - beta2) (g - m)^2 + epsilon_root``: large steps where the gradient is as expected.

    ``epsilon_root`` is added to the state at every step. ``nesterov`` takes the first moment one step ahead, as NAdam
    with constant momentum does.
    Source: Zhuang et al. 2020, alg. 2, where both epsilons are one; their value is that of the authors' code.
    """
    m = ema(beta1, s.m, g)
    v = ema(beta2, s.v, (g - m) * (g - m)) + epsilon_root
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    first = ema(beta1, m / bias_correction(xp, beta1, t + 1), g / bc1) if nesterov else m / bc1
    return first / (xp.sqrt(v / bc2) + epsilon), AdabeliefState(m, v)
