"""Noise for differential privacy; ``optcore.clipping.per_example_mean`` gives the clipped gradient it is added to."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.rule import rule
from optcore.typing import Array, Namespace, Noise, Scalar, Unit


class GaussianState(NamedTuple):
    z: Noise  #: standard normal numbers, made anew for each step; unit [1]


@rule(GaussianState, clips=True)
def gaussian_noise(
    xp: Namespace,
    p: Array,
    g: Array,
    s: GaussianState,
    t: Scalar,
    *,
    deviation: Annotated[float, Ge(0), Unit(g=1)],
) -> tuple[Array, GaussianState]:
    """``g + deviation z`` with standard normal numbers z: the Gaussian mechanism.

    For a mean of B gradients with norms of at most C, ``deviation`` is C times the noise multiplier, divided by B.
    Source: Abadi et al. 2016, alg. 1; optax.contrib.differentially_private_aggregate.
    """
    return g + deviation * s.z, s
