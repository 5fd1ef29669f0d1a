"""Momentum that accumulates the gradients of several steps in its own buffer, without another one."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge

from optcore.moments import gathered
from optcore.rule import rule
from optcore.rules.averaged_momentum import AverageState
from optcore.scalars import select
from optcore.typing import Array, Count, Decay, Namespace, Scalar, Unit

Form = Literal["exact", "cheap"]
Rate = Annotated[float, Ge(0), Unit(g=-1, p=1)]


@rule(AverageState, family="descent", owns="decay")
def accumulated_momentum(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AverageState,
    t: Scalar,
    *,
    lr: Rate = 1e-2,
    weight_decay: Annotated[float, Ge(0), Unit(g=1, p=-1)] = 0.0,
    beta: Decay = 0.9,
    every: Count = 1,
    form: Form = "exact",
) -> tuple[Array, AverageState]:
    """``lr (m + weight_decay p)`` once in ``every`` steps, where m is the average of the groups' mean gradients.

    With form "exact" m fades once in each group of ``every`` gradients, so that the parameters are those of momentum on
    the groups' mean gradients. Form "cheap" is the plain average with ``beta' = 1 - (1 - beta)/every``, which weights
    the gradients of a group by their age.
    Source: Su 2021 (kexue.fm 8634), the SGDM form.
    """
    m = gathered(xp, beta, every, form == "exact", s.m, g, t)
    return select(xp, t % every == 0, lr, 0.0) * (m + weight_decay * p), AverageState(m)
