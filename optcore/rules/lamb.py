"""LAMB: Adam with a learning rate scaled by each leaf's trust ratio."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.moments import denominator, ema, trust_ratio
from optcore.rule import rule
from optcore.rules.adam import AdamState, EpsilonRoot
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar, Unit


@rule(AdamState, family="layer-wise", kind="leafwise", owns="decay", lr=1e-3, like={"optax": {}, "paper": {}})
def lamb(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-6,
    epsilon_root: EpsilonRoot = 0.0,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.0,
) -> tuple[Array, AdamState]:
    """Adam's direction plus the decay, scaled to the length of the parameter.

    The decay enters the trust ratio, so the rule owns it. Keras' LAMB has it outside the ratio, which is
    ``chain(adam, trust_ratio)`` with decay "before". Source: You et al. 2020, alg. 2.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    d = m / bc1 / denominator(xp, v, bc2, epsilon, epsilon_root, 0.0) + weight_decay * p
    return trust_ratio(xp, p, d) * d, AdamState(m, v)
