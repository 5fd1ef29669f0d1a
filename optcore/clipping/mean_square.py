"""Clipping by a root mean square (RMS), which unlike a norm does not grow with the number of elements."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.moments import global_rms, rms
from optcore.norms import shrink
from optcore.rule import Law, NoState, rule
from optcore.typing import Array, Namespace, Scalar, Unit

Threshold = Annotated[float, Ge(0), Unit(g=1)]


@rule(clips=True, kind="leafwise")
def clip_by_block_rms(
    xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, threshold: Threshold = 1.0
) -> tuple[Array, NoState]:
    """``g / max(1, RMS(g) / threshold)`` with the RMS of the leaf; in a chain after a rule it clips the update.

    Source: Shazeer & Stern 2018, alg. 4 with d = 1; optax.clip_by_block_rms.
    """
    return g * shrink(xp, rms(xp, g), threshold), s


@rule(clips=True)
def clip_by_global_rms(xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar, *, threshold: Threshold = 1.0) -> Law:
    """``g / max(1, RMS / threshold)`` with the RMS over all elements of all leaves.

    Source: heavyball's global_rmsnorm_clip, which divides by the larger of RMS and threshold: the same at threshold 1.
    """
    size = yield from global_rms(xp, g)
    return g * shrink(xp, size, threshold), s
