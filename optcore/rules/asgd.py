"""ASGD: stochastic gradient descent that also averages the parameters."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.rule import rule
from optcore.rules.velocity import Rate
from optcore.scalars import on, power, select
from optcore.typing import Array, Namespace, NonNegative, Scalar, Unit


class AsgdState(NamedTuple):
    eta: Array  #: the next step's rate, 0-d, zero at the start; unit [p/g]
    mu: Array  #: the weight of the next parameter in the average, 0-d, zero at the start; unit [1]
    ax: Array  #: average of the parameters, zero at the start; unit [p]


def _start(xp: Namespace, p: Array) -> AsgdState:
    zero = xp.zeros_like(p)
    return AsgdState(xp.sum(zero), xp.sum(zero), zero)


@rule(AsgdState, family="descent", owns="lr", init=_start, decay="coupled", title="ASGD")
def asgd(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AsgdState,
    t: Scalar,
    *,
    lr: Rate = 1e-2,
    lambd: Annotated[float, Ge(0), Unit(g=1, p=-1)] = 1e-4,
    alpha: NonNegative = 0.75,
    t0: NonNegative = 1e6,
) -> tuple[Array, AsgdState]:
    """``eta (g + lambd p)`` with ``eta = lr / (1 + lambd lr t)^alpha``; the state also has the mean of p after step t0.

    The average ``ax`` is for evaluating the model and does not influence p. A change of lr reaches eta one step later.
    Source: Polyak & Juditsky 1992, with the schedule of Bottou 2012; torch.optim.ASGD.
    """
    eta, mu = select(xp, t > 1, s.eta, lr), select(xp, t > 1, s.mu, 1.0)
    d = eta * (g + lambd * p)
    ax = s.ax + mu * (p - d - s.ax)
    zero = xp.zeros_like(s.eta)
    later = zero + lr / power(xp, 1.0 + lambd * lr * t, alpha)
    return d, AsgdState(later, zero + 1.0 / on(xp, t, t0).maximum(t - t0, 1.0), ax)
