"""AdaNorm: Adam whose first moment receives gradients of at least their average length."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import denominator, ema
from optcore.norms import norm
from optcore.rule import rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar


class AdanormState(NamedTuple):
    m: Array  #: EMA of the stretched gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]
    length: Array  #: EMA of the gradient's norm, 0-d, zero at the start; unit [g]


def _start(xp: Namespace, p: Array) -> AdanormState:
    zero = xp.zeros_like(p)
    return AdanormState(zero, xp.zeros_like(p), xp.sum(zero))


@rule(AdanormState, family="adaptive", kind="leafwise", lr=1e-3, init=_start, title="AdaNorm")
def adanorm(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdanormState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    gamma: Decay = 0.95,
    epsilon_hat: Epsilon = 1e-8,
) -> tuple[Array, AdanormState]:
    """Adam, where a gradient shorter than the average norm of its leaf is stretched to that average.

    Only the first moment receives the stretched gradient. Source: Dubey, Singh & Chaudhuri 2023, alg. 2 (AdamNorm);
    gamma is theirs.
    """
    size = norm(xp, g)
    length = ema(gamma, s.length, size)
    one = xp.ones_like(size)
    stretch = xp.maximum(length / xp.where(size == 0, one, size), 1.0)
    m, v = ema(beta1, s.m, stretch * g), ema(beta2, s.v, g * g)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    return m / bc1 / denominator(xp, v, bc2, 0.0, 0.0, epsilon_hat), AdanormState(m, v, length)
