"""Adan: Adam with Nesterov's look-ahead, estimated from the difference of successive gradients."""

from __future__ import annotations

from typing import Literal, NamedTuple

from optcore.moments import denominator, ema
from optcore.rule import Conventions, rule
from optcore.rules.adam import EpsilonRoot
from optcore.scalars import bias_correction, select
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar

LIKE: Conventions = {
    "paper": {},
    "optax": {"weight": "1 - beta2", "epsilon_root": 1e-8, "decay": "with"},
}


class AdanState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the gradient's change, zero at the start; unit [g]
    n: Array  #: EMA of the squared look-ahead gradient, zero at the start; unit [g^2]
    previous: Array  #: the gradient of the previous step, zero at the start; unit [g]


@rule(AdanState, family="adaptive", lr=1e-3, decay="proximal", like=LIKE)
def adan(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdanState,
    t: Scalar,
    *,
    beta1: Decay = 0.98,
    beta2: Decay = 0.92,
    beta3: Decay = 0.99,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    weight: Literal["beta2", "1 - beta2"] = "beta2",
) -> tuple[Array, AdanState]:
    """``(m + c v) / sqrt(n)``, all corrected, where v is the mean change of the gradient and n that of ``(g + c v)^2``.

    The change is 0 at t = 1. Each beta is 1 minus the paper's, so the paper's coefficient c is beta2; optax, with the
    same betas, has ``1 - beta2``. Source: Xie et al. 2022, alg. 1; correction and defaults of sail-sg/Adan.
    """
    c = beta2 if weight == "beta2" else 1.0 - beta2
    change = select(xp, t > 1, g - s.previous, xp.zeros_like(g))
    ahead = g + c * change
    m, v, n = ema(beta1, s.m, g), ema(beta2, s.v, change), ema(beta3, s.n, ahead * ahead)
    bc1, bc2, bc3 = (bias_correction(xp, beta, t) for beta in (beta1, beta2, beta3))
    return (m / bc1 + c * v / bc2) / denominator(xp, n, bc3, epsilon, epsilon_root, 0.0), AdanState(m, v, n, g)
