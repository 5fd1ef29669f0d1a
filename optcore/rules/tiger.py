"""Tiger: the sign of a momentum that gathers gradients too, in steps relative to the parameter's size."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt

from optcore.moments import rms
from optcore.norms import largest
from optcore.rule import rule
from optcore.scalars import select
from optcore.typing import Array, Count, Decay, Namespace, NonNegative, Scalar, Unit, UnitInterval

Use = Literal["shape", "gain", "weight", "embedding", "offset", "factor"]

END = r"([/.](raw_)?value)?$"  # nnx keeps a parameter's array under its name
NAMES = {
    r"(^|[/.])(weight|scale|gain)" + END: {"use": "gain"},
    r"(?i)(^|[/.])([^/.]*embed(ding)?s?|embed_(tokens|positions)|wte|wpe)([/.]weight)?" + END: {"use": "embedding"},
    r"(^|[/.])[^/.]*gamma[^/.]*" + END: {"use": "factor"},
    r"(^|[/.])[^/.]*(bias|beta)[^/.]*" + END: {"use": "offset"},
}
"""The classes of the source (gamma, bias and beta, embeddings), with what torch, JAX' libraries and Keras call them."""


class TigerState(NamedTuple):
    m: Array  #: EMA of the groups' mean gradients, zero at the start; unit [g]


def _size(xp: Namespace, p: Array, use: Use, half: Scalar) -> Any:
    """What a step of rate 1 is measured by: the parameter's RMS, a row's for an embedding, ``half`` for vectors."""
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
    """``lr size (sign(m) + weight_decay p)`` once in ``every`` steps, whose gradients m has gathered by then.

    ``size`` is RMS(p) for weights, each row's for an "embedding", and ``half`` for an "offset" (bias, beta) and a
    "factor" (gamma), which do not decay. "shape" takes leaves of two axes and more for weights, others for offsets,
    but where a leaf has a name it is the name's class, as the source has it: bias and beta, gamma, embeddings. Ours
    is that torch's, Keras' and JAX' other names count too, as wte, and that a weight, scale or gain is a "gain", a
    factor of at most one axis, else a weight: so are the weights of norms in a Sequential, whose layers have no
    names, and also the slopes of a PReLU. Without any name, as behind torch's ``parameters()``, axes alone decide.
    A gradient with a NaN leaves m and draws p towards 0, a factor towards ``centre``, by ``shrink``.
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
