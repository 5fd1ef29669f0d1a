"""Grokfast: the slow part of the gradient amplified, as a link of a chain."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import rule
from optcore.scalars import select
from optcore.typing import Array, Decay, Namespace, NonNegative, Scalar


class GrokfastState(NamedTuple):
    m: Array  #: EMA of the gradient, which starts as the first one; unit [g]


@rule(GrokfastState, family="link")
def grokfast(
    xp: Namespace, p: Array, g: Array, s: GrokfastState, t: Scalar, *, beta: Decay = 0.98, gain: NonNegative = 2.0
) -> tuple[Array, GrokfastState]:
    """``g + gain m``: the gradient plus its moving average, a low-pass filter, as in ``chain(grokfast, adamw)``.

    Source: Lee et al. 2024, alg. 2 (Grokfast-EMA); ironjr/grokfast.
    """
    m = ema(select(xp, t > 1, beta, 0.0), s.m, g)
    return g + gain * m, GrokfastState(m)
