"""Clipping of each example's gradient before the gradients are summed, for differential privacy.

A law takes one gradient of its parameter's shape, so these are functions instead: they take a tree of arrays whose
first axis counts the examples of a batch. The rule ``optcore.gaussian_noise`` adds the noise to their mean.
"""

from __future__ import annotations

from typing import Any

from optcore.backends.base import COMPUTE
from optcore.backends.checks import check
from optcore.backends.trees import flatten
from optcore.clipping.norm import clip_by_norm
from optcore.norms import norm_along, root, shrink, squares

__all__ = ["per_example_global_norm_clip", "per_example_layer_norm_clip", "per_example_mean"]


def per_example_global_norm_clip(grads: Any, max_norm: Any) -> tuple[Any, Any]:
    """Scale each example's gradient to a norm of ``max_norm`` at most, taken over all leaves, and sum the examples.

    Returns the tree of sums and the number of examples that were clipped. Raises ValueError for leaves without a
    first axis of examples. Source: Abadi et al. 2016, alg. 1; optax.per_example_global_norm_clip.
    """
    leaves, rebuild, backend, limit = _examples("per_example_global_norm_clip", grads, max_norm)
    xp = backend.xp
    parts = [squares(xp, _flat(backend, g), axis=1) for g in leaves]
    totals, *others = sorted(parts, key=lambda part: backend.dtype(part[0]) != "float64")  # the widest dtype first
    for part in others:
        totals = tuple(backend.scalar(a, b) + b for a, b in zip(part, totals, strict=True))
    scale = shrink(xp, root(xp, *totals), limit)
    return rebuild([_summed(backend, g, scale) for g in leaves]), _count(xp, scale)


def per_example_layer_norm_clip(grads: Any, max_norm: Any, uniform: bool = True) -> tuple[Any, Any]:
    """Scale each example's gradient leaf by leaf, so that its norm over all leaves is ``max_norm`` at most, and sum.

    Each of K leaves is held below ``max_norm / sqrt(K)``; without ``uniform`` below ``max_norm`` times the root of the
    leaf's share of all elements. Returns the tree of sums, and a tree with the number of examples clipped in each leaf.
    Raises as :func:`per_example_global_norm_clip`.
    Source: McMahan et al. 2018, sec. 2.3; optax.per_example_layer_norm_clip.
    """
    leaves, rebuild, backend, limit = _examples("per_example_layer_norm_clip", grads, max_norm)
    xp = backend.xp
    flat = [_flat(backend, g) for g in leaves]
    size = sum(x.shape[1] for x in flat)
    sums, counts = [], []
    for g, x in zip(leaves, flat, strict=True):
        share = 1.0 / len(leaves) if uniform else x.shape[1] / size
        scale = shrink(xp, norm_along(xp, x, 1), limit * share**0.5)[:, 0]
        sums.append(_summed(backend, g, scale))
        counts.append(_count(xp, scale))
    return rebuild(sums), rebuild(counts)


def per_example_mean(grads: Any, max_norm: Any) -> Any:
    """Return the mean of the clipped gradients of :func:`per_example_global_norm_clip`, to which DP-SGD adds noise."""
    sums, _ = per_example_global_norm_clip(grads, max_norm)
    first, _, _, _ = _examples("per_example_mean", grads, max_norm)
    leaves, _, rebuild = flatten(sums)
    return rebuild([x / first[0].shape[0] for x in leaves])


def _examples(who: str, grads: Any, max_norm: Any) -> Any:
    """Check a batch of gradients; return its leaves, the function that rebuilds the tree, backend and threshold."""
    limit = clip_by_norm.hypers["max_norm"].check(who, max_norm)
    leaves, paths, rebuild = flatten(grads)
    for g, path in zip(leaves, paths, strict=True):
        if g is None:
            raise TypeError(f"{who}: the leaf {path!r} is None; give only leaves with gradients")
    shapes = [tuple(g.shape) for g in leaves]
    if not shapes or any(not shape or shape[0] != shapes[0][0] or shape[0] == 0 for shape in shapes):
        raise ValueError(f"{who}: the leaves have shapes {shapes}; each needs the examples in its first axis")
    backend = check(who, leaves, leaves, paths)
    if any(backend.dtype(g).startswith("complex") for g in leaves):
        raise TypeError(f"{who}: a leaf is complex; give its real and imaginary part as two leaves")
    return leaves, rebuild, backend, limit


def _flat(backend: Any, g: Any) -> Any:
    """Return a batch as a matrix with one row for each example, in the dtype of computation."""
    size = 1
    for n in g.shape[1:]:
        size *= n
    return backend.xp.reshape(backend.cast(g, COMPUTE[backend.dtype(g)]), (g.shape[0], size))


def _summed(backend: Any, g: Any, scale: Any) -> Any:
    """Return the sum of the examples, each times its factor in ``scale``, in the leaf's dtype."""
    x = _flat(backend, g)
    factor = backend.xp.reshape(backend.scalar(scale, x), (-1, 1))
    total = backend.xp.reshape(backend.xp.sum(factor * x, axis=0), tuple(g.shape[1:]))
    return backend.cast(total, backend.dtype(g))


def _count(xp: Any, scale: Any) -> Any:
    """Return the number of factors below one, a 0-d array: the examples that were clipped."""
    return xp.sum(xp.where(scale < 1.0, xp.ones_like(scale), xp.zeros_like(scale)))
