"""Momentum with step sizes that adapt by exponentiated gradients: one scale for all, one gain for each coordinate."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.moments import cosine, ema, within
from optcore.norms import root, squares
from optcore.rule import Law, rule
from optcore.typing import Array, Decay, Namespace, NonNegative, Positive, Scalar, Shared, Unit


class StepSizeState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    velocity: Array  #: decaying sum of the steps, zero at the start; unit [p]
    gain: Array  #: factor of each coordinate, one at the start; unit [1]
    scale: Shared  #: factor of all coordinates, one at the start; unit [1]


def _start(xp: Namespace, p: Array) -> StepSizeState:
    zero = xp.zeros_like(p)
    return StepSizeState(zero, xp.zeros_like(p), xp.ones_like(p), xp.sum(zero) + 1.0)


@rule(StepSizeState, family="exponentiated", owns="lr", init=_start)
def exponentiated_step_size(
    xp: Namespace,
    p: Array,
    g: Array,
    s: StepSizeState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(g=-1, p=1)] = 1e-2,
    beta: Decay = 0.9,
    mu: Decay = 0.9,
    gain_rate: Annotated[float, Ge(0), Unit(g=-2)] = 1e-2,
    gain_cosine: NonNegative = 0.0,
    scale_rate: Annotated[float, Ge(0), Unit(g=-1, p=-1)] = 1e-2,
    scale_cosine: NonNegative = 0.0,
    limit: Positive = 1.0,
) -> Law:
    """``scale velocity``, where ``velocity = mu velocity + lr gain g``; both factors grow while gradients agree.

    Before that, gain becomes ``gain exp(gain_rate m g)`` elementwise and scale ``scale exp(scale_rate <velocity, g>)``
    over all leaves, with the m and velocity of the previous step. ``gain_cosine`` and ``scale_cosine`` are rates of the
    normalised products instead. Exponents are cut to [-limit, limit]. The rates depend on the problem.
    Source: after Amid et al. 2022, whose equations are known here through secondary texts only; with beta, mu and
    scale_rate 0 the form of Su 2022 (kexue.fm 8968).
    """
    aligned, *parts = yield xp.sum(s.velocity * g), *squares(xp, s.velocity), *squares(xp, g)
    turned = cosine(xp, aligned, root(xp, *parts[:3]), root(xp, *parts[3:]))
    product = s.m * g
    own = gain_rate * product + gain_cosine * (xp.sign(s.m) * xp.sign(g))
    gain = s.gain * xp.exp(within(xp, own, limit))
    whole = scale_rate * aligned + scale_cosine * turned
    scale = s.scale * xp.exp(within(xp, whole, limit))
    velocity = mu * s.velocity + lr * (gain * g)
    return scale * velocity, StepSizeState(ema(beta, s.m, g), velocity, gain, scale)
