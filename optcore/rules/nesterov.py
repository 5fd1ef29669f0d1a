"""Nesterov's accelerated gradient, sum form."""

from __future__ import annotations

from optcore.rule import rule
from optcore.rules.momentum import MomentumState
from optcore.typing import Array, Decay, Namespace, Scalar


@rule(MomentumState, family="descent", lr=1e-3, decay="coupled")
def nesterov(
    xp: Namespace, p: Array, g: Array, s: MomentumState, t: Scalar, *, beta: Decay = 0.9
) -> tuple[Array, MomentumState]:
    """``m = beta m + g``; the direction is ``g + beta m``, which is the step of the look-ahead point.

    Source: Nesterov 1983 as rewritten by Bengio et al. 2013, eq. 7; torch.optim.SGD(nesterov=True).
    """
    m = beta * s.m + g
    return g + beta * m, MomentumState(m)
