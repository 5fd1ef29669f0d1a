"""NovoGrad: momentum of gradients that are divided by the average norm of their leaf."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.moments import ema
from optcore.norms import norm
from optcore.rule import rule
from optcore.rules.adam import EpsilonRoot
from optcore.scalars import select
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar, Unit


class NovogradState(NamedTuple):
    m: Array  #: decaying sum of the normalised gradients plus weight decay; unit [1]
    v: Array  #: EMA of the gradient's squared norm, one number for a leaf; unit [g^2]


def _start(xp: Namespace, p: Array) -> NovogradState:
    zero = xp.zeros_like(p)
    return NovogradState(zero, xp.sum(zero))


@rule(
    NovogradState,
    family="adaptive",
    kind="leafwise",
    owns="decay",
    init=_start,
    lr=1e-3,
    title="NovoGrad",
    like={"optax": {"beta1": 0.9, "beta2": 0.25, "epsilon": 1e-6}, "paper": {}},
)
def novograd(
    xp: Namespace,
    p: Array,
    g: Array,
    s: NovogradState,
    t: Scalar,
    *,
    beta1: Decay = 0.95,
    beta2: Decay = 0.98,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    averaging: bool = False,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.0,
) -> tuple[Array, NovogradState]:
    """``m = beta1 m + (g / sqrt(v) + weight_decay p)`` with v the mean squared norm of the leaf's gradient.

    At the first step v is ``|g|^2`` and m the normalised gradient plus decay. With ``averaging`` the later ones are
    multiplied by ``1 - beta1``. The decay goes into the momentum, so the rule owns it.
    Source: Ginsburg et al. 2019, alg. 1.
    """
    n = norm(xp, g)
    v = select(xp, t > 1, ema(beta2, s.v, n * n), n * n)
    scaled = g / (xp.sqrt(v + epsilon_root) + epsilon) + weight_decay * p
    m = beta1 * s.m + select(xp, t > 1, 1.0 - beta1 if averaging else 1.0, 1.0) * scaled
    return m, NovogradState(m, v)
