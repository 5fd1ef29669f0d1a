"""Lion with D-Adaptation, an estimate of the distance to the solution in place of a learning rate."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.moments import ema
from optcore.rule import Law, rule
from optcore.rules.dadapt_adam import grown
from optcore.rules.prodigy import Distance
from optcore.scalars import on
from optcore.typing import Array, Decay, Namespace, NonNegative, Scalar, Shared, Unit


class DadaptLionState(NamedTuple):
    m: Array  #: EMA of d g, zero at the start; unit [p g]
    s: Array  #: EMA of steps with the root of beta2, zero at the start; unit [p]
    d: Shared  #: estimate of the distance from the start to the solution; unit [p]
    numerator: Shared  #: EMA of <step, s>; unit [p^2]


def _start(xp: Namespace, p: Array, *, d0: Distance = 1e-6) -> DadaptLionState:
    zero = xp.zeros_like(p)
    return DadaptLionState(zero, xp.zeros_like(p), xp.sum(zero) + d0, xp.sum(zero))


@rule(DadaptLionState, family="parameter-free", owns="decay", init=_start, title="DAdaptLion")
def dadapt_lion(
    xp: Namespace,
    p: Array,
    g: Array,
    s: DadaptLionState,
    t: Scalar,
    *,
    lr: NonNegative = 1.0,
    beta1: Decay = 0.9,
    beta2: Decay = 0.99,
    worth: Annotated[float, Ge(0), Unit(p=1)] = 1.0,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.0,
) -> Law:
    """Lion's step times d, where d grows towards ``<step, s> / |s|_1`` over all leaves.

    The momentum m averages ``d g``, but the sign is taken of ``beta1 m + (1 - beta1) worth g``. The authors add the
    gradient itself to the momentum, which is ``worth`` 1. The decay is multiplied by d, so the rule owns it.
    Source: facebookresearch/dadaptation, dadapt_lion, its numerator kept from step to step as in dadapt_adam.
    """
    b3, rate = on(xp, beta2).sqrt(beta2), s.d * lr
    step = xp.sign(ema(beta1, s.m, worth * g))
    weighted = ema(b3, s.s, rate * step)
    aligned, length = yield rate * xp.sum(step * s.s), xp.sum(xp.abs(weighted))
    numerator = ema(b3, s.numerator, aligned)
    d = grown(xp, s.d, numerator, (1.0 - b3) * length, None)
    m = ema(beta2, s.m, rate * g)
    return rate * (step + weight_decay * p), DadaptLionState(m, weighted, d, numerator)
