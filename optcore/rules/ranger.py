"""Ranger: RAdam on centralized gradients, within Lookahead."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge

from optcore.compose import chain
from optcore.rule import Law, NoState, rule
from optcore.rules.adam import AdamState
from optcore.rules.centralize import centralize
from optcore.rules.lookahead import drawn_back
from optcore.rules.radam import radam
from optcore.typing import Array, Count, Decay, Epsilon, Layout, Namespace, Scalar, Unit, UnitInterval

#: The rate multiplies the gradient itself in RAdam's first steps, and is in [p] once RAdam rectifies.
Rate = Annotated[float, Ge(0), Unit(p=1, g=-1)]
fast = chain(centralize, radam(epsilon=0.0))


class RangerState(NamedTuple):
    m: Array  #: EMA of the centralized gradient, zero at the start; unit [g]
    v: Array  #: EMA of the centralized gradient's square, zero at the start; unit [g^2]
    slow: Array  #: the slow weights, a copy of p at the start; unit [p]


def _start(xp: Namespace, p: Array) -> RangerState:
    return RangerState(xp.zeros_like(p), xp.zeros_like(p), p)


@rule(RangerState, family="adaptive", kind="leafwise", axes=True, owns="lr", init=_start, decay="before")
def ranger(
    xp: Namespace,
    p: Array,
    g: Array,
    s: RangerState,
    t: Scalar,
    *,
    lr: Rate = 1e-3,
    beta1: Decay = 0.95,
    beta2: Decay = 0.999,
    epsilon_hat: Epsilon = 1e-5,
    threshold: Annotated[float, Ge(4)] = 5.0,
    interval: Count = 6,
    alpha: UnitInterval = 0.5,
    min_ndim: Count = 2,
    layout: Layout | None = None,
) -> Law:
    """``lookahead(chain(centralize, radam))`` as a rule of its own, under the name by which it is known.

    Leaves of fewer than ``min_ndim`` axes are not centralized. Source: lessw2020/Ranger-Deep-Learning-Optimizer,
    of Zhang et al. 2019, Liu et al. 2020 and Yong et al. 2020; its defaults.
    """
    numbers = dict(beta1=beta1, beta2=beta2, epsilon_hat=epsilon_hat, threshold=threshold)
    given = {**fast.values(), **numbers, "min_ndim": min_ndim, "layout": layout}
    d, (_, (m, v)) = yield from fast.run(xp, p, g, (NoState(), AdamState(s.m, s.v)), t, given)
    step, slow = drawn_back(xp, p, lr * d, s.slow, t, interval, alpha)
    return step, RangerState(m, v, slow)
