"""Schedule-free gradient descent: it needs no learning-rate schedule, since it averages its iterates."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.rule import rule
from optcore.rules.schedule_free import Exponent, Steps, averaged, begin, warmed
from optcore.rules.velocity import Rate
from optcore.typing import Array, Decay, Namespace, NonNegative, Scalar, Unit


class ScheduleFreeSgdState(NamedTuple):
    z: Array  #: the point that gradient descent moves, the parameter at the start; unit [p]
    rate: Array  #: largest learning rate so far; unit [p/g]
    weights: Array  #: sum of the weights of the mean, divided by the power of the newest rate; unit [1]


def _start(xp: Namespace, p: Array) -> ScheduleFreeSgdState:
    return ScheduleFreeSgdState(*begin(xp, p))


@rule(
    ScheduleFreeSgdState,
    family="schedule-free",
    owns="decay",
    init=_start,
    title="ScheduleFreeSGD",
    like={"optax": {"late": True}, "paper": {}},
)
def schedule_free_sgd(
    xp: Namespace,
    p: Array,
    g: Array,
    s: ScheduleFreeSgdState,
    t: Scalar,
    *,
    lr: Rate = 1.0,
    beta: Decay = 0.9,
    r: Exponent = 0.0,
    rate_power: NonNegative = 2.0,
    warmup: Steps = 0,
    late: bool = False,
    weight_decay: Annotated[float, Ge(0), Unit(g=1, p=-1)] = 0.0,
) -> tuple[Array, ScheduleFreeSgdState]:
    """``z' = z - lr (g + weight_decay y)``; the parameter is y, between z and its weighted mean x.

    It is ``schedule_free(sgd)`` as one rule. With ``late`` the warm-up of z's rate starts at 0, one step after that of
    the weights, as in optax. :func:`optcore.rules.schedule_free.evaluation` returns x.
    Source: Defazio et al. 2024, eq. 3 to 5; facebookresearch/schedule_free.
    """
    weighed = warmed(xp, lr, t, warmup)
    rate = warmed(xp, lr, t - 1, warmup) if late else weighed
    step, *new = averaged(xp, p, g + weight_decay * p, s, t, rate, weighed, beta, r, rate_power)
    return step, ScheduleFreeSgdState(*new)
