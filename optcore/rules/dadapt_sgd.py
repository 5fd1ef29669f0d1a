"""Gradient descent with D-Adaptation, an estimate of the distance to the solution in place of a learning rate."""

from __future__ import annotations

from typing import Any, NamedTuple

from optcore.norms import global_norm, root, squares
from optcore.rule import Law, rule
from optcore.rules.dadapt_adam import grown
from optcore.rules.prodigy import Distance
from optcore.typing import Array, Decay, Namespace, NonNegative, Positive, Scalar, Shared


class DadaptSgdState(NamedTuple):
    s: Array  #: sum of steps, zero at the start; unit [p]
    start: Array  #: the parameter before the first step; unit [p]
    d: Shared  #: estimate of the distance from the start to the solution; unit [p]
    numerator: Shared  #: sum of <step, s>; unit [p^2]
    first: Shared  #: norm of the first gradient, 0 until there is one; unit [g]


def _start(xp: Namespace, p: Array, *, d0: Distance = 1e-6) -> DadaptSgdState:
    zero = xp.zeros_like(p)
    return DadaptSgdState(zero, p, xp.sum(zero) + d0, xp.sum(zero), xp.sum(zero))


@rule(DadaptSgdState, family="parameter-free", owns="lr", decay="coupled", init=_start, title="DAdaptSGD")
def dadapt_sgd(
    xp: Namespace,
    p: Array,
    g: Array,
    s: DadaptSgdState,
    t: Scalar,
    *,
    lr: NonNegative = 1.0,
    momentum: Decay = 0.0,
    growth: Positive | None = None,
) -> Law:
    """``p' = momentum p + (1 - momentum) (start - s)``, where s sums ``d lr g / |first g|`` over all leaves.

    d grows towards ``2 sum <step, s> / |s|``, by at most the factor ``growth`` in one step.
    Source: Defazio & Mishchenko 2023, alg. 4 and sec. 5; facebookresearch/dadaptation, lr as in its later versions.
    """
    length = yield from global_norm(xp, g)
    first: Any = s.first
    first = xp.where(first == 0, length, first)
    rate = s.d * lr / xp.where(first == 0, xp.ones_like(first), first)
    total = s.s + rate * g
    *parts, aligned = yield (*squares(xp, total), rate * xp.sum(g * s.s))
    numerator = s.numerator + aligned
    d = grown(xp, s.d, 2.0 * numerator, root(xp, *parts), growth)
    return (1.0 - momentum) * (p - s.start + total), DadaptSgdState(total, s.start, d, numerator, first)
