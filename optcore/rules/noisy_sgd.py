"""Gradient descent with added normal noise, whose variance falls from step to step."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.rule import rule
from optcore.scalars import on, power
from optcore.typing import Array, Namespace, Noise, NonNegative, Scalar, Unit


class NoisyState(NamedTuple):
    z: Noise  #: standard normal numbers, made anew for each step; unit [1]


@rule(NoisyState, family="descent", lr=1e-3, title="NoisySGD")
def noisy_sgd(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NoisyState,
    t: Scalar,
    *,
    eta: Annotated[float, Ge(0), Unit(g=2)] = 0.01,
    gamma: NonNegative = 0.55,
) -> tuple[Array, NoisyState]:
    """``g + sqrt(eta / t^gamma) z`` with standard normal z, so that the variance of the noise falls with t.

    Source: Neelakantan et al. 2015, eq. 1, whose t counts from 0 with ``1 + t``; optax.noisy_sgd.
    """
    variance = eta / power(xp, t, gamma)
    return g + on(xp, variance).sqrt(variance) * s.z, s
