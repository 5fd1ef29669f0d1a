"""Rprop: a step size for each element, which grows while the sign of the gradient stays and shrinks when it turns."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt, Lt

from optcore.rule import rule
from optcore.scalars import select
from optcore.typing import Array, Namespace, Scalar, Unit

Size = Annotated[float, Ge(0), Unit(p=1)]


class RpropState(NamedTuple):
    prev: Array  #: the gradient of the previous step, zero where its sign had turned; unit [g]
    size: Array  #: length of the last step, zero at the start; unit [p]


@rule(RpropState, family="sign", owns="lr")
def rprop(
    xp: Namespace,
    p: Array,
    g: Array,
    s: RpropState,
    t: Scalar,
    *,
    lr: Size = 1e-2,
    eta_minus: Annotated[float, Gt(0), Lt(1)] = 0.5,
    eta_plus: Annotated[float, Gt(1)] = 1.2,
    step_min: Size = 1e-6,
    step_max: Size = 50.0,
) -> tuple[Array, RpropState]:
    """The sign of the gradient times a size that grows while the sign stays and shrinks where it turns.

    Where the sign turned there is no step and the gradient counts as zero, so that the size does not change in the next
    step. The size starts at lr, which has no effect later. Source: Riedmiller & Braun 1993, as Igel & Huesken 2003
    state it without backtracking (iRprop-); defaults of torch.optim.Rprop.
    """
    same, one, none = xp.sign(g) * xp.sign(s.prev), xp.ones_like(g), xp.zeros_like(g)
    factor = xp.where(same > 0, eta_plus * one, xp.where(same < 0, eta_minus * one, one))
    size = xp.minimum(xp.maximum(select(xp, t > 1, s.size, none + lr) * factor, step_min), step_max)
    kept = xp.where(same < 0, none, g)
    return xp.sign(kept) * size, RpropState(kept, size)
