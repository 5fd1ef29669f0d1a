"""ADOPT: Adam that converges with any beta2."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import Conventions, rule
from optcore.scalars import power, select
from optcore.typing import Array, Decay, Epsilon, Namespace, NonNegative, Scalar

LIKE: Conventions = {"paper": {"clipping": False}, "optax": {"decay": "with"}}


class AdoptState(NamedTuple):
    m: Array  #: EMA of the normalised gradient, zero at the start; unit [1]
    v: Array  #: EMA of the squared gradient, the first one's square after the first step; unit [g^2]


@rule(AdoptState, family="adaptive", lr=1e-3, decay="coupled", like=LIKE, title="ADOPT")
def adopt(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdoptState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.9999,
    epsilon: Epsilon = 1e-6,
    clipping: bool = True,
    exponent: NonNegative = 0.25,
    nesterov: bool = False,
) -> tuple[Array, AdoptState]:
    """The mean of ``g / max(sqrt(v), epsilon)`` with the v of the previous step; the first step only sets v.

    ``clipping`` cuts each element of the normalised gradient at ``(t - 1)^exponent``. A decay that is not coupled acts
    in the first step too, which the authors' code skips. Source: Taniguchi et al. 2024, alg. 1, which has no clipping;
    clipping and coupled decay are those of their code (iShohei220/adopt).
    """
    x = g / xp.maximum(xp.sqrt(s.v), epsilon)
    if clipping:
        bound = power(xp, t - 1.0, exponent)
        x = xp.minimum(xp.maximum(x, -bound), bound)
    begun = t > 1
    m = select(xp, begun, ema(beta1, s.m, x), s.m)
    d = select(xp, begun, ema(beta1, m, x), m) if nesterov else m
    return d, AdoptState(m, ema(select(xp, begun, beta2, 0.0), s.v, g * g))
