"""AdaMax: Adam with a decaying maximum of the gradient's size in place of its root mean square."""

from __future__ import annotations

from typing import NamedTuple

from optcore.moments import ema
from optcore.rule import Conventions, rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar

LIKE: Conventions = {
    "torch": {"decay": "coupled"},
    "optax": {},
    "keras": {"epsilon": 0.0, "epsilon_outside": 1e-7, "lr": 1e-3, "decay": "before"},
    "paper": {"epsilon": 0.0},
}


class AdamaxState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    u: Array  #: decaying maximum of the gradient's size, zero at the start; unit [g]


@rule(AdamaxState, family="adaptive", lr=2e-3, like=LIKE)
def adamax(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamaxState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_outside: Epsilon = 0.0,
) -> tuple[Array, AdamaxState]:
    """The corrected mean gradient over ``u = max(beta2 u, |g| + epsilon)``.

    ``epsilon_outside`` is added to u in the denominator and does not enter the state, as in Keras.
    Source: Kingma & Ba 2015, alg. 2, which has no epsilon; that of torch.optim.Adamax.
    """
    m, u = ema(beta1, s.m, g), xp.maximum(beta2 * s.u, xp.abs(g) + epsilon)
    return m / bias_correction(xp, beta1, t) / (u + epsilon_outside), AdamaxState(m, u)
