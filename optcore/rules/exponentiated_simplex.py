"""The exponentiated gradient on the simplex: weights that are positive and sum to one."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt

from optcore.moments import grown, peak
from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, Scalar, Unit


@rule(family="exponentiated", kind="leafwise", owns="p")
def exponentiated_simplex(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(g=-1)] = 1e-2,
    total: Annotated[float, Gt(0), Unit(p=1)] = 1.0,
) -> tuple[Array, NoState]:
    """``total p exp(-lr g) / sum(p exp(-lr g))`` over the leaf: a weight of zero stays zero.

    The largest summand is scaled to one first, so nothing overflows. A constant added to all of g changes nothing, and
    a leaf of zeros stays as it is.
    Source: Kivinen & Warmuth 1997, eq. 3.5 (EG); their learning rate depends on the problem.
    """
    exponent = -lr * g
    new = grown(xp, p, exponent - peak(xp, p / total, exponent))
    whole = xp.sum(new)
    return total * (new / xp.where(whole == 0, xp.ones_like(whole), whole)), s
