"""Adagrad with D-Adaptation, an estimate of the distance to the solution in place of a learning rate."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Gt

from optcore.rule import Law, rule
from optcore.rules.dadapt_adam import grown
from optcore.rules.prodigy import Distance
from optcore.typing import Array, Decay, Epsilon, Namespace, NonNegative, Positive, Scalar, Shared, Unit

Accumulator = Annotated[float, Gt(0), Unit(g=2)]


class DadaptAdagradState(NamedTuple):
    sum: Array  #: sum of squared gradients, at initial_accumulator at the start; unit [g^2]
    s: Array  #: sum of d g, zero at the start; unit [p g]
    start: Array  #: the parameter before the first step; unit [p]
    d: Shared  #: estimate of the distance from the start to the solution; unit [p]
    squares: Shared  #: sum of <d g, d g> in the metric of the root of sum; unit [p^2 g]


def _start(
    xp: Namespace, p: Array, *, d0: Distance = 1e-6, initial_accumulator: Accumulator = 1e-6
) -> DadaptAdagradState:
    zero = xp.zeros_like(p)
    return DadaptAdagradState(zero + initial_accumulator, xp.zeros_like(p), p, xp.sum(zero) + d0, xp.sum(zero))


@rule(DadaptAdagradState, family="parameter-free", owns="lr", decay="coupled", init=_start, title="DAdaptAdaGrad")
def dadapt_adagrad(
    xp: Namespace,
    p: Array,
    g: Array,
    s: DadaptAdagradState,
    t: Scalar,
    *,
    lr: NonNegative = 1.0,
    momentum: Decay = 0.0,
    epsilon: Epsilon = 0.0,
    growth: Positive | None = None,
) -> Law:
    """``p' = momentum p + (1 - momentum) (start - s / (sqrt(sum) + epsilon))`` with s the sum of ``d lr g``.

    d grows towards ``(<s, s> - sum <d g, d g>) / |s|_1`` over all leaves, both products in the metric of
    ``1 / (sqrt(sum) + epsilon)``; ``growth`` bounds its growth in one step. Source: Defazio & Mishchenko 2023,
    alg. 2, diagonal; facebookresearch/dadaptation.
    """
    rate = s.d * lr
    total, weighted = s.sum + g * g, s.s + rate * g
    root = xp.sqrt(total) + epsilon
    own, new, length = yield (
        xp.sum(weighted * (weighted / root)),
        rate * rate * xp.sum(g * (g / root)),
        xp.sum(xp.abs(weighted)),
    )
    squares = s.squares + new
    d = grown(xp, s.d, own - squares, length, growth)
    step = (1.0 - momentum) * (p - s.start + weighted / root)
    return xp.where(length == 0, xp.zeros_like(step), step), DadaptAdagradState(total, weighted, s.start, d, squares)
