"""AdaBound: Adam's learning rates between two bounds that converge to that of SGD."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.moments import ema
from optcore.rule import rule
from optcore.scalars import bias_correction, on
from optcore.typing import Array, Decay, Epsilon, Namespace, Positive, Scalar, Unit

Rate = Annotated[float, Ge(0), Unit(p=1)]


class AdaboundState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]
    v_max: Array  #: largest v so far, 0-d without amsbound; unit [g^2]


def _start(xp: Namespace, p: Array, *, amsbound: bool = False) -> AdaboundState:
    zero = xp.zeros_like(p)
    return AdaboundState(zero, xp.zeros_like(p), xp.zeros_like(p) if amsbound else xp.sum(zero))


@rule(AdaboundState, family="adaptive", owns="lr", init=_start, decay="before", title="AdaBound")
def adabound(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdaboundState,
    t: Scalar,
    *,
    lr: Rate = 1e-3,
    final_lr: Annotated[float, Ge(0), Unit(p=1, g=-1)] = 0.1,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    gamma: Positive = 1e-3,
    epsilon_hat: Epsilon = 1e-8,
    amsbound: bool = False,
) -> tuple[Array, AdaboundState]:
    """The mean gradient times Adam's rate of each element, kept between two bounds that converge to ``final_lr``.

    They are ``final_lr (1 - 1/(gamma t + 1))`` and ``final_lr (1 + 1/(gamma t))``; if lr is a schedule, give its shape
    to ``final_lr`` too. ``amsbound`` divides by the largest v so far.
    Source: Luo et al. 2019, alg. 2 and 3; Luolc/AdaBound, where the decay is coupled; "before" is pytorch_optimizer's.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    v_max = xp.maximum(s.v_max, v) if amsbound else s.v_max
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    rate = lr * (on(xp, bc2).sqrt(bc2) / bc1) / (xp.sqrt(v_max if amsbound else v) + epsilon_hat)
    speed = gamma * t
    low, high = final_lr * (speed / (speed + 1.0)), final_lr * ((speed + 1.0) / speed)
    return xp.minimum(xp.maximum(rate, low), high) * m, AdaboundState(m, v, v_max)
