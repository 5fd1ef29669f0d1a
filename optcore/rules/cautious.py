"""Cautious: a rule moves only the coordinates in which its direction has the sign of the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from optcore.compose import Wrapped, combinator
from optcore.rule import Law
from optcore.typing import Array, Namespace, Scalar


@combinator(kind="leafwise")
def cautious(
    inner: Callable[..., Law],
    xp: Namespace,
    p: Array,
    g: Array,
    s: Wrapped,
    t: Scalar,
    *,
    scaling: Literal["count", "mean"] = "count",
) -> Law:
    """Keep the coordinates of a direction that have the gradient's sign, and enlarge them to make up for the others.

    The factor is ``size / (kept + 1)``, or ``1 / max(kept / size, 1e-3)`` with scaling "mean" (the
    authors' C-AdamW). Signs are compared, since the product of two small numbers could underflow to 0.
    Source: Liang et al. 2024, alg. 1.
    """
    d, state = yield from inner(xp, p, g, s.inner, t)
    same = xp.where(xp.sign(d) == xp.sign(g), xp.abs(xp.sign(d)), xp.zeros_like(d))
    if scaling == "count":
        factor = xp.sum(xp.ones_like(d)) / (xp.sum(same) + 1.0)
    else:
        factor = 1.0 / xp.maximum(xp.mean(same), 1e-3)
    return d * same * factor, Wrapped(state)
