"""AdaMod: Adam's rates bounded by their own average."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.moments import ema
from optcore.rule import rule
from optcore.scalars import bias_correction, on
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar, Unit


class AdamodState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]
    rate: Array  #: EMA of each element's rate, zero at the start; unit [p/g]


@rule(AdamodState, family="adaptive", owns="lr", decay="before", title="AdaMod")
def adamod(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamodState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(p=1)] = 1e-3,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    beta3: Decay = 0.999,
    epsilon_hat: Epsilon = 1e-8,
) -> tuple[Array, AdamodState]:
    """The mean gradient times, for each element, the smaller of Adam's rate and that rate's moving average.

    The average starts at zero; both bias corrections are part of the rate.
    Source: Ding et al. 2019, alg. 1, as in lancopku/AdaMod.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    rate = lr * (on(xp, bc2).sqrt(bc2) / bc1) / (xp.sqrt(v) + epsilon_hat)
    bound = ema(beta3, s.rate, rate)
    return xp.minimum(rate, bound) * m, AdamodState(m, v, bound)
