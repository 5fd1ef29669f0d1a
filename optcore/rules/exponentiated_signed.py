"""The exponentiated gradient for weights that keep their signs."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.moments import grown
from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, Scalar, Unit


@rule(family="exponentiated", owns="p")
def exponentiated_signed(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(g=-1)] = 1e-2,
) -> tuple[Array, NoState]:
    """``p exp(-lr sign(p) g)``: every weight keeps its sign (Dale's law), and a zero stays zero.

    Source: Kivinen & Warmuth 1997 with the signs of Cornford et al. 2024; their learning rate depends on the problem.
    """
    return grown(xp, p, -lr * xp.sign(p) * g), s
