"""Shampoo: a matrix preconditioner for each axis."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Gt

from optcore.matrix import axes_of, eigenbasis, folded, inverse_root, unfolded
from optcore.moments import ema
from optcore.norms import norm
from optcore.rule import Refresh, rule
from optcore.typing import Array, Count, Decay, Namespace, Scalar, Unit

Square = Annotated[float, Gt(0), Unit(g=2)]
AXES = 4


class ShampooState(NamedTuple):
    first: Array  #: sum or EMA of the gram matrices of the first axis; unit [g^2]
    second: Array  #: the same of the second axis, 0-d for leaves without one; unit [g^2]
    third: Array  #: the same of the third axis, 0-d for leaves without one; unit [g^2]
    fourth: Array  #: the same of all further axes as one, 0-d for leaves without them; unit [g^2]
    size: Array  #: the number by which matrices were divided before their roots, set at the first step; unit [g^2]
    first_root: Array  #: (first / size)^(-1/2k), set at the first step; unit [1]
    second_root: Array  #: the root of the second axis, 0-d for leaves without one; unit [1]
    third_root: Array  #: the root of the third axis, 0-d for leaves without one; unit [1]
    fourth_root: Array  #: the root of all further axes as one, 0-d for leaves without them; unit [1]


def _gathered(xp: Namespace, g: Array, s: ShampooState, beta: Scalar | None) -> list[Array]:
    """Return the gram matrices of all axes with those of this gradient added to them."""
    g = xp.reshape(g, axes_of(g, AXES))
    flat = [unfolded(xp, g, axis) for axis in range(g.ndim)]
    return [
        old + x @ xp.matrix_transpose(x) if beta is None else ema(beta, old, x @ xp.matrix_transpose(x))
        for old, x in zip(s[: g.ndim], flat, strict=True)
    ]


def _start(xp: Namespace, p: Array) -> ShampooState:
    zero = xp.reshape(xp.zeros_like(p), axes_of(p, AXES))
    nothing = [xp.sum(zero) for _ in range(2 * (AXES - zero.ndim) + 1)]
    flat = [unfolded(xp, zero, axis) for axis in range(zero.ndim)]
    squares, roots = ([x @ xp.matrix_transpose(x) for x in flat] for _ in range(2))
    absent = AXES - zero.ndim
    return ShampooState._make([*squares, *nothing[: absent + 1], *roots, *nothing[absent + 1 :]])


def _roots(
    xp: Namespace, p: Array, g: Array, s: ShampooState, t: Scalar, *, beta: Decay | None, epsilon: Square
) -> ShampooState:
    statistics = _gathered(xp, g, s, beta)
    size = norm(xp, statistics[0]) + epsilon
    parts = [x / size for x in statistics]
    found = [inverse_root(xp, x, eigenbasis(xp, x), epsilon / size, 2 * len(parts)) for x in parts]
    return ShampooState._make([*s[:AXES], size, *found, *s[AXES + 1 + len(found) :]])


@rule(
    ShampooState,
    family="matrix",
    kind="leafwise",
    axes=True,
    init=_start,
    refresh=Refresh(_roots, "interval"),
    lr=1e-3,
    decay="coupled",
)
def shampoo(
    xp: Namespace,
    p: Array,
    g: Array,
    s: ShampooState,
    t: Scalar,
    *,
    beta: Decay | None = None,
    epsilon: Square = 1e-6,
    interval: Count = 1,
) -> tuple[Array, ShampooState]:
    """The gradient times ``(L + epsilon I)^(-1/2k)`` along each of its k axes, L the sum of its gram matrices there.

    With a ``beta`` L is their moving average. The roots are computed at steps 1, 1 + interval, ...; they are roots of
    ``L / size``, and the direction is divided by ``sqrt(size)`` once. Axes from the fourth on count as one.
    ``graft`` gives the direction the length of another rule's.
    Source: Gupta et al. 2018, alg. 2; the averages of Anil et al. 2020.
    """
    statistics = _gathered(xp, g, s, beta)
    d = xp.reshape(g, axes_of(g, AXES))
    n = d.shape
    for axis, root in enumerate(s[AXES + 1 : AXES + 1 + len(n)]):
        d = folded(xp, root @ unfolded(xp, d, axis), n, axis)
    d = xp.reshape(d, g.shape) / xp.sqrt(s.size)
    return d, ShampooState._make([*statistics, *s[len(statistics) :]])
