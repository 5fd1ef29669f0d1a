"""AdaMuon: an elementwise second moment of Muon's orthogonal direction."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore import moments
from optcore.matrix import orthogonalize
from optcore.moments import ema
from optcore.rule import rule
from optcore.typing import Array, Count, Decay, Epsilon, Namespace, Positive, Scalar


class AdamuonState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared orthogonal direction, zero at the start; unit [1]


@rule(AdamuonState, family="matrix", kind="leafwise", axes=True, ndim=2, lr=0.02, title="AdaMuon")
def adamuon(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamuonState,
    t: Scalar,
    *,
    beta1: Decay = 0.95,
    beta2: Decay = 0.95,
    epsilon: Annotated[float, Ge(0)] = 1e-8,
    sign: bool = True,
    nesterov: bool = False,
    rms: Positive = 0.2,
    epsilon_norm: Epsilon = 1e-7,
    a: float = 3.4445,
    b: float = -4.7750,
    c: float = 2.0315,
    iterations: Count = 5,
) -> tuple[Array, AdamuonState]:
    """The orthogonalized sign of the momentum over the root of its mean square, scaled to RMS ``rms``.

    Without ``sign`` the momentum itself is orthogonalized, as in the paper's first version and its authors' code,
    which has ``nesterov`` too. A bias correction of v would be a constant factor, which the scaling cancels.
    The rule takes matrices only: ``matrices(adamuon, adam)`` gives other leaves to another rule.
    Source: Si et al. 2025, alg. 1; the rate of Chongjie-Si/AdaMuon.
    """
    m = ema(beta1, s.m, g)
    look, every = ema(beta1, m, g) if nesterov else m, [(a, b, c)] * iterations
    o = orthogonalize(xp, xp.sign(look), every, 0.0, 1.0) if sign else orthogonalize(xp, look, every, epsilon_norm)
    v = ema(beta2, s.v, o * o)
    d = o / (xp.sqrt(v) + epsilon)
    size = moments.rms(xp, d)
    return rms / xp.where(size == 0, size + 1.0, size) * d, AdamuonState(m, v)
