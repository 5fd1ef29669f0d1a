"""Clipping by a norm, of a leaf or of the whole tree."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from optcore.norms import global_norm, global_peak, global_power, norm, shrink
from optcore.rule import Conventions, Law, NoState, rule
from optcore.typing import Array, Epsilon, Namespace, Scalar, Unit

Threshold = Annotated[float, Ge(0), Unit(g=1)]
Order = Annotated[float, Gt(0), Lt(math.inf)]


def _soft(xp: Namespace, n: Array, max_norm: Any) -> Any:
    """Return ``max_norm / (n + max_norm)`` as ``1 / (1 + n / max_norm)``, which cannot overflow; 1 if both are zero."""
    limit = max_norm * xp.ones_like(n)
    shut = limit == 0
    factor = 1.0 / (1.0 + n / xp.where(shut, xp.ones_like(n), limit))
    return xp.where(shut, xp.where(n == 0, xp.ones_like(n), xp.zeros_like(n)), factor)


@rule(clips=True, kind="leafwise")
def clip_by_norm(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, max_norm: Threshold
) -> tuple[Array, NoState]:
    """``g min(1, max_norm / |g|)`` with the norm of the leaf. Source: Keras' clipnorm."""
    return g * shrink(xp, norm(xp, g), max_norm), s


@rule(clips=True, kind="leafwise")
def clip_by_norm_soft(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, max_norm: Threshold
) -> tuple[Array, NoState]:
    """``g max_norm / (|g| + max_norm)``: the norm stays below max_norm, and is at least half that of hard clipping.

    Source: Zhang et al. 2020, eq. 3, where it is the best step under (L0, L1)-smoothness.
    """
    return g * _soft(xp, norm(xp, g), max_norm), s


LIKE: Conventions = {"torch": {"epsilon": 1e-6}, "optax": {}, "keras": {"nonfinite": "nan"}}


@rule(clips=True, like=LIKE)
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

    If N is infinite, finite elements become 0 and infinite ones NaN; with ``nonfinite="nan"`` all elements become NaN.
    Source: Pascanu et al. 2013, alg. 1; torch adds 1e-6 to the norm, Keras turns all elements to NaN.
    """
    n = yield from global_norm(xp, g)
    scale = shrink(xp, n, max_norm, epsilon)
    return g * (scale + (n - n) if nonfinite == "nan" else scale), s


@rule(clips=True)
def clip_by_global_norm_soft(xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, max_norm: Threshold) -> Law:
    """``g max_norm / (N + max_norm)`` with N the norm over all leaves: the norm of the result is below max_norm.

    Source: Zhang et al. 2020, eq. 3, on the whole gradient as their analysis has it.
    """
    n = yield from global_norm(xp, g)
    return g * _soft(xp, n, max_norm), s


@rule(clips=True, like={"torch": {"epsilon": 1e-6}})
def clip_by_global_p_norm(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    max_norm: Threshold,
    order: Order = 2.0,
    epsilon: Epsilon = 0.0,
) -> Law:
    """``g min(1, max_norm / (N + epsilon))`` with ``N = (sum |g|^order)^(1/order)`` over all leaves.

    Source: torch.nn.utils.clip_grad_norm_ with a norm_type, which adds 1e-6 to the norm.
    """
    n = yield from global_power(xp, g, order)
    return g * shrink(xp, n, max_norm, epsilon), s


@rule(clips=True, like={"torch": {"epsilon": 1e-6}})
def clip_by_global_max(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, max_norm: Threshold, epsilon: Epsilon = 0.0
) -> Law:
    """``g min(1, max_norm / (N + epsilon))`` with N the largest ``|g|`` over all leaves; the direction is kept.

    Source: torch.nn.utils.clip_grad_norm_ with norm_type=inf, which adds 1e-6 to the norm.
    """
    n = yield from global_peak(xp, g)
    return g * shrink(xp, n, max_norm, epsilon), s
