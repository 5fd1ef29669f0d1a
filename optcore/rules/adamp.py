"""AdamP: Adam without the part of the step that only lengthens a scale-invariant weight."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge

from optcore.moments import denominator, ema
from optcore.norms import inputs, largest, norm, norm_along
from optcore.rule import rule
from optcore.rules.adam import AdamState
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Layout, Namespace, NonNegative, Scalar, Unit, UnitInterval

Length = Annotated[float, Ge(0), Unit(p=1)]
Inverse = Annotated[float, Ge(0), Unit(p=-1)]


def project(
    xp: Namespace, p: Array, g: Array, d: Array, threshold: Scalar, ratio: Scalar, epsilon: Scalar, epsilon_p: Scalar,
    layout: Layout | None,
) -> tuple[Any, Any]:  # fmt: skip
    """Return the direction without its part along p, and the factor of the decay.

    If every channel's gradient is nearly orthogonal to the channel's weights, the part along each channel is removed.
    Else, if the leaf's gradient is nearly orthogonal to the leaf, the part along the leaf is. Vectors and scalars are
    not changed.
    """
    axes = inputs(p.ndim, layout)
    if not axes:
        return d, 1.0
    found = []
    for along in (axes, tuple(range(p.ndim))):
        length = norm_along(xp, p, along)
        lengths = xp.maximum(length, epsilon_p) * xp.maximum(norm_along(xp, g, along), epsilon)
        cosine = xp.abs(xp.sum(p * g, axis=along, keepdims=True)) / lengths
        size = 1
        for axis in along:
            size *= p.shape[axis]
        unit = p / (length + epsilon_p)
        radial = xp.sum(unit * d, axis=along, keepdims=True)
        found.append((largest(xp, cosine) < threshold * size**-0.5, d - unit * radial))
    (channels, by_channel), (leaf, by_leaf) = found
    one = xp.ones_like(norm(xp, p))
    return xp.where(channels, by_channel, xp.where(leaf, by_leaf, d)), xp.where(channels | leaf, one * ratio, one)


@rule(AdamState, family="adaptive", kind="leafwise", axes=True, owns="decay", lr=1e-3, title="AdamP")
def adamp(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_p: Length = 1e-8,
    threshold: NonNegative = 0.1,
    decay_ratio: UnitInterval = 0.1,
    nesterov: bool = False,
    weight_decay: Inverse = 0.0,
    layout: Layout | None = None,
) -> tuple[Array, AdamState]:
    """Adam's direction less its part along p, for leaves that are taken to be scale-invariant.

    A leaf is if the cosine between gradient and weight, for all channels or for the leaf, is below
    ``threshold / sqrt(size)``. The decay of such a leaf is multiplied by ``decay_ratio``, so the rule owns the decay.
    Source: Heo et al. 2021, alg. 2; clovaai/AdamP.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    look = ema(beta1, m, g) if nesterov else m
    d = look / bc1 / denominator(xp, v, bc2, 0.0, 0.0, epsilon)
    d, ratio = project(xp, p, g, d, threshold, decay_ratio, epsilon, epsilon_p, layout)
    return d + weight_decay * ratio * p, AdamState(m, v)
