"""Adam-mini: one second moment for each block of a leaf."""

from __future__ import annotations

from typing import Literal, NamedTuple

from optcore.moments import denominator, ema
from optcore.norms import inputs
from optcore.rule import rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Layout, Namespace, Scalar

Blocks = Literal["tensor", "row", "element"]


class AdamMiniState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of each block's mean square, axes kept, 0-d for one block, zero at the start; unit [g^2]


def _means(xp: Namespace, x: Array, blocks: str, layout: Layout | None) -> Array:
    axes = inputs(x.ndim, layout)
    if blocks == "tensor":
        return xp.sum(x) if 0 in x.shape else xp.mean(x)
    return xp.mean(x, axis=axes, keepdims=True) if blocks == "row" and axes else x


def _start(xp: Namespace, p: Array, *, blocks: Blocks = "tensor", layout: Layout | None = None) -> AdamMiniState:
    zero = xp.zeros_like(p)
    return AdamMiniState(zero, _means(xp, xp.zeros_like(p), blocks, layout))


@rule(AdamMiniState, family="factored", kind="leafwise", axes=True, lr=1e-3, init=_start)
def adam_mini(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamMiniState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    blocks: Blocks = "tensor",
    layout: Layout | None = None,
) -> tuple[Array, AdamMiniState]:
    """Adam with the mean of ``g * g`` over a block in place of each element's square.

    ``blocks`` makes a block of the whole leaf ("tensor"), of the weights of each output ("row"), or of each element,
    which is Adam. The authors take elements for biases, and rows for embeddings and most matrices.
    Source: Zhang et al. 2024, alg. 1 and 2; zyushun/Adam-mini.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, _means(xp, g * g, blocks, layout))
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    return m / bc1 / denominator(xp, v, bc2, epsilon, 0.0, 0.0), AdamMiniState(m, v)
