"""SGDP: momentum without the part of the step that only lengthens a scale-invariant weight."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.rule import rule
from optcore.rules.adamp import Length, project
from optcore.rules.momentum import MomentumState
from optcore.typing import Array, Decay, Epsilon, Layout, Namespace, NonNegative, Scalar, Unit, UnitInterval


@rule(MomentumState, family="descent", kind="leafwise", axes=True, owns="decay", lr=1e-3, title="SGDP")
def sgdp(
    xp: Namespace,
    p: Array,
    g: Array,
    s: MomentumState,
    t: Scalar,
    *,
    beta: Decay = 0.9,
    dampening: UnitInterval = 0.0,
    epsilon: Epsilon = 1e-8,
    epsilon_p: Length = 1e-8,
    threshold: NonNegative = 0.1,
    decay_ratio: UnitInterval = 0.1,
    nesterov: bool = False,
    weight_decay: Annotated[float, Ge(0), Unit(g=1, p=-1)] = 0.0,
    layout: Layout | None = None,
) -> tuple[Array, MomentumState]:
    """Momentum in its sum form less its part along p, for leaves that are taken to be scale-invariant, as in AdamP.

    The decay is divided by ``1 - beta``, and on such leaves multiplied by ``decay_ratio``, so the rule owns it.
    Dampening acts on the first step too. Source: Heo et al. 2021, alg. 1; clovaai/AdamP.
    """
    m = beta * s.m + (1.0 - dampening) * g
    d = g + beta * m if nesterov else m
    d, ratio = project(xp, p, g, d, threshold, decay_ratio, epsilon, epsilon_p, layout)
    return d + weight_decay / (1.0 - beta) * ratio * p, MomentumState(m)
