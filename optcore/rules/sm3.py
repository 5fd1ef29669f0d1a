"""SM3: Adagrad whose state is a vector for each axis in place of a number for each element."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from annotated_types import Ge

from optcore.moments import ema
from optcore.rule import rule
from optcore.scalars import select
from optcore.typing import Array, Decay, Namespace, Scalar, Unit, UnitInterval

AXES = 5


class SM3State(NamedTuple):
    m: Array  #: EMA of the direction, zero at the start; unit [1]
    axis0: Array  #: largest second moment over all axes but the first, axes kept; unit [g^2]
    axis1: Array  #: the same of the second axis, 0-d for leaves without one; unit [g^2]
    axis2: Array  #: the same of the third axis; unit [g^2]
    axis3: Array  #: the same of the fourth axis; unit [g^2]
    axis4: Array  #: the same of all further axes together; unit [g^2]


def _folded(xp: Namespace, x: Array) -> Array:
    """Return a leaf as an array of one to five axes; further axes are merged into the fifth."""
    if 0 < x.ndim <= AXES:
        return x
    rest = 1
    for n in x.shape[AXES - 1 :]:
        rest *= n
    return xp.reshape(x, (*x.shape[: AXES - 1], rest) if x.ndim else (1,))


def _largest(xp: Namespace, x: Array, axis: int) -> Array:
    for other in range(x.ndim):
        x = x if other == axis else xp.max(x, axis=other, keepdims=True)
    return x


def _start(xp: Namespace, p: Array) -> SM3State:
    zero = _folded(xp, xp.zeros_like(p))
    axes = [_largest(xp, zero, i) + 0.0 if i < zero.ndim else xp.sum(zero) for i in range(AXES)]
    return SM3State(xp.zeros_like(p), *axes)


@rule(
    SM3State,
    family="factored",
    kind="leafwise",
    axes=True,
    init=_start,
    lr=0.1,
    title="SM3",
    like={"optax": {"epsilon_root": 1e-8}},
)
def sm3(
    xp: Namespace,
    p: Array,
    g: Array,
    s: SM3State,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: UnitInterval = 1.0,
    epsilon_root: Annotated[float, Ge(0), Unit(g=2)] = 0.0,
) -> tuple[Array, SM3State]:
    """A moving average of ``g / sqrt(v)``, where v is ``g^2`` plus the smallest of the numbers stored for the element.

    Each axis stores, for each of its indices, the largest v there; an element has one such number from every axis.
    With ``beta2`` of 1 squares are summed; with a smaller one they are averaged as ``beta2 v + (1 - beta2) g^2``. 0/0
    is 0. Source: Anil et al. 2019, alg. SM3-II; optax adds 1e-8 in the root.
    """
    x = _folded(xp, g)
    memory: list[Any] = list(s[1 : 1 + x.ndim])
    least = memory[0]
    for each in memory[1:]:
        least = xp.minimum(least, each)
    v = beta2 * least + select(xp, beta2 == 1, 1.0, 1.0 - beta2) * (x * x)
    none = v == 0
    d = xp.where(none, xp.zeros_like(x), x / xp.sqrt(xp.where(none, xp.ones_like(v), v + epsilon_root)))
    m = ema(beta1, s.m, xp.reshape(d, g.shape))
    new = [_largest(xp, v, i) if i < x.ndim else s[1 + i] for i in range(AXES)]
    return m, SM3State(m, *new)
