"""Mechanic: the scale of another rule's steps, found by coin betting at several memories at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt, Le

from optcore.compose import combinator
from optcore.norms import root, squares
from optcore.rule import Law
from optcore.typing import Array, Namespace, NonNegative, Positive, Scalar, Shared, Unit

BETAS = tuple(1.0 - 0.1**i for i in range(1, 7))
N = len(BETAS)


class MechanizeState(NamedTuple):
    start: Array  #: the parameter before the first step; unit [p]
    largest0: Shared  #: fading maximum of |h|, at 0.9; unit [p g]
    largest1: Shared  #: fading maximum of |h|, at 0.99; unit [p g]
    largest2: Shared  #: fading maximum of |h|, at 0.999; unit [p g]
    largest3: Shared  #: fading maximum of |h|, at 0.9999; unit [p g]
    largest4: Shared  #: fading maximum of |h|, at 0.99999; unit [p g]
    largest5: Shared  #: fading maximum of |h|, at 0.999999; unit [p g]
    variance0: Shared  #: fading sum of h^2, at 0.9; unit [p^2 g^2]
    variance1: Shared  #: fading sum of h^2, at 0.99; unit [p^2 g^2]
    variance2: Shared  #: fading sum of h^2, at 0.999; unit [p^2 g^2]
    variance3: Shared  #: fading sum of h^2, at 0.9999; unit [p^2 g^2]
    variance4: Shared  #: fading sum of h^2, at 0.99999; unit [p^2 g^2]
    variance5: Shared  #: fading sum of h^2, at 0.999999; unit [p^2 g^2]
    reward0: Shared  #: fading sum of the bets' gains, at 0.9; unit [p g]
    reward1: Shared  #: fading sum of the bets' gains, at 0.99; unit [p g]
    reward2: Shared  #: fading sum of the bets' gains, at 0.999; unit [p g]
    reward3: Shared  #: fading sum of the bets' gains, at 0.9999; unit [p g]
    reward4: Shared  #: fading sum of the bets' gains, at 0.99999; unit [p g]
    reward5: Shared  #: fading sum of the bets' gains, at 0.999999; unit [p g]
    inner: Any


def _start(inner: Callable[..., Any], xp: Namespace, p: Array) -> MechanizeState:
    nothing = [xp.sum(xp.zeros_like(p)) for _ in range(3 * N)]
    return MechanizeState._make([p, *nothing, inner(xp, p)])


def _scale(xp: Namespace, bets: Sequence[Sequence[Any]], first: Scalar, epsilon: Scalar) -> tuple[list[Any], Any]:
    """Return the scale of each bettor, which is ``first`` before it has seen a step, and the sum of the scales."""
    scales = []
    for largest, variance, reward in bets:
        wealth = first / len(bets) * largest + xp.maximum(reward, xp.zeros_like(reward))
        fresh = largest == 0
        scales.append(xp.where(fresh, xp.ones_like(wealth) * first, wealth / (xp.sqrt(variance) + epsilon)))
    total = scales[0]
    for each in scales[1:]:
        total = total + each
    return scales, total


@combinator(MechanizeState, init=_start)
def mechanize(
    inner: Callable[..., Law],
    xp: Namespace,
    p: Array,
    g: Array,
    s: MechanizeState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(p=1, d=-1)] = 1.0,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1, d=1)] = 0.0,
    pull: NonNegative = 1e-2,
    first_scale: Positive = 1e-6,
    bets: Annotated[int, Ge(1), Le(6)] = 6,
    epsilon: Annotated[float, Gt(0), Unit(p=1, g=1)] = 1e-8,
    size_epsilon: Annotated[float, Ge(0), Unit(p=1)] = 1e-8,
    scale_epsilon: NonNegative = 1e-8,
) -> Law:
    """``p' = start - S moved``, where ``moved`` sums the inner rule's steps ``lr (d + weight_decay p)``.

    S is the sum of the scales of ``bets`` coin bettors with memories 0.9, 0.99, ... They bet on ``h = <g, moved>`` over
    all leaves, where a part along p, of ``pull S`` times the length of g, is added to g. lr keeps the shape of the
    inner rule's schedule; its size does not matter, since S adapts.
    Source: Cutkosky, Defazio & Mehta 2023, alg. 1 with the clipped h of optax.contrib.mechanize, whose single epsilon
    is used in three units.
    """
    old = [s[1 + i : 1 + 3 * N : N] for i in range(bets)]
    scales, total = _scale(xp, old, first_scale, epsilon)
    moved = (s.start - p) / (total + scale_epsilon)
    d, state = yield from inner(xp, p, g, s.inner, t)
    aligned, along, *parts = yield xp.sum(g * moved), xp.sum(p * moved), *squares(xp, g), *squares(xp, p)
    length, size = root(xp, *parts[:3]), root(xp, *parts[3:]) + size_epsilon
    h = aligned + pull * total * length / xp.where(size == 0, xp.ones_like(size), size) * along
    new = []
    for beta, scale, (largest, variance, reward) in zip(BETAS[:bets], scales, old, strict=True):
        clipped = xp.maximum(xp.minimum(h, largest), -largest)
        new.append((
            xp.maximum(beta * largest, xp.abs(h) + epsilon),
            beta * beta * variance + h * h,
            beta * reward + clipped * scale,
        ))  # fmt: skip
    _, scaled = _scale(xp, new, first_scale, epsilon)
    moved = moved + lr * (d + weight_decay * p)
    kept = [x for k in range(3) for x in (*(bet[k] for bet in new), *s[1 + k * N + bets : 1 + k * N + N])]
    return p - s.start + scaled * moved, MechanizeState._make([s.start, *kept, state])
