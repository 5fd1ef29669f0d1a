"""Fromage: steps in proportion to the parameter's own length, and a factor that keeps the length from growing."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.norms import norm
from optcore.rule import NoState, rule
from optcore.scalars import on
from optcore.typing import Array, Namespace, NonNegative, Scalar, Unit


@rule(family="descent", owns="lr", kind="leafwise", like={"optax": {"min_size": 1e-6, "min_length": 1e-6}, "paper": {}})
def fromage(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoState,
    t: Scalar,
    *,
    lr: NonNegative = 0.01,
    min_size: Annotated[float, Ge(0), Unit(p=1)] = 0.0,
    min_length: Annotated[float, Ge(0), Unit(g=1)] = 0.0,
) -> tuple[Array, NoState]:
    """``p' = (p - lr |p|/|g| g) / sqrt(1 + lr^2)``, so that a step across p does not make it longer.

    ``|p|`` counts as at least ``min_size`` and ``|g|`` as at least ``min_length``; the ratio is 1 if one of them is 0.
    Source: Bernstein et al. 2020, alg. 1; optax has 1e-6 for both.
    """
    size, length = xp.maximum(norm(xp, p), min_size), xp.maximum(norm(xp, g), min_length)
    one = xp.ones_like(size)
    ratio = xp.where(size == 0, one, size / xp.where(length == 0, one, length))
    ratio = xp.where(length == 0, one, ratio)
    root = on(xp, lr).sqrt(1.0 + lr * lr)
    shrink = lr * lr / (root * (1.0 + root))  # it equals 1 - 1/root, which would lose the digits of a small lr
    return lr / root * (ratio * g) + shrink * p, s
