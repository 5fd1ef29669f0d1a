"""Schedule-free AdamW: AdamW that needs no learning-rate schedule, since it averages its iterates."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.moments import denominator, ema
from optcore.rule import Conventions, rule
from optcore.rules.adam import EpsilonRoot
from optcore.rules.schedule_free import Exponent, Steps, averaged, begin, warmed
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, NonNegative, Scalar, Unit

LIKE: Conventions = {"optax": {"late": True}, "keras": {"rate_power": 0.0}, "paper": {}}


class ScheduleFreeAdamwState(NamedTuple):
    z: Array  #: the point that Adam without momentum moves, the parameter at the start; unit [p]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]
    rate: Array  #: largest learning rate so far; unit [p]
    weights: Array  #: sum of the weights of the mean, divided by the power of the newest rate; unit [1]


def start(xp: Namespace, p: Array) -> ScheduleFreeAdamwState:
    z, rate, weights = begin(xp, p)
    return ScheduleFreeAdamwState(z, xp.zeros_like(p), rate, weights)


@rule(ScheduleFreeAdamwState, family="schedule-free", owns="decay", init=start, title="ScheduleFreeAdamW", like=LIKE)
def schedule_free_adamw(
    xp: Namespace,
    p: Array,
    g: Array,
    s: ScheduleFreeAdamwState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(p=1)] = 2.5e-3,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    r: Exponent = 0.0,
    rate_power: NonNegative = 2.0,
    warmup: Steps = 0,
    late: bool = False,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.0,
) -> tuple[Array, ScheduleFreeAdamwState]:
    """``z' = z - lr (g / sqrt(v) + weight_decay y)``; the parameter is y, between z and its weighted mean x.

    With ``late`` the warm-up of z's rate starts at 0, one step after that of the weights, as in optax. Keras' mean is
    the plain one, ``rate_power`` 0. :func:`optcore.rules.schedule_free.evaluation` with ``beta=beta1`` returns x.
    Source: Defazio et al. 2024, alg. 1; facebookresearch/schedule_free.
    """
    v = ema(beta2, s.v, g * g)
    d = g / denominator(xp, v, bias_correction(xp, beta2, t), epsilon, epsilon_root, 0.0) + weight_decay * p
    weighed = warmed(xp, lr, t, warmup)
    rate = warmed(xp, lr, t - 1, warmup) if late else weighed
    step, z, most, weights = averaged(xp, p, d, s, t, rate, weighed, beta1, r, rate_power)
    return step, ScheduleFreeAdamwState(z, v, most, weights)
