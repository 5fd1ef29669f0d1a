"""The exponentiated gradient, for parameters that are positive and stay so."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.moments import grown
from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, Scalar, Unit


@rule(family="exponentiated", owns="p")
def exponentiated_gradient(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(g=-1)] = 1e-2,
) -> tuple[Array, NoState]:
    """``p exp(-lr g)``: mirror descent with the unnormalised relative entropy; signs of p never change.

    The rule returns the new p: added as an increment, a small positive p could be rounded to 0 or below.
    Source: Kivinen & Warmuth 1997, sec. 3 (EGU); their learning rate depends on the problem, 0.01 is a modest start.
    """
    return grown(xp, p, -lr * g), s
