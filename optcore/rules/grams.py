"""Grams: the length of a rule's step, the sign of the gradient."""

from __future__ import annotations

from collections.abc import Callable

from optcore.compose import Wrapped, combinator
from optcore.rule import Law
from optcore.typing import Array, Namespace, Scalar


@combinator()
def grams(inner: Callable[..., Law], xp: Namespace, p: Array, g: Array, s: Wrapped, t: Scalar) -> Law:
    """``|d| sign(g)``, element by element: the inner rule decides how far, the gradient in which direction.

    Source: Cao, Li & Song 2024, alg. 1, which is ``grams(adamw)``.
    """
    d, state = yield from inner(xp, p, g, s.inner, t)
    return xp.abs(d) * xp.sign(g), Wrapped(state)
