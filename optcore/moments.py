"""The algebra that adaptive rules share: averages, epsilon placement, ratios."""

from __future__ import annotations

from typing import Any

from optcore.norms import norm
from optcore.scalars import on
from optcore.typing import Namespace, Scalar

__all__ = ["denominator", "ema", "rms", "trust_ratio"]


def ema(beta: Scalar, old: Any, new: Any) -> Any:
    """``beta * old + (1 - beta) * new``, the exponential moving average."""
    return beta * old + (1.0 - beta) * new


def denominator(xp: Namespace, v: Any, bc2: Scalar, epsilon: Scalar, epsilon_root: Scalar, epsilon_hat: Scalar) -> Any:
    """The root of a second moment, kept away from zero in one of three places.

    ``sqrt(v/bc2 + epsilon_root) + epsilon + epsilon_hat/sqrt(bc2)``: ``epsilon`` after the correction
    (Kingma & Ba alg. 1, torch, optax), ``epsilon_root`` inside the root, ``epsilon_hat`` beside the
    uncorrected root (Kingma & Ba sec. 2, Keras), which is ``sqrt(bc2) / (sqrt(v) + epsilon_hat)`` turned round.
    """
    return xp.sqrt(v / bc2 + epsilon_root) + (epsilon + epsilon_hat / on(xp, bc2).sqrt(bc2))


def rms(xp: Namespace, x: Any) -> Any:
    """The root mean square of a leaf, in its unit; 0 for an empty one."""
    size = 1
    for n in x.shape:
        size *= n
    return norm(xp, x) * (max(size, 1) ** -0.5)


def trust_ratio(xp: Namespace, p: Any, d: Any) -> Any:
    """``|p| / |d|`` over the leaf, 1 where either norm is 0."""
    size, length = norm(xp, p), norm(xp, d)
    one = xp.ones_like(size)
    ratio = size / xp.where(length == 0, one, length)
    return xp.where(size == 0, one, xp.where(length == 0, one, ratio))
