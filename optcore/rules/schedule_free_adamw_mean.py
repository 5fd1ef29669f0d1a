"""Schedule-free AdamW with the plain mean, which needs no state for the weights of the mean."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.moments import denominator, ema
from optcore.rule import rule
from optcore.rules.schedule_free import Steps, warmed
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar, Unit


class ScheduleFreeAdamwMeanState(NamedTuple):
    z: Array  #: the point that Adam without momentum moves, the parameter at the start; unit [p]
    v: Array  #: EMA of the squared gradient, zero at the start; unit [g^2]


def _start(xp: Namespace, p: Array) -> ScheduleFreeAdamwMeanState:
    return ScheduleFreeAdamwMeanState(p, xp.zeros_like(p))


@rule(
    ScheduleFreeAdamwMeanState,
    family="schedule-free",
    owns="lr",
    decay="before",
    init=_start,
    title="ScheduleFreeAdamWMean",
)
def schedule_free_adamw_mean(
    xp: Namespace,
    p: Array,
    g: Array,
    s: ScheduleFreeAdamwMeanState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(p=1)] = 2.5e-3,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    warmup: Steps = 0,
) -> tuple[Array, ScheduleFreeAdamwMeanState]:
    """``z' = z - lr g / sqrt(v)``, x the mean of z so far; the parameter is ``y = beta1 x + (1 - beta1) z``.

    The leaf template applies the decay, so that it acts on y and not on z. Source: Defazio et al. 2024, eq. 3 to 5
    with their plain mean; keras.optimizers.ScheduleFreeAdamW.
    """
    v = ema(beta2, s.v, g * g)
    move = warmed(xp, lr, t, warmup) * (g / denominator(xp, v, bias_correction(xp, beta2, t), epsilon, 0.0, 0.0))
    share = 1.0 / t
    step = share * (p - s.z) + (1.0 - beta1 * (1.0 - share)) * move
    return step, ScheduleFreeAdamwMeanState(s.z - move, v)
