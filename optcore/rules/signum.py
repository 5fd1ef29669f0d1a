"""Signum: the sign of the momentum."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import rule
from optcore.typing import Array, Decay, Namespace, Scalar


class SignumState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]


@rule(SignumState, family="sign", lr=1e-3)
def signum(
    xp: Namespace, p: Array, g: Array, s: SignumState, t: Scalar, *, beta: Decay = 0.9
) -> tuple[Array, SignumState]:
    """The sign of the momentum; with ``beta=0`` it is signSGD.

    Source: Bernstein et al. 2018, alg. 2.
    """
    m = ema(beta, s.m, g)
    return xp.sign(m), SignumState(m)
