"""Clipping and repairing element by element."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.moments import within
from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, Scalar, Unit

Limit = Annotated[float, Ge(0), Unit(g=1)]


@rule(clips=True)
def clip_by_value(xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, limit: Limit) -> tuple[Array, NoState]:
    """The gradient with each element cut to [-limit, limit], which changes its direction; a NaN stays NaN.

    Source: torch.nn.utils.clip_grad_value_, optax.clip, Keras' clipvalue.
    """
    return within(xp, g, limit), s


@rule(clips=True, repairs=True)
def zero_nans(xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar) -> tuple[Array, NoState]:
    """The gradient with zero for each element that is NaN; infinite elements stay. Source: optax.zero_nans."""
    return xp.where(g == g, g, xp.zeros_like(g)), s
