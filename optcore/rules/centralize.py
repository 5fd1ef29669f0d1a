"""Gradient centralization, as a link of a chain: it subtracts the mean of the gradient over each unit."""

from __future__ import annotations

from typing import Literal

from optcore.norms import inputs
from optcore.rule import NoState, rule
from optcore.typing import Array, Count, Layout, Namespace, Scalar

Unit = Literal["output", "first", "last"]


@rule(
    family="link",
    kind="leafwise",
    axes=True,
    like={"optax": {"unit": "first"}, "torch": {"unit": "first"}, "paper": {}},
)
def centralize(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    unit: Unit = "output",
    min_ndim: Count = 2,
    layout: Layout | None = None,
) -> tuple[Array, NoState]:
    """The gradient less its mean over each unit's weights: ``chain(centralize, sgd)`` keeps every unit's mean.

    There is one unit for each index of the leaf's output axis; ``unit`` may name the first or last axis instead,
    whatever the layout. Leaves of fewer than ``min_ndim`` axes are not changed, so that 4 centralizes convolutions
    only. As a link after a rule it centralizes that rule's direction.
    Source: Yong et al. 2020, eq. 1; optax.centralize takes the first axis in any layout.
    """
    if g.ndim < max(min_ndim, 2):
        return g, s
    axes = inputs(g.ndim, {"output": layout, "first": "out_in", "last": "in_out"}[unit])
    return g - xp.mean(g, axis=axes, keepdims=True), s
