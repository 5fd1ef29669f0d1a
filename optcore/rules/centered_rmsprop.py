"""RMSprop with the variance of the gradient in place of its mean square."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import rule
from optcore.rules.adam import EpsilonRoot
from optcore.rules.rmsprop import LIKE
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar


class CenteredRmspropState(NamedTuple):
    v: Array  #: EMA of the squared gradient, zero at the start unless initial_scale is given; unit [g^2]
    h: Array  #: EMA of the gradient, zero at the start; unit [g]


def _start(xp: Namespace, p: Array, *, initial_scale: EpsilonRoot = 0.0) -> CenteredRmspropState:
    return CenteredRmspropState(xp.zeros_like(p) + initial_scale, xp.zeros_like(p))


@rule(CenteredRmspropState, family="adaptive", lr=1e-3, init=_start, like=LIKE, title="CenteredRMSprop")
def centered_rmsprop(
    xp: Namespace,
    p: Array,
    g: Array,
    s: CenteredRmspropState,
    t: Scalar,
    *,
    beta: Decay = 0.9,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    debias: bool = False,
) -> tuple[Array, CenteredRmspropState]:
    """``g / (sqrt(v - h^2 + epsilon_root) + epsilon)``: v - h^2 is the gradient's running variance.

    The variance is cut at zero, below which rounding can take it. ``debias`` corrects both means for their start at
    zero, as optax can: the variance is then 0 at the first step, which is divided by the epsilons alone.
    Source: Graves 2013, eq. 38 to 41.
    """
    v, h = ema(beta, s.v, g * g), ema(beta, s.h, g)
    bc = bias_correction(xp, beta, t)
    square, mean = (v / bc, h / bc) if debias else (v, h)
    variance = xp.maximum(square - mean * mean, 0.0)
    return g / (xp.sqrt(variance + epsilon_root) + epsilon), CenteredRmspropState(v, h)
