"""Clipping element by element."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt

from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, Scalar, Unit

Limit = Annotated[float, Gt(0), Unit(g=1)]


@rule()
def clip_by_value(xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, limit: Limit) -> tuple[Array, NoState]:
    """Each element cut to [-limit, limit]; NaN stays NaN. Changes the direction.

    Source: torch.nn.utils.clip_grad_value_, optax.clip, Keras' clipvalue.
    """
    return xp.minimum(xp.maximum(g, -limit), limit), s
