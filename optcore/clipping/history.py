"""Clipping at a percentile of the norms that are remembered."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Le

from optcore.norms import global_norm, shrink
from optcore.rule import Law, rule
from optcore.typing import Array, Count, Epsilon, Namespace, Scalar, Shared


class PercentileState(NamedTuple):
    norms: Shared  #: the last global norms in a ring, zero where none is yet, of shape (window,); unit [g]
    slots: Shared  #: 0, 1, ... of the same shape, for there are no other numbers of its dtype; unit [1]
    seen: Shared  #: norms in the ring; unit [1]
    slot: Shared  #: where the next one goes; unit [1]


def _index(xp: Namespace, zero: Any, n: int) -> Any:
    """0, 1, ..., n - 1 as two digits, each counted by the ones over a diagonal, so that no array exceeds n much."""
    base = math.isqrt(n - 1) + 1
    digit = xp.sum(xp.triu(xp.broadcast_to(zero + 1.0, (base, base))), axis=0, keepdims=True) - 1.0
    return xp.reshape(xp.matrix_transpose(digit) * base + digit, (base * base,))[:n]


def _ring(xp: Namespace, p: Array, *, window: Count = 1000) -> PercentileState:
    zero = xp.sum(xp.zeros_like(p))
    return PercentileState(xp.broadcast_to(zero, (window,)) + zero, _index(xp, zero, window), zero, zero)


@rule(PercentileState, clips=True, init=_ring, title="AutoClip")
def clip_by_percentile(
    xp: Namespace,
    p: Array,
    g: Array,
    s: PercentileState,
    t: Scalar,
    *,
    percentile: Annotated[float, Ge(0), Le(100)] = 10.0,
    window: Count = 1000,
    epsilon: Epsilon = 1e-6,
) -> Law:
    """The global norm clipped at a percentile of the last ``window`` norms, this one among them.

    Between two norms the percentile is interpolated, as NumPy's is. A NaN is remembered with the others; a recipe that
    skips what is not finite keeps it out.
    Source: Seetharaman et al. 2020, alg. 1 and pseeth/autoclip, which remembers all norms.
    """
    n = yield from global_norm(xp, g)
    norms = xp.where(s.slots == s.slot, n, s.norms)
    seen = xp.minimum(s.seen + 1.0, 1.0 * window)
    slot = xp.where(s.slot + 1.0 < window, s.slot + 1.0, xp.zeros_like(s.slot))
    rising = xp.sort(norms)
    rank = (window - seen) + (seen - 1.0) * (percentile / 100.0)  # behind the zeros of slots not filled yet
    weight = xp.maximum(1.0 - xp.abs(s.slots - rank), 0.0)
    limit = xp.sum(xp.where(weight > 0, weight * rising, xp.zeros_like(rising)))
    return g * shrink(xp, n, limit, epsilon), PercentileState(norms, s.slots, seen, slot)
