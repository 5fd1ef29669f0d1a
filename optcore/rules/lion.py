"""Lion: the sign of a momentum."""

from __future__ import annotations

from typing import NamedTuple

from optcore.rule import rule
from optcore.typing import Array, Decay, Namespace, Scalar


class LionState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]


@rule(
    LionState,
    family="sign",
    lr=1e-4,
    like={"optax": {"weight_decay": 1e-3}, "keras": {"lr": 1e-3, "decay": "before"}, "paper": {}},
)
def lion(
    xp: Namespace, p: Array, g: Array, s: LionState, t: Scalar, *, beta1: Decay = 0.9, beta2: Decay = 0.99
) -> tuple[Array, LionState]:
    """The sign of an average that leans towards the new gradient.

    Source: Chen et al. 2023, alg. 2.
    """
    d = xp.sign(beta1 * s.m + (1 - beta1) * g)
    return d, LionState(m=beta2 * s.m + (1 - beta2) * g)
