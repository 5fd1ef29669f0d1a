"""Adam: the moving average of the gradient over the root of the moving average of its square."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.moments import denominator, ema
from optcore.rule import rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar, Unit

EpsilonRoot = Annotated[float, Ge(0), Unit(g=2)]


class AdamState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]


@rule(
    AdamState,
    family="adaptive",
    lr=1e-3,
    like={"torch": {"decay": "coupled"}, "optax": {}, "keras": {"epsilon": 0.0, "epsilon_hat": 1e-7}, "paper": {}},
)
def adam(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    epsilon_hat: Epsilon = 0.0,
) -> tuple[Array, AdamState]:
    """The mean gradient over the root of its mean square, both corrected for their start at zero.

    The three epsilons are the three places where libraries keep the denominator from zero.
    Source: Kingma & Ba 2015, alg. 1; ``epsilon_hat`` is the form at the end of sec. 2.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    return m / bc1 / denominator(xp, v, bc2, epsilon, epsilon_root, epsilon_hat), AdamState(m, v)
