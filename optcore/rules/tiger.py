"""Tiger: the sign of a momentum that can accumulate several gradients, with steps relative to the parameter's size."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt

from optcore.moments import rms
from optcore.norms import largest
from optcore.rule import rule
from optcore.scalars import select
from optcore.typing import Array, Count, Decay, Namespace, NonNegative, Scalar, Unit, UnitInterval

Use = Literal["shape", "gain", "weight", "embedding", "offset", "factor"]

END = r"([/.](raw_)?value)?$"  # nnx stores a parameter's array as ``value`` or ``raw_value`` under its name
NAMES = {
    r"(^|[/.])(weight|scale|gain)" + END: {"use": "gain"},
    r"(?i)(^|[/.])([^/.]*embed(ding)?s?|embed_(tokens|positions)|wte|wpe)([/.]weight)?" + END: {"use": "embedding"},
    r"(^|[/.])[^/.]*gamma[^/.]*" + END: {"use": "factor"},
    r"(^|[/.])[^/.]*(bias|beta)[^/.]*" + END: {"use": "offset"},
}
"""Patterns of leaf paths in torch, JAX' libraries and Keras for the source's classes: gamma, bias, beta, embeddings."""


class TigerState(NamedTuple):
    m: Array  #: EMA of the groups' mean gradients, zero at the start; unit [g]


def _size(xp: Namespace, p: Array, use: Use, half: Scalar) -> Any:
    """Return the length of a step of rate 1: the parameter's RMS, each row's for an embedding, ``half`` for vectors."""
    if use == "embedding" and p.ndim:
        return xp.sqrt(xp.mean(p * p, axis=-1, keepdims=True))
    return half if use in ("offset", "factor") else rms(xp, p)


@rule(TigerState, family="sign", kind="leafwise", axes=True, owns="decay", repairs=True, names=NAMES)
def tiger(
    xp: Namespace,
    p: Array,
    g: Array,
    s: TigerState,
    t: Scalar,
    *,
    lr: NonNegative = 1e-3,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.01,
    beta: Decay = 0.965,
    every: Count = 1,
    shrink: UnitInterval = 0.99,
    use: Use = "shape",
    half: Annotated[float, Ge(0), Unit(p=1)] = 0.5,
    centre: Annotated[float, Gt(0), Unit(p=1)] = 1.0,
) -> tuple[Array, TigerState]:
    """``lr size (sign(m) + weight_decay p)`` once in ``every`` steps, where m has accumulated their gradients.

    ``size`` is RMS(p) for weights, each row's for an "embedding", and ``half`` for an "offset" (bias, beta) and a
    "factor" (gamma), which do not decay. ``use`` is the class of a leaf. By default its name decides, with the source's
    names: bias and beta, gamma, embeddings. This library adds other names of torch, Keras and JAX, such as wte, and
    the class "gain" for names such as weight, scale or gain: a factor if it has at most one axis, else a weight. That
    covers the weights of norms in a Sequential, whose layers have no names, and also the slopes of a PReLU. A leaf
    without a name, as from torch's ``parameters()``, has class "shape": a weight if it has two axes or more, else an
    offset. A gradient with a NaN leaves m unchanged and moves p towards 0, a factor towards ``centre``, by ``shrink``.
    Source: Su 2023 (kexue.fm 9512) and bojone/tiger.
    """
    if use in ("shape", "gain"):
        use = "weight" if p.ndim > 1 else "offset" if use == "shape" else "factor"
    spoilt = largest(xp, xp.where(g == g, xp.zeros_like(g), xp.ones_like(g))) > 0
    first, last = (t - 1) % every == 0, t % every == 0
    kept = xp.where(spoilt, xp.ones_like(s.m), select(xp, first, beta, 1.0) * xp.ones_like(s.m))
    m = kept * s.m + ((1.0 - beta) / every) * xp.where(spoilt, xp.zeros_like(g), g)
    decay = 0.0 if use in ("offset", "factor") else weight_decay
    step = (select(xp, last, lr, 0.0) * _size(xp, p, use, half)) * (xp.sign(m) + decay * p)
    towards = (1.0 - shrink) * (p - (centre if use == "factor" else 0.0))
    return xp.where(spoilt, towards, step), TigerState(m)
