"""The learning rate as a link of a chain, for chains in which it does not come last."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, Scalar, Unit


@rule(family="link", owns="lr")
def rate(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, lr: Annotated[float, Ge(0), Unit(g=-1, p=1)] = 1e-2
) -> tuple[Array, NoState]:
    """``lr g``: the links after it work on the displacement, as Keras' momentum and optax' decay do.

    Alone it is gradient descent. lr has the unit [p] over that of the incoming direction. Source: the place of
    scale_by_learning_rate in optax.adafactor.
    """
    return lr * g, s
