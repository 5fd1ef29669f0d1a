"""Clipping at a percentile of the last norms, which the state remembers."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Le

from optcore.norms import global_norm, shrink
from optcore.rule import Law, rule
from optcore.typing import Array, Count, Epsilon, Namespace, Scalar, Shared


class PercentileState(NamedTuple):
    norms: Shared  #: the last global norms as a ring buffer of shape (window,), zero in slots not filled yet; unit [g]
    slots: Shared  #: the numbers 0, 1, ... of the slots, in the shape and dtype of norms; unit [1]
    seen: Shared  #: the number of norms in the buffer; unit [1]
    slot: Shared  #: the slot of the next norm; unit [1]


def _index(xp: Namespace, zero: Any, n: int) -> Any:
    """Return the numbers 0, 1, ..., n - 1, made without arange, which is not in the namespace of laws.

    A number has two digits to the base sqrt(n). A column sum of a triangle of ones counts the values of a digit, so
    that no array is much larger than n.
    """
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
    """The gradient with its global norm clipped at a percentile of the last ``window`` norms, this one included.

    Between two norms the percentile is interpolated, as NumPy's is. A norm of NaN is remembered like the others; a
    recipe with ``on_nonfinite="skip"`` keeps it out.
    Source: Seetharaman et al. 2020, alg. 1 and pseeth/autoclip, which remembers all norms.
    """
    n = yield from global_norm(xp, g)
    norms = xp.where(s.slots == s.slot, n, s.norms)
    seen = xp.minimum(s.seen + 1.0, 1.0 * window)
    slot = xp.where(s.slot + 1.0 < window, s.slot + 1.0, xp.zeros_like(s.slot))
    rising = xp.sort(norms)
    rank = (window - seen) + (seen - 1.0) * (percentile / 100.0)  # slots not filled yet are zeros and come first
    weight = xp.maximum(1.0 - xp.abs(s.slots - rank), 0.0)
    limit = xp.sum(xp.where(weight > 0, weight * rising, xp.zeros_like(rising)))
    return g * shrink(xp, n, limit, epsilon), PercentileState(norms, s.slots, seen, slot)
