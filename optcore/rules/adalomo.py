"""AdaLOMO: Adafactor's direction, scaled by the size of the parameter."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.moments import rms
from optcore.rule import rule
from optcore.rules.adafactor import AdafactorState, Square, direction, start
from optcore.typing import Array, Limit, Namespace, Positive, Scalar, Unit


def _start(xp: Namespace, p: Array) -> AdafactorState:
    return start(xp, p)


@rule(
    AdafactorState, family="factored", kind="leafwise", axes=True, owns="decay", init=_start, lr=1e-3, title="AdaLOMO"
)
def adalomo(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdafactorState,
    t: Scalar,
    *,
    beta2_decay: Positive = 0.8,
    epsilon1: Square = 1e-30,
    epsilon2: Annotated[float, Ge(0), Unit(p=1)] = 1e-3,
    threshold: Limit = 1.0,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.0,
) -> tuple[Array, AdafactorState]:
    """``max(epsilon2, RMS(p)) (d + weight_decay p)`` with d Adafactor's direction, cut to RMS ``threshold``.

    The decay is multiplied by the size of the parameter too, so the rule owns it.
    Source: Lv et al. 2024b, alg. 1; defaults of pytorch_optimizer.
    """
    d, new = direction(xp, g, s, t, beta2_decay, epsilon1, threshold, 0.0, 0.0, "last", 1, 0.0)
    return xp.maximum(rms(xp, p), epsilon2) * (d + weight_decay * p), new
