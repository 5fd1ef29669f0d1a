"""The trust ratio of layer-wise adaptive rates, as a link of a chain."""

from __future__ import annotations

from optcore import moments
from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, Scalar


@rule(family="link", kind="leafwise")
def trust_ratio(xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar) -> tuple[Array, NoState]:
    """``g |p| / |g|``: the direction scaled to the length of the parameter, or g itself if a norm is 0.

    ``chain(adam, trust_ratio)`` is LAMB with the decay outside the ratio, as Keras has it.
    Source: You et al. 2020, alg. 2 with phi the identity.
    """
    return moments.trust_ratio(xp, p, g) * g, s
