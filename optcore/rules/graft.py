"""Grafting: the length of one rule's step, the direction of another's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from optcore.compose import combinator
from optcore.norms import norm
from optcore.rule import Law
from optcore.typing import Array, Namespace, Scalar


class GraftState(NamedTuple):
    length: Any
    direction: Any


@combinator(GraftState, kind="leafwise")
def graft(
    length: Callable[..., Law],
    direction: Callable[..., Law],
    xp: Namespace,
    p: Array,
    g: Array,
    s: GraftState,
    t: Scalar,
) -> Law:
    """The second rule's direction, scaled on each leaf to the length of the first's: ``graft(adagrad, shampoo)``.

    A direction of length 0 stays 0. Source: Agarwal et al. 2020, sec. 2.1; Anil et al. 2020, sec. 3.3.
    """
    long, first = yield from length(xp, p, g, s.length, t)
    d, second = yield from direction(xp, p, g, s.direction, t)
    size = norm(xp, d)
    return norm(xp, long) / xp.where(size == 0, size + 1.0, size) * d, GraftState(first, second)
