"""Lookahead: every few steps a rule's weights are pulled back towards slow weights, which follow them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from optcore.compose import Inner, combinator
from optcore.rule import Law
from optcore.scalars import select
from optcore.typing import Array, Count, Namespace, Scalar, UnitInterval


class LookaheadState(NamedTuple):
    slow: Array  #: the slow weights, a copy of p at the start; unit [p]
    inner: Any


def _start(inner: Callable[..., Any], xp: Namespace, p: Array) -> LookaheadState:
    return LookaheadState(p, inner(xp, p))


def drawn_back(
    xp: Namespace, p: Array, step: Array, slow: Array, t: Any, interval: int, alpha: Scalar
) -> tuple[Array, Array]:
    """Return the displacement to be subtracted from p, and the new slow weights.

    Every ``interval`` steps both p and the slow weights are set to ``slow + alpha (p - slow)``.
    """
    meets = t % interval == 0
    nearer = slow + alpha * ((p - step) - slow)
    return select(xp, meets, p - nearer, step), select(xp, meets, nearer, slow)


@combinator(LookaheadState, init=_start, steps=True)
def lookahead(
    inner: Inner,
    xp: Namespace,
    p: Array,
    g: Array,
    s: LookaheadState,
    t: Scalar,
    *,
    interval: Count = 5,
    alpha: UnitInterval = 0.5,
) -> Law:
    """Every ``interval`` steps ``slow += alpha (p - slow)``, and p starts again from the slow weights.

    Every step of p is the inner rule's own, with its learning rate and decay.
    Source: Zhang et al. 2019, alg. 1 and their defaults.
    """
    (_, step), state = yield from inner.step(xp, p, g, s.inner, t)
    back, slow = drawn_back(xp, p, -step, s.slow, t, interval, alpha)
    return back, LookaheadState(slow, state)
