"""Sophia: the momentum over an estimate of the Hessian's diagonal, clipped."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt

from optcore.moments import ema
from optcore.rule import Conventions, Refresh, rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Count, Decay, Namespace, Positive, Scalar, Unit

LIKE: Conventions = {
    "paper": {},
    "optax": {"beta1": 0.965, "epsilon": 1e-8, "debias": True, "delayed": True, "weight_decay": 1e-4},
}


class SophiaState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]
    h: Array  #: EMA of the estimates of the Hessian's diagonal, zero at the start; unit [g/p]
    estimate: Array  #: the estimate that the caller wrote last, zero at the start; unit [g/p]
    old: Array  #: h at the end of the last step, 0-d without delayed; unit [g/p]


def _start(xp: Namespace, p: Array, *, delayed: bool = False) -> SophiaState:
    m, h, estimate, old = (xp.zeros_like(p) for _ in range(4))
    return SophiaState(m, h, estimate, old if delayed else xp.sum(old))


def _taken_in(xp: Namespace, p: Array, g: Array, s: SophiaState, t: Scalar, *, beta2: Decay = 0.99) -> SophiaState:
    return s._replace(h=ema(beta2, s.h, s.estimate))


@rule(
    SophiaState,
    family="adaptive",
    init=_start,
    refresh=Refresh(_taken_in, "interval"),
    lr=1e-4,
    decay="before",
    like=LIKE,
    title="Sophia",
)
def sophia(
    xp: Namespace,
    p: Array,
    g: Array,
    s: SophiaState,
    t: Scalar,
    *,
    beta1: Decay = 0.96,
    gamma: Annotated[float, Gt(0), Unit(p=1)] = 0.01,
    epsilon: Annotated[float, Ge(0), Unit(g=1)] = 1e-12,
    threshold: Positive | None = 1.0,
    interval: Count = 10,
    debias: bool = False,
    delayed: bool = False,
) -> tuple[Array, SophiaState]:
    """``m / max(gamma h, epsilon)``, clipped to ``threshold``; h is the moving average of ``estimate``.

    A law receives a gradient and no loss. So the caller writes an estimate of the Hessian's diagonal into the state
    before each of the steps 1, 1 + interval, ..., which use it: Hutchinson's ``u (H u)``, or ``B g^2`` of B labels
    drawn from the model (Gauss-Newton-Bartlett, with gamma 0.05). A state is a tuple: ``s = s._replace(estimate=e)``;
    with torch ``optimizer.state[p]["estimate"].copy_(e)`` after ``init_state()``, in optax ``update(..., estimate=e)``
    or ``update(..., obj_fn=loss)``, in :class:`optcore.backends.Optimizer` ``state.leaves[i].estimate``. With
    ``delayed`` the step uses the h of the previous step, as optax does.
    Source: Liu et al. 2023, alg. 3; optax.contrib.sophia.
    """
    m = ema(beta1, s.m, g)
    top = m / bias_correction(xp, beta1, t) if debias else m
    d = top / xp.maximum(gamma * (s.old if delayed else s.h), epsilon)
    if threshold is not None:
        d = xp.maximum(xp.minimum(d, threshold), -threshold)
    return d, SophiaState(m, s.h, s.estimate, s.h if delayed else s.old)
