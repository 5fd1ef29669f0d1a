"""AggMo: the mean of several momenta with different decays."""

from __future__ import annotations

from typing import NamedTuple

from optcore.rule import rule
from optcore.typing import Array, Decay, Namespace, Scalar


class AggmoState(NamedTuple):
    fast: Array  #: decaying sum of gradients by beta1, zero at the start; unit [g]
    middle: Array  #: decaying sum of gradients by beta2, zero at the start; unit [g]
    slow: Array  #: decaying sum of gradients by beta3, zero at the start; unit [g]


@rule(AggmoState, family="descent", lr=1e-3, decay="coupled", title="AggMo")
def aggmo(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AggmoState,
    t: Scalar,
    *,
    beta1: Decay = 0.0,
    beta2: Decay = 0.9,
    beta3: Decay = 0.99,
) -> tuple[Array, AggmoState]:
    """The mean of three momenta in their sum form, of which the fast ones damp the oscillations of the slow one.

    Source: Lucas et al. 2019, eq. 3, with their three betas ``1 - 10^-k``; AtheMathmo/AggMo.
    """
    fast, middle, slow = beta1 * s.fast + g, beta2 * s.middle + g, beta3 * s.slow + g
    return (fast + middle + slow) / 3.0, AggmoState(fast, middle, slow)
