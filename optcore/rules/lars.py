"""LARS: momentum whose rate is scaled to the length of each leaf."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge

from optcore.norms import norm
from optcore.rule import Conventions, rule
from optcore.rules.velocity import VelocityState
from optcore.typing import Array, Decay, Epsilon, Namespace, NonNegative, Scalar, Unit

LIKE: Conventions = {"optax": {}, "paper": {"denominator": "sum"}}


@rule(VelocityState, family="layer-wise", kind="leafwise", owns="decay", like=LIKE, title="LARS")
def lars(
    xp: Namespace,
    p: Array,
    g: Array,
    s: VelocityState,
    t: Scalar,
    *,
    lr: NonNegative = 1e-3,
    beta: Decay = 0.9,
    trust_coefficient: NonNegative = 1e-3,
    epsilon: Epsilon = 0.0,
    denominator: Literal["step", "sum"] = "step",
    nesterov: bool = False,
    weight_decay: Annotated[float, Ge(0), Unit(g=1, p=-1)] = 0.0,
) -> tuple[Array, VelocityState]:
    """``w = g + weight_decay p`` at the rate ``lr trust_coefficient |p| / length``, accumulated in a velocity.

    The length is ``|w| + epsilon`` with denominator "step" (optax) and ``|g| + weight_decay |p| + epsilon``
    with "sum" (the paper; timm with epsilon 1e-8). The trust ratio is 1 where a norm is 0.
    Source: You, Gitman & Ginsburg 2017, alg. 1; default denominator of optax.lars.
    """
    w = g + weight_decay * p
    size = norm(xp, p)
    length = norm(xp, w) if denominator == "step" else norm(xp, g) + weight_decay * size
    one = xp.ones_like(size)
    ratio = trust_coefficient * size / xp.where(length == 0, one, length + epsilon)
    ratio = xp.where(size == 0, one, xp.where(length == 0, one, ratio))
    move = lr * ratio * w
    new = beta * s.velocity - move
    return (move - beta * new) if nesterov else -new, VelocityState(new)
