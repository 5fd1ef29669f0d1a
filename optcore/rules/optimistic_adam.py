"""Optimistic Adam, for games: the step adds the change of Adam's direction since the previous step."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.moments import denominator, ema
from optcore.rule import Conventions, rule
from optcore.rules.adam import EpsilonRoot
from optcore.scalars import bias_correction, select
from optcore.typing import Array, Decay, Epsilon, Namespace, NonNegative, Scalar, Unit

Rate = Annotated[float, Ge(0), Unit(p=1)]
LIKE: Conventions = {"optax": {"nesterov": True}, "paper": {}}


class OptimisticAdamState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]
    last: Array  #: Adam's direction at the previous step; unit [1]


def directions(
    xp: Namespace, g: Array, s: OptimisticAdamState, t: Scalar, beta1: Scalar, beta2: Scalar, epsilon: Scalar,
    epsilon_root: Scalar, nesterov: bool,
) -> tuple[Array, Array, OptimisticAdamState]:  # fmt: skip
    """Return Adam's or NAdam's direction, its change since the last step, and the new state."""
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    bc1 = bias_correction(xp, beta1, t)
    mean = ema(beta1, m / bias_correction(xp, beta1, t + 1), g / bc1) if nesterov else m / bc1
    d = mean / denominator(xp, v, bias_correction(xp, beta2, t), epsilon, epsilon_root, 0.0)
    return d, d - select(xp, t > 1, s.last, d), OptimisticAdamState(m, v, d)


@rule(OptimisticAdamState, family="adaptive", owns="lr", like=LIKE)
def optimistic_adam(
    xp: Namespace,
    p: Array,
    g: Array,
    s: OptimisticAdamState,
    t: Scalar,
    *,
    lr: Rate = 1e-3,
    optimism: Rate | None = None,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    nesterov: bool = False,
) -> tuple[Array, OptimisticAdamState]:
    """The step ``lr d + optimism (d - last)`` with Adam's direction d; with None ``optimism`` is lr, as in the paper.

    ``nesterov`` takes NAdam's direction, which is optax' default.
    Source: Daskalakis et al. 2018, alg. 1; numbers of Adam.
    """
    d, change, new = directions(xp, g, s, t, beta1, beta2, epsilon, epsilon_root, nesterov)
    return lr * d + (lr if optimism is None else optimism) * change, new


@rule(OptimisticAdamState, family="adaptive", lr=1e-3, like=LIKE)
def optimistic_adam_v2(
    xp: Namespace,
    p: Array,
    g: Array,
    s: OptimisticAdamState,
    t: Scalar,
    *,
    alpha: NonNegative = 1.0,
    beta: NonNegative = 1.0,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    nesterov: bool = False,
) -> tuple[Array, OptimisticAdamState]:
    """The direction ``alpha d + beta (d - last)`` with Adam's d, so that a schedule of lr reaches both terms.

    Source: Daskalakis et al. 2018, alg. 1; the numbers and the name of optax.optimistic_adam_v2.
    """
    d, change, new = directions(xp, g, s, t, beta1, beta2, epsilon, epsilon_root, nesterov)
    return alpha * d + beta * change, new
