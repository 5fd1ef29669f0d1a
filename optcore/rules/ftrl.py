"""FTRL-Proximal: follow the regularised leader, coordinate by coordinate."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt

from optcore.rule import Conventions, rule
from optcore.scalars import power
from optcore.typing import Array, Epsilon, Namespace, Scalar, Unit

LIKE: Conventions = {"keras": {}, "paper": {"initial_accumulator": 0.0, "beta": 1.0}}
Penalty = Annotated[float, Ge(0), Unit(g=1, p=-1)]


class FtrlState(NamedTuple):
    n: Array  #: sum of squared gradients, at initial_accumulator at the start; unit [g^2]
    z: Array  #: sum of gradients less sigma p, zero at the start; unit [g]


def _start(xp: Namespace, p: Array, *, initial_accumulator: Annotated[float, Ge(0), Unit(g=2)] = 0.1) -> FtrlState:
    zero = xp.zeros_like(p)
    return FtrlState(zero + initial_accumulator, zero)


@rule(FtrlState, family="adaptive", owns="p", init=_start, like=LIKE)
def ftrl(
    xp: Namespace,
    p: Array,
    g: Array,
    s: FtrlState,
    t: Scalar,
    *,
    lr: Annotated[float, Gt(0), Unit(p=1)] = 1e-3,
    beta: Epsilon = 0.0,
    l1: Epsilon = 0.0,
    l2: Penalty = 0.0,
    shrinkage: Penalty = 0.0,
    exponent: float = 0.5,
) -> tuple[Array, FtrlState]:
    """``(clip(z, -l1, l1) - z) / ((n^exponent + beta) / lr + l2)``, exactly 0 where ``|z| <= l1``.

    The rule returns the new p, which it computes from z and n. ``shrinkage`` is a decay that is added to the gradient
    in z, but not in the accumulator n. The units hold for exponent 1/2. Keras' l2 and shrinkage are half of these.
    Source: McMahan et al. 2013, alg. 1, with beta 1 and n from 0; defaults of keras.optimizers.Ftrl.
    """
    n = s.n + g * g
    root = power(xp, n, exponent)
    sigma = (root - power(xp, s.n, exponent)) / lr
    z = s.z + (g + shrinkage * p) - sigma * p
    return (xp.minimum(xp.maximum(z, -l1), l1) - z) / ((root + beta) / lr + l2), FtrlState(n, z)
