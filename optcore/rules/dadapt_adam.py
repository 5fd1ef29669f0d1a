"""Adam with D-Adaptation: an estimate of the distance to the solution in place of a learning rate."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from annotated_types import Ge

from optcore.moments import ema
from optcore.rule import Law, rule
from optcore.rules.prodigy import Distance
from optcore.scalars import bias_correction, on
from optcore.typing import Array, Decay, Epsilon, Namespace, NonNegative, Positive, Scalar, Shared, Unit


class DadaptAdamState(NamedTuple):
    m: Array  #: EMA of d g, zero at the start; unit [p g]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]
    s: Array  #: EMA of d g with the root of beta2, zero at the start; unit [p g]
    d: Shared  #: estimate of the distance from the start to the solution; unit [p]
    numerator: Shared  #: EMA of <d g, s> in the metric of the root of v; unit [p^2 g]


def _start(xp: Namespace, p: Array, *, d0: Distance = 1e-6) -> DadaptAdamState:
    zero = xp.zeros_like(p)
    return DadaptAdamState(zero, xp.zeros_like(p), xp.zeros_like(p), xp.sum(zero) + d0, xp.sum(zero))


def grown(xp: Namespace, d: Any, numerator: Any, length: Any, growth: Scalar | None) -> Any:
    """Return the larger of d and ``numerator / length``, but at most ``d growth``; d itself if the length is 0."""
    none = length == 0
    estimate = numerator / xp.where(none, xp.ones_like(length), length)
    estimate = estimate if growth is None else xp.minimum(estimate, d * growth)
    return xp.where(none, d, xp.maximum(d, estimate))


@rule(
    DadaptAdamState,
    family="parameter-free",
    owns="decay",
    init=_start,
    like={"optax": {"debias": True}, "paper": {}},
    title="DAdaptAdam",
)
def dadapt_adam(
    xp: Namespace,
    p: Array,
    g: Array,
    s: DadaptAdamState,
    t: Scalar,
    *,
    lr: NonNegative = 1.0,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    growth: Positive | None = None,
    debias: bool = False,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.0,
) -> Law:
    """Adam's step times d, where d grows towards ``<d g, s> / |s|_1`` over all leaves.

    ``growth`` bounds d's growth in one step; ``debias`` corrects both moments. The decay is multiplied by d, so
    the rule owns it. Source: Defazio & Mishchenko 2023, alg. 5, and facebookresearch/dadaptation, version 3.
    """
    b3 = on(xp, beta2).sqrt(beta2)
    rate = s.d * lr
    if debias:
        bc2 = bias_correction(xp, beta2, t)
        rate = rate * (on(xp, bc2).sqrt(bc2) / bias_correction(xp, beta1, t))
    m, v, weighted = ema(beta1, s.m, rate * g), ema(beta2, s.v, g * g), ema(b3, s.s, rate * g)
    aligned = rate * xp.sum(g * (s.s / (xp.sqrt(s.v) + epsilon)))
    aligned, length = yield aligned, xp.sum(xp.abs(weighted))
    numerator = ema(b3, s.numerator, aligned)
    d = grown(xp, s.d, numerator, (1.0 - b3) * length, growth)
    step = m / (xp.sqrt(v) + epsilon) + rate * weight_decay * p
    step = xp.where(length == 0, xp.zeros_like(step), step)
    return step, DadaptAdamState(m, v, weighted, d, numerator)


dadapt_adamw = dadapt_adam.variant(
    "dadapt_adamw",
    """D-Adaptation's Adam with bias correction, by optax' name; the decay is decoupled in both.

    Source: Defazio & Mishchenko 2023, alg. 5; optax.contrib.dadapt_adamw.
    """,
    title="DAdaptAdamW",
    debias=True,
)
