"""Clipping unit by unit: the weights of each output of a layer are a unit and have a norm of their own."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from optcore.norms import inputs, norm_along, shrink
from optcore.rule import Conventions, NoState, rule
from optcore.typing import Array, Layout, Namespace, Scalar, Unit

Which = Literal["output", "first", "last", "leaf"]
Axis = Annotated[int, Ge(-2), Le(1)]
"""The number of an axis: 0 or 1, or -1 or -2 counted from the end. Every leaf of two axes or more has all of these."""
LIKE: Conventions = {
    "paper": {},
    "optax": {"unit": "last", "heads": True},
    "torch": {"unit": "first", "heads": True},
}


def _axes(ndim: int, unit: Which, axis: int | None, layout: Layout | None, heads: bool) -> tuple[int, ...]:
    """Return the axes over which a unit's norm is taken: all axes of a vector, else all but that which counts units."""
    if ndim < 2 or (unit == "leaf" and axis is None):
        return tuple(range(ndim))
    if axis is not None:
        return tuple(i for i in range(ndim) if i != axis % ndim)
    last = unit == "last" or (unit == "output" and layout == "in_out")
    if heads and ndim == 3:
        return (0,) if last else (1,)
    return inputs(ndim, "in_out" if last else "out_in")


@rule(clips=True, kind="leafwise", axes=True, like=LIKE)
def clip_by_unit_norm(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    max_norm: Annotated[float, Ge(0), Unit(g=1)],
    unit: Which = "output",
    axis: Axis | None = None,
    heads: bool = False,
    layout: Layout | None = None,
) -> tuple[Array, NoState]:
    """``g min(1, max_norm / |g|)`` with the norm of each unit; a vector is one unit.

    There is one unit for each index of the leaf's output axis. ``unit`` may name the first or last axis instead,
    whatever the layout, or make the whole leaf one unit; ``axis`` gives the axis by its number. With ``heads`` a leaf
    of three axes is a stack of matrices, and each pair of a head and an output is a unit.
    Source: Brock et al. 2021, sec. 4.1; optax.transforms.unitwise_clip.
    """
    return g * shrink(xp, norm_along(xp, g, _axes(g.ndim, unit, axis, layout, heads)), max_norm), s


@rule(clips=True, kind="leafwise", axes=True, like=LIKE)
def adaptive_gradient_clip(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    clipping: Annotated[float, Ge(0), Unit(g=1, p=-1)] = 0.01,
    epsilon: Annotated[float, Ge(0), Unit(p=1)] = 1e-3,
    floor: Annotated[float, Gt(0), Unit(g=1)] = 1e-6,
    unit: Which = "output",
    axis: Axis | None = None,
    heads: bool = False,
    layout: Layout | None = None,
) -> tuple[Array, NoState]:
    """``g min(1, clipping max(|p|, epsilon) / |g|)`` with the norms of each unit, as in clip_by_unit_norm.

    A gradient that is clipped is divided by at least ``floor``. The paper does not clip the last layer; to do the same,
    give that layer another recipe. Source: Brock et al. 2021, eq. 3, and its code for floor; optax and timm take other
    axes for units.
    """
    axes = _axes(g.ndim, unit, axis, layout, heads)
    length = norm_along(xp, g, axes)
    limit = clipping * xp.maximum(norm_along(xp, p, axes), epsilon)
    return xp.where(length < limit, g, g * (limit / xp.maximum(length, floor))), s
