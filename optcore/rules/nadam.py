"""NAdam: Adam with Nesterov momentum."""

from __future__ import annotations

from typing import Literal, NamedTuple

from optcore.moments import denominator, ema
from optcore.rule import Conventions, rule
from optcore.rules.adam import EpsilonRoot
from optcore.scalars import bias_correction, power
from optcore.typing import Array, Decay, Epsilon, Namespace, NonNegative, Scalar

LIKE: Conventions = {
    "torch": {"decay": "coupled"},
    "optax": {"momentum": "constant"},
    "keras": {"momentum_decay": 1.0, "epsilon": 1e-7, "lr": 1e-3, "decay": "before"},
    "paper": {},
}
Momentum = Literal["growing", "constant"]


class NadamState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]
    mu_product: Array  #: product of the momenta so far, 0-d, 1 at the start; None if they are constant; unit [1]


def _start(xp: Namespace, p: Array, *, momentum: Momentum = "growing") -> NadamState:
    zero = xp.zeros_like(p)
    product = None if momentum == "constant" else xp.sum(zero) + 1.0
    return NadamState(zero, xp.zeros_like(p), product)  # type: ignore[arg-type]


@rule(NadamState, family="adaptive", lr=2e-3, init=_start, like=LIKE, title="Nadam")
def nadam(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NadamState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    momentum: Momentum = "growing",
    momentum_decay: NonNegative = 4e-3,
) -> tuple[Array, NadamState]:
    """Adam with ``mu_{t+1} m / (1 - P_{t+1}) + (1 - mu_t) g / (1 - P_t)`` for its first moment, P the product of mu.

    A "growing" momentum is ``mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)``, with 1 for ``momentum_decay`` in
    Keras; a "constant" one is beta1 (optax). Source: Dozat 2016, alg. 2; defaults of torch.optim.NAdam.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    root = denominator(xp, v, bias_correction(xp, beta2, t), epsilon, epsilon_root, 0.0)
    if momentum == "constant":
        later, now = bias_correction(xp, beta1, t + 1), bias_correction(xp, beta1, t)
        return ema(beta1, m / later, g / now) / root, NadamState(m, v, s.mu_product)
    mu = beta1 * (1.0 - 0.5 * power(xp, 0.96, t * momentum_decay))
    later = beta1 * (1.0 - 0.5 * power(xp, 0.96, (t + 1) * momentum_decay))
    product = s.mu_product * mu
    ahead = later * m / (1.0 - product * later) + (1.0 - mu) * g / (1.0 - product)
    return ahead / root, NadamState(m, v, product)
