"""Normalization: the gradient divided by its own size, so that the learning rate alone sets the length of a step."""

from __future__ import annotations

from typing import Any

from optcore.moments import global_rms, rms
from optcore.norms import global_norm, inputs, norm, norm_along, over
from optcore.rule import Law, NoState, rule
from optcore.typing import Array, Epsilon, Layout, Namespace, Scalar


def _over(xp: Namespace, g: Array, size: Array, epsilon: Scalar, floor: Scalar = 0.0) -> Any:
    """Return ``g / max(size + epsilon, floor)``; a zero gradient stays zero if epsilon and floor are both 0."""
    size = xp.maximum(size + epsilon, floor)
    return over(xp, g, xp.where(size == 0, xp.ones_like(size), size))


@rule(clips=True, kind="leafwise")
def normalize_by_norm(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, epsilon: Epsilon = 0.0, floor: Epsilon = 0.0
) -> tuple[Array, NoState]:
    """``g / max(|g| + epsilon, floor)`` with the norm of the leaf; a zero gradient stays zero.

    Source: Hazan et al. 2015, alg. 1 for each leaf; heavyball's l2_normalization_ with floor 1e-8.
    """
    return _over(xp, g, norm(xp, g), epsilon, floor), s


@rule(clips=True, like={"optax": {"epsilon": 1e-6}, "paper": {}})
def normalize_by_global_norm(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, epsilon: Epsilon = 0.0
) -> Law:
    """``g / (N + epsilon)`` with N the norm over all leaves; a zero gradient stays zero.

    Source: Hazan et al. 2015, alg. 1; optax.contrib.normalize, and normalize_by_update_norm with epsilon 1e-6.
    """
    n = yield from global_norm(xp, g)
    return _over(xp, g, n, epsilon), s


@rule(clips=True, kind="leafwise")
def normalize_by_rms(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, epsilon: Epsilon = 0.0, floor: Epsilon = 1e-6
) -> tuple[Array, NoState]:
    """``g / max(RMS(g) + epsilon, floor)``, whose elements are of order one. Source: heavyball's rmsnorm_normalize_."""
    return _over(xp, g, rms(xp, g), epsilon, floor), s


@rule(clips=True)
def normalize_by_global_rms(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, epsilon: Epsilon = 0.0, floor: Epsilon = 1e-6
) -> Law:
    """``g / max(RMS + epsilon, floor)`` with the RMS over all elements of all leaves.

    Source: heavyball's global_rmsnorm_clip with a small threshold.
    """
    size = yield from global_rms(xp, g)
    return _over(xp, g, size, epsilon, floor), s


@rule(clips=True, kind="leafwise", axes=True)
def normalize_by_column(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    epsilon: Epsilon = 1e-8,
    layout: Layout | None = None,
) -> tuple[Array, NoState]:
    """``g / (|g| + epsilon)`` with a norm for each output of a matrix, over its inputs; a vector has one norm.

    Source: Glentis et al. 2025 (SCALE), whose matrices have a column for each output.
    """
    axes = inputs(g.ndim, layout) if g.ndim > 1 else tuple(range(g.ndim))
    return _over(xp, g, norm_along(xp, g, axes), epsilon), s


@rule(clips=True, kind="leafwise", axes=True)
def normalize_by_deviation(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    epsilon: Epsilon = 1e-8,
    channels: bool = False,
    layout: Layout | None = None,
) -> tuple[Array, NoState]:
    """``g / (std(g) + epsilon)`` with the unbiased deviation of the leaf's elements.

    With ``channels`` each output of a leaf of two axes or more has a deviation of its own. A single element has no
    deviation and is divided by its own size. Source: pytorch_optimizer's normalize_gradient, which leaves a single
    element as it is, from Ranger21 (Wright & Demeure 2021).
    """
    axes = inputs(g.ndim, layout) if channels and g.ndim > 1 else tuple(range(g.ndim))
    n = 1
    for i in axes:
        n *= g.shape[i]
    distance = g - xp.mean(g, axis=axes, keepdims=True) if n > 1 else g
    return _over(xp, g, norm_along(xp, distance, axes) * max(n - 1, 1) ** -0.5, epsilon), s
