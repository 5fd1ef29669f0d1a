"""A decay that is a link of a chain, where it does not belong to the leaf template."""

from __future__ import annotations

from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, NonNegative, Scalar


@rule()
def decayed_weights(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, rate: NonNegative = 0.0
) -> tuple[Array, NoState]:
    """``g + rate p``: behind a link that owns the learning rate, a decay that is not multiplied by it.

    ``rate`` has the unit of the direction over [p]. Source: optax.add_decayed_weights.
    """
    return g + rate * p, s
