"""Smooth clipping element by element: small elements are kept or grow, large ones are compressed.

Each law is ``scale`` times an odd function of ``x = g / scale``, where scale has the gradient's unit.
"""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge, Gt

from optcore.moments import within
from optcore.rule import NoState, rule
from optcore.scalars import on
from optcore.typing import Array, Namespace, Positive, Scalar, Unit, UnitInterval

Scale = Annotated[float, Gt(0), Unit(g=1)]


def _log1p(xp: Any, x: Any) -> Any:
    """Return ``log(1 + x)`` for x >= 0 with all digits: below 1/4 it is ``2 artanh(z)`` with ``z = x / (2 + x)``."""
    small = xp.where(x < 0.25, x, 0.0 * x)
    z = small / (2.0 + small)
    square, total = z * z, 1.0 / 17.0
    for k in (15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        total = total * square + 1.0 / k
    return xp.where(x < 0.25, 2.0 * z * total, xp.log(1.0 + x))


def _tanh(xp: Namespace, x: Any) -> Any:
    """Return ``tanh(x)`` for x >= 0."""
    e = xp.expm1(-2.0 * x)
    return -e / (2.0 + e)


@rule(clips=True)
def softsign_compress(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, scale: Scale = 1.0
) -> tuple[Array, NoState]:
    """``g / (1 + |g| / scale)``, whose size stays below scale: clip_by_norm_soft applied to each element alone.

    Source: heavyball's softsign_compress; Zhang et al. 2020, eq. 3 element by element.
    """
    return g / (1.0 + xp.abs(g) / scale), s


@rule(clips=True)
def mu_law_compress(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, mu: Positive = 127.0, scale: Scale = 1.0
) -> tuple[Array, NoState]:
    """``scale sign(x) log(1 + mu |x|) / log(1 + mu)`` with ``x = g / scale``: the telephone's mu-law.

    Source: ITU-T G.711; heavyball's mu_law_compress.
    """
    size = xp.abs(g) / scale
    return xp.sign(g) * (scale * (_log1p(xp, mu * size) / _log1p(on(xp, mu), mu))), s


@rule(clips=True)
def a_law_compress(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    a: Annotated[float, Ge(1)] = 87.6,
    scale: Scale = 1.0,
) -> tuple[Array, NoState]:
    """``scale sign(x) F / (1 + log a)`` with ``x = g / scale``, where F is ``a |x|`` up to 1, then ``1 + log(a |x|)``.

    Source: ITU-T G.711; heavyball's a_law_compress.
    """
    y = a * (xp.abs(g) / scale)
    one = xp.ones_like(y)
    whole = 1.0 + on(xp, a).log(a)
    return xp.sign(g) * (scale * ((xp.minimum(y, one) + xp.log(xp.maximum(y, one))) / whole)), s


@rule(clips=True)
def trust_region_clip(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    scale: Scale = 1.5,
    weight: UnitInterval = 0.9,
    limit: Scale = 2.0,
) -> tuple[Array, NoState]:
    """``scale (weight tanh(x) + (1 - weight) sign(x) log(1 + |x|))`` with ``x = g / scale``, cut at limit.

    Source: heavyball's trust_region_clip_, from the authors' PSGD, for whitened gradients of order one.
    """
    size = xp.abs(g) / scale
    d = xp.sign(g) * (scale * (weight * _tanh(xp, size) + (1.0 - weight) * _log1p(xp, size)))
    return within(xp, d, limit), s
