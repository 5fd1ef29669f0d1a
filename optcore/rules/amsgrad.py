"""AMSGrad: Adam with the largest second moment so far, in its three conventions."""

from __future__ import annotations

from typing import Literal, NamedTuple

from optcore.moments import denominator, ema
from optcore.rule import Conventions, rule
from optcore.rules.adam import EpsilonRoot
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar

LIKE: Conventions = {
    "paper": {"correction": "none"},
    "torch": {"correction": "after", "decay": "coupled"},
    "optax": {"correction": "before"},
    "keras": {"correction": "after", "epsilon": 0.0, "epsilon_hat": 1e-7},
}


class AmsgradState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]
    v_max: Array  #: largest v so far, corrected where the convention is "before"; unit [g^2]


@rule(AmsgradState, family="adaptive", lr=1e-3, like=LIKE, title="AMSGrad")
def amsgrad(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AmsgradState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    epsilon_hat: Epsilon = 0.0,
    correction: Literal["none", "after", "before"] = "none",
) -> tuple[Array, AmsgradState]:
    """Adam whose denominator never shrinks: the largest second moment so far.

    ``correction`` says where the bias is corrected: nowhere with "none" (the paper), "after" the maximum (torch, Keras)
    or "before" it (optax, where an early ``v/bc2`` can stay the largest for ever).
    Source: Reddi, Kale & Kumar 2018, alg. 2; the epsilon is torch's, the paper has none.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    v_max = xp.maximum(s.v_max, v / bc2 if correction == "before" else v)
    after = bc2 if correction == "after" else 1.0
    first = m if correction == "none" else m / bc1
    return first / denominator(xp, v_max, after, epsilon, epsilon_root, epsilon_hat), AmsgradState(m, v, v_max)
