"""A constant factor, as a link of a chain."""

from __future__ import annotations

from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, Positive, Scalar


@rule(family="link")
def scale(xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, factor: Positive = 1.0) -> tuple[Array, NoState]:
    """``factor g``: after a rule within a combinator it is that rule's own learning rate. Source: optax.scale."""
    return factor * g, s
