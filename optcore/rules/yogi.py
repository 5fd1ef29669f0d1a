"""Yogi: Adam whose second moment changes by an amount that does not depend on its size."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.moments import denominator, ema
from optcore.rule import rule
from optcore.rules.adam import AdamState, EpsilonRoot
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar, Unit


def _start(
    xp: Namespace,
    p: Array,
    *,
    initial_momentum: Annotated[float, Ge(0), Unit(g=1)] = 1e-6,
    initial_accumulator: EpsilonRoot = 1e-6,
) -> AdamState:
    return AdamState(xp.zeros_like(p) + initial_momentum, xp.zeros_like(p) + initial_accumulator)


@rule(AdamState, family="adaptive", lr=1e-2, init=_start, like={"optax": {}, "paper": {}})
def yogi(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-3,
) -> tuple[Array, AdamState]:
    """Adam with ``v - (1 - beta2) sign(v - g^2) g^2`` as second moment, whose change does not depend on v itself.

    Both moments start above zero and are corrected for a start at zero nevertheless, as in the implementations.
    Source: Zaheer et al. 2018, alg. 2; initial values of the authors' code, which optax shares.
    """
    m, square = ema(beta1, s.m, g), g * g
    v = s.v - (1.0 - beta2) * xp.sign(s.v - square) * square
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    return m / bc1 / denominator(xp, v, bc2, epsilon, 0.0, 0.0), AdamState(m, v)
