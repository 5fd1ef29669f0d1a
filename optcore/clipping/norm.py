"""Clipping by norm, of a leaf or of the whole tree."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge

from optcore.norms import global_norm, norm
from optcore.rule import Conventions, Law, NoState, rule
from optcore.typing import Array, Epsilon, Namespace, Scalar, Unit

Threshold = Annotated[float, Ge(0), Unit(g=1)]


def _shrink(xp: Namespace, n: Array, max_norm: Any, epsilon: Scalar) -> Any:
    """``min(1, max_norm / (n + epsilon))``, 1 for a zero norm under a zero threshold."""
    floor = xp.maximum(n + epsilon, max_norm)
    one = xp.ones_like(floor)
    return xp.where(floor == 0, one, max_norm / xp.where(floor == 0, one, floor))


@rule(kind="leafwise")
def clip_by_norm(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, max_norm: Threshold
) -> tuple[Array, NoState]:
    """``g min(1, max_norm / |g|)`` with the norm of the leaf. Source: Keras' clipnorm."""
    return g * _shrink(xp, norm(xp, g), max_norm, 0.0), s


@rule(kind="leafwise")
def clip_by_norm_soft(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, max_norm: Threshold
) -> tuple[Array, NoState]:
    """``g max_norm / (|g| + max_norm)``: smooth, always below max_norm, within a factor 2 of hard clipping.

    Source: Zhang et al. 2020, eq. 3, where it is the best step under (L0, L1)-smoothness.
    """
    total = norm(xp, g) + max_norm
    return g * (max_norm / xp.where(total == 0, xp.ones_like(total), total)), s


LIKE: Conventions = {"torch": {"epsilon": 1e-6}, "optax": {}, "keras": {"nonfinite": "nan"}}


@rule(like=LIKE)
def clip_by_global_norm(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    max_norm: Threshold,
    epsilon: Epsilon = 0.0,
    nonfinite: Literal["keep", "nan"] = "keep",
) -> Law:
    """``g min(1, max_norm / (N + epsilon))`` with N the norm over all leaves.

    An infinite N turns finite elements to 0 and infinite ones to NaN; with ``nonfinite="nan"`` all turn
    to NaN. Source: Pascanu et al. 2013, alg. 1; torch adds 1e-6 to the norm, Keras spreads the NaN.
    """
    n = yield from global_norm(xp, g)
    scale = _shrink(xp, n, max_norm, epsilon)
    return g * (scale + (n - n) if nonfinite == "nan" else scale), s
