"""Kron: the gradient whitened by a Kronecker product of matrices, which are fitted during training."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Gt, Lt

from optcore.matrix import axes_of, folded, identity, over_triangle, spectral_floor, unfolded
from optcore.moments import ema, rms
from optcore.rule import Refresh, rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Count, Decay, Epsilon, Namespace, Noise, NonNegative, Positive, Scalar, Unit

AXES = 4
Diagonal = Literal["none", "one", "smart_one", "all"]
Scale = Annotated[float, Gt(0), Unit(g=Fraction(-1, 2))]


class KronState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    first: Array  #: factor of the first axis, triangular or a diagonal, scale at the start; unit [g^-0.5]
    second: Array  #: factor of the second axis, largest element 1, 0-d without that axis; unit [1]
    third: Array  #: factor of the third axis, largest element 1, 0-d without that axis; unit [1]
    fourth: Array  #: factor of all further axes as one, largest element 1, 0-d without them; unit [1]
    z: Noise  #: standard normal noise, with which the whitened gradient is compared; unit [1]


def _start(
    xp: Namespace, p: Array, *, scale: Scale = 1.0, diagonal: Diagonal = "none", max_size: Count = 8192,
    min_ndim: Count = 2,
) -> KronState:  # fmt: skip
    zero = xp.reshape(xp.zeros_like(p), n := axes_of(p, AXES))
    longest = max(range(len(n)), key=lambda i: (n[i], i))
    one = diagonal == "one" or (diagonal == "smart_one" and sum(size == n[longest] for size in n) == 1)
    factors = []
    for axis, size in enumerate(n):
        x = unfolded(xp, zero, axis)
        vector = size == 1 or size > max_size or p.ndim < min_ndim or diagonal == "all" or (one and axis == longest)
        factors.append(xp.sum(x, axis=1) + 1.0 if vector else identity(xp, x @ xp.matrix_transpose(x)))
    absent = [xp.sum(zero) for _ in range(AXES - len(n))]
    return KronState._make([xp.zeros_like(p), scale * factors[0], *factors[1:], *absent, xp.zeros_like(p)])


def _factors(s: KronState) -> list[Array]:
    found = [q for q in s[1:-1] if q.ndim]
    return found if all(q.shape[0] for q in found) else []  # a leaf without elements has no factors to fit


def _along(xp: Namespace, q: Array, x: Array, axis: int) -> Any:
    """Return the tensor with a factor applied along one axis."""
    flat = unfolded(xp, x, axis)
    return folded(xp, xp.reshape(q, (q.shape[0], 1)) * flat if q.ndim == 1 else q @ flat, x.shape, axis)


def _unapplied(xp: Namespace, q: Array, x: Array, axis: int) -> Any:
    """Return the tensor with the inverse of the transposed factor applied along one axis."""
    if q.ndim == 1:
        return _along(xp, 1.0 / q, x, axis)
    flat = over_triangle(xp, xp.matrix_transpose(unfolded(xp, x, axis)), q)
    return folded(xp, xp.matrix_transpose(flat), x.shape, axis)


def _fitted(
    xp: Namespace, p: Array, g: Array, s: KronState, t: Scalar, *, beta: Scalar, precondition_lr: Scalar,
    epsilon: Scalar, of_momentum: bool,
) -> KronState:  # fmt: skip
    """Move every factor by one step towards ``E[a a^T] = E[b b^T]``, with a = Q g and b = Q^-T z."""
    a = ema(beta, s.m, g) / bias_correction(xp, beta, t) if of_momentum else g
    a, b = (xp.reshape(x, axes_of(x, AXES)) for x in (a, s.z))
    for axis, q in enumerate(_factors(s)):
        a, b = _along(xp, q, a, axis), _unapplied(xp, q, b, axis)
    new = []
    for axis, q in enumerate(_factors(s)):
        x, y = unfolded(xp, a, axis), unfolded(xp, b, axis)
        if q.ndim == 1:
            x, y = xp.sum(x * x, axis=1), xp.sum(y * y, axis=1)
            step = (x - y) / (xp.max(x + y) + epsilon) * q
        else:
            x, y = x @ xp.matrix_transpose(x), y @ xp.matrix_transpose(y)
            step = xp.triu(x - y) / (spectral_floor(xp, x + y) + epsilon) @ q
        new.append(q - precondition_lr * step)
    for axis in range(1, len(new)):
        size = xp.max(xp.abs(new[axis]))
        new[0], new[axis] = new[0] * size, new[axis] / size
    return s._replace(**dict(zip(KronState._fields[1:], new, strict=False)))


@rule(
    KronState, family="matrix", kind="leafwise", axes=True, init=_start, refresh=Refresh(_fitted, "interval"), lr=1e-3
)
def kron(
    xp: Namespace,
    p: Array,
    g: Array,
    s: KronState,
    t: Scalar,
    *,
    beta: Decay = 0.9,
    precondition_lr: Annotated[float, Gt(0), Lt(1)] = 0.1,
    epsilon: Epsilon = 2.0**-126,
    interval: Count = 1,
    limit: Positive | None = 1.1,
    epsilon_limit: NonNegative = 1e-6,
    of_momentum: bool = True,
) -> tuple[Array, KronState]:
    """The corrected momentum times ``Q^T Q``, Q a Kronecker product of a factor for each axis, cut to RMS ``limit``.

    Q is fitted at the steps 1, 1 + interval, ... so that ``Q g`` and ``Q^-T z`` of normal noise z have the same second
    moment: ``Q^T Q`` nears ``E[g g^T]^(-1/2)`` of the momentum, or of the gradient without ``of_momentum``. An axis has
    a diagonal factor if it is longer than ``max_size`` or of length 1, or its leaf has fewer than ``min_ndim`` axes; so
    has the longest with ``diagonal="one"`` ("smart_one": if no other is as long), and every axis with "all". Axes from
    the fourth on count as one. A number moved from one factor to another changes nothing, so the largest element of
    all but the first is kept at 1; the sources balance norms at random. They fit with a probability, 1 for 500 steps
    and then falling to 0.03, for which ``interval`` stands here, and decay matrices only.
    Source: Li 2018 and 2022; lixilinx/psgd_torch, whose numbers pytorch_optimizer has.
    """
    m = ema(beta, s.m, g)
    d = xp.reshape(m / bias_correction(xp, beta, t), axes_of(m, AXES))
    for axis, q in enumerate(_factors(s)):
        d = _along(xp, q if q.ndim == 1 else xp.matrix_transpose(q), _along(xp, q, d, axis), axis)
    if limit is not None:
        d = d * xp.minimum(limit / (rms(xp, d) + epsilon_limit), 1.0)
    return xp.reshape(d, g.shape), s._replace(m=m)
