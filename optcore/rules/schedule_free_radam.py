"""Schedule-free RAdam, which needs no warm-up."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.moments import denominator, ema, freedom, rectification
from optcore.rule import rule
from optcore.rules.schedule_free import Exponent, averaged
from optcore.rules.schedule_free_adamw import ScheduleFreeAdamwState, start
from optcore.scalars import bias_correction, select
from optcore.typing import Array, Decay, Epsilon, Namespace, NonNegative, Scalar, Unit


@rule(ScheduleFreeAdamwState, family="schedule-free", owns="decay", init=start, title="ScheduleFreeRAdam")
def schedule_free_radam(
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
    r: Exponent = 0.0,
    rate_power: NonNegative = 2.0,
    silent: bool = True,
    plain: Annotated[float, Ge(0), Unit(g=-1)] = 1.0,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.0,
) -> tuple[Array, ScheduleFreeAdamwState]:
    """Schedule-free AdamW whose learning rate is rectified as RAdam's, which acts as a warm-up.

    While the degrees of freedom are four or fewer, nothing moves; without ``silent`` z then takes gradient steps, of
    ``plain`` times the gradient. Source: facebookresearch/schedule_free, RAdamScheduleFree; the rectification of Liu et
    al. 2020, alg. 2.
    """
    v, bc2 = ema(beta2, s.v, g * g), bias_correction(xp, beta2, t)
    have, most = freedom(xp, beta2, t)
    rectified = have > 4.0
    rate = lr * select(xp, rectified, rectification(xp, have, most, rectified), 0.0 if silent else 1.0)
    d = select(xp, rectified, g / denominator(xp, v, bc2, epsilon, 0.0, 0.0), plain * g) + weight_decay * p
    step, z, largest, weights = averaged(xp, p, d, s, t, rate, rate, beta1, r, rate_power)
    return step, ScheduleFreeAdamwState(z, v, largest, weights)
