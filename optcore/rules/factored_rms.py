"""Adafactor's direction, without its step size."""

from __future__ import annotations

from typing import Literal

from optcore.rule import rule
from optcore.rules.adafactor import AdafactorState, Square, direction, start
from optcore.typing import Array, Count, Limit, Namespace, NonNegative, Positive, Scalar


@rule(AdafactorState, family="factored", kind="leafwise", axes=True, init=start, lr=1e-3, title="FactoredRMS")
def factored_rms(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdafactorState,
    t: Scalar,
    *,
    beta2_decay: Positive = 0.8,
    epsilon1: Square = 1e-30,
    threshold: Limit = 1.0,
    factored: Literal["last", "largest"] = "last",
    min_dim: Count = 1,
    offset: NonNegative = 0.0,
) -> tuple[Array, AdafactorState]:
    """``g / sqrt(V)``, scaled down to an RMS of at most ``threshold``, with a learning rate like any other rule's.

    V is Adafactor's. Source: Shazeer & Stern 2018, alg. 4 without lines 5 and 10; optax.adafactor without
    its parameter scale.
    """
    return direction(xp, g, s, t, beta2_decay, epsilon1, threshold, 0.0, 0.0, factored, min_dim, offset)
