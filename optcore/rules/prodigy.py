"""Prodigy: Adam with an estimate of the distance to the solution in place of a learning rate."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt

from optcore.moments import ema
from optcore.rule import Law, rule
from optcore.scalars import bias_correction, on
from optcore.typing import Array, Decay, Namespace, NonNegative, Positive, Scalar, Shared, Unit

Distance = Annotated[float, Gt(0), Unit(p=1)]


class ProdigyState(NamedTuple):
    m: Array  #: EMA of d g, zero at the start; unit [p g]
    v: Array  #: EMA of d^2 g^2, zero at the start; unit [p^2 g^2]
    s: Array  #: weighted sum of gradients, zero at the start; unit [p g]
    start: Array  #: the parameter before the first step; unit [p]
    d: Shared  #: estimate of the distance from the start to the solution; unit [p]
    d_max: Shared  #: largest estimate so far; unit [p]
    numerator: Shared  #: weighted sum of <g, start - p>; unit [p^2 g]


def _start(xp: Namespace, p: Array, *, d0: Distance = 1e-6) -> ProdigyState:
    zero = xp.zeros_like(p)
    d = xp.sum(zero) + d0
    return ProdigyState(zero, xp.zeros_like(p), xp.zeros_like(p), p, d, xp.sum(zero) + d0, xp.sum(zero))


@rule(ProdigyState, family="parameter-free", owns="decay", init=_start, like={"optax": {"debias": True}, "paper": {}})
def prodigy(
    xp: Namespace,
    p: Array,
    g: Array,
    s: ProdigyState,
    t: Scalar,
    *,
    lr: NonNegative = 1.0,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    beta3: Decay | None = None,
    epsilon: Annotated[float, Ge(0), Unit(g=1)] = 1e-8,
    d0: Distance = 1e-6,
    d_coefficient: Positive = 1.0,
    growth: Positive | None = None,
    debias: bool = False,
    safeguard_warmup: bool = False,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.0,
) -> Law:
    """Adam's step times d, where d grows towards ``<g, start - p> / |s|_1`` over all leaves.

    A ``beta3`` of None is ``sqrt(beta2)``; ``growth`` bounds the factor by which d grows in one step. The decay is
    multiplied by the old d, so the rule owns it. Source: Mishchenko & Defazio 2023, alg. 4 and konstmish/prodigy.
    """
    b3 = on(xp, beta2).sqrt(beta2) if beta3 is None else beta3
    rate = s.d * lr
    if debias:
        bc2 = bias_correction(xp, beta2, t)
        rate = rate * (on(xp, bc2).sqrt(bc2) / bias_correction(xp, beta1, t))
    relative = s.d / d0
    m, v = ema(beta1, s.m, s.d * g), ema(beta2, s.v, (s.d * g) * (s.d * g))
    weighted = b3 * s.s + relative * (s.d if safeguard_warmup else rate) * g
    aligned, length = yield rate * xp.sum(g * (s.start - p)), xp.sum(xp.abs(weighted))
    numerator = b3 * s.numerator + relative * aligned
    none = length == 0
    estimate = d_coefficient * numerator / xp.where(none, xp.ones_like(length), length)
    d_max = xp.where(none, s.d_max, xp.maximum(s.d_max, estimate))
    first = xp.where(s.d == d0, xp.maximum(s.d, estimate), s.d)  # growth does not bound the first estimate
    d = d_max if growth is None else xp.minimum(d_max, first * growth)
    step = rate * (m / (xp.sqrt(v) + d * epsilon) + weight_decay * p)
    step = xp.where(none, xp.zeros_like(step), step)
    return step, ProdigyState(m, v, weighted, s.start, d, d_max, numerator)
