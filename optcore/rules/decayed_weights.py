"""Weight decay as a link of a chain, for places that the leaf template does not offer."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, Scalar, Unit

Rate = Annotated[float, Ge(0), Unit(g=1, p=-1)]


@rule(family="link")
def decayed_weights(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, rate: Rate = 0.0
) -> tuple[Array, NoState]:
    """``g + rate p``: after a link that owns the learning rate it is a decay that is not multiplied by the rate.

    ``rate`` has the unit of the incoming direction over [p]. Source: optax.add_decayed_weights.
    """
    return g + rate * p, s
