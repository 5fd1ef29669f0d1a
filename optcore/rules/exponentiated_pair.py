"""The exponentiated gradient for weights of either sign: a difference of two positive ones."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt

from optcore.moments import grown, peak
from optcore.rule import rule
from optcore.typing import Array, Namespace, Scalar, Unit

Budget = Annotated[float, Gt(0), Unit(p=1)]


class PairState(NamedTuple):
    positive: Array  #: the part that is added, at (budget/n + p)/2 at the start; unit [p]
    negative: Array  #: the part that is subtracted, at (budget/n - p)/2 at the start; unit [p]


def _start(xp: Namespace, p: Array, *, budget: Budget = 1.0) -> PairState:
    share = budget / xp.maximum(xp.sum(xp.ones_like(p)), 1.0)  # the maximum is for an empty leaf
    return PairState(0.5 * (share + p), 0.5 * (share - p))


@rule(PairState, family="exponentiated", kind="leafwise", owns="p", init=_start, decay="coupled")
def exponentiated_pair(
    xp: Namespace,
    p: Array,
    g: Array,
    s: PairState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(g=-1, p=-1)] = 1e-2,
    budget: Budget = 1.0,
) -> tuple[Array, PairState]:
    """``p = w+ - w-``, where ``w+- exp(-+ lr budget g)`` are scaled so that all of them sum to ``budget``.

    The n elements of the first parameter must satisfy ``|p| < budget/n``. Every step computes p anew from its two
    parts, so only a coupled decay has an effect.
    Source: Kivinen & Warmuth 1997, sec. 3 (EG+-); their learning rate depends on the problem.
    """
    exponent = (lr * budget) * g
    top = xp.maximum(peak(xp, s.positive / budget, -exponent), peak(xp, s.negative / budget, exponent))
    up, down = grown(xp, s.positive, -exponent - top), grown(xp, s.negative, exponent - top)
    whole = budget / (xp.sum(up) + xp.sum(down))
    new = PairState(whole * up, whole * down)
    return new.positive - new.negative, new
