"""Laws that replace the whole gradient by zeros if a condition on it fails."""

from __future__ import annotations

from optcore.clipping.norm import Threshold
from optcore.norms import global_norm
from optcore.rule import Law, NoState, rule
from optcore.typing import Array, Namespace, Scalar


@rule(clips=True, repairs=True)
def zero_if_nonfinite(xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar) -> Law:
    """The gradient, or zero on all leaves if an element of any leaf is NaN or infinite.

    The next link of a chain then makes a step with a gradient of zero; ``Recipe(on_nonfinite="skip")`` leaves its state
    and its count of steps unchanged as well. Source: optax.apply_if_finite, which has this condition.
    """
    bad = yield xp.sum(xp.where(g - g == 0, xp.zeros_like(g), xp.ones_like(g)))
    return xp.where(bad == 0, g, xp.zeros_like(g)), s


@rule(clips=True, repairs=True)
def zero_if_large(xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, max_norm: Threshold) -> Law:
    """The gradient, or zero on all leaves unless the norm over all leaves is below ``max_norm``; a NaN is not below.

    Source: optax.skip_large_updates, with max_norm the root of its max_squared_norm.
    """
    n = yield from global_norm(xp, g)
    return xp.where(n < max_norm, g, xp.zeros_like(g)), s
