"""Schedule-free learning: a rule moves z, the mean of z is the result, and gradients are taken between the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt

from optcore.compose import combinator
from optcore.rule import Law
from optcore.scalars import on, power, select
from optcore.typing import Array, Decay, Namespace, NonNegative, Scalar, Unit

Steps = Annotated[int, Ge(0)]
Exponent = Annotated[float, Gt(-1)]


class ScheduleFreeState(NamedTuple):
    z: Array  #: the point that the inner rule moves, the parameter at the start; unit [p]
    rate: Array  #: largest learning rate so far; unit [p/d]
    weights: Array  #: sum of the weights of the mean, divided by the power of the newest rate; unit [1]
    inner: Any


def begin(xp: Namespace, p: Array) -> tuple[Array, Array, Array]:
    """Return z, rate and weights as they are before the first step."""
    zero = xp.zeros_like(p)
    return p, xp.sum(zero), xp.sum(zero)


def warmed(xp: Namespace, lr: Scalar, t: Scalar, warmup: int) -> Scalar:
    """Return the learning rate at step t, which rises in a line from 0 to ``lr`` within ``warmup`` steps."""
    return lr * on(xp, t).minimum(t / warmup, 1.0) if warmup else lr


def averaged(
    xp: Namespace, p: Array, d: Array, s: Any, t: Scalar, lr: Scalar, weighed: Scalar, beta: Scalar, r: Scalar,
    rate_power: Scalar,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Return the displacement to be subtracted from y when z makes the step ``lr d``, and the new z, rate and weights.

    The weight of z in the mean is ``t^r rate^rate_power``, where the rate is the largest ``weighed`` one so far. The
    sum of the weights is stored divided by the power of the newest rate, so it has no unit and does not underflow.
    """
    rate = xp.maximum(s.rate, weighed)
    one, fresh = xp.ones_like(rate), s.rate == 0
    ratio = xp.where(fresh, one, s.rate / xp.where(fresh, one, rate))
    first = select(xp, rate_power == 0, 1.0, 0.0)  # 0 to the power rate_power: the weight of steps whose rate was 0
    own = power(xp, t, r)
    weights = s.weights * xp.where(fresh, one * first, power(xp, ratio, rate_power)) + own
    share = own / weights
    step = share * (p - s.z) + (lr * (1.0 - beta * (1.0 - share))) * d
    return step, s.z - lr * d, rate, weights


def evaluation(p: Any, state: Any, *, beta: float = 0.9) -> Any:
    """Return the mean x, at which a model is evaluated, from the parameter and the state of its leaf.

    It is ``x = (p - (1 - beta) z) / beta``, for arrays of any library and every schedule-free rule. ``beta`` is the
    rule's (``beta1`` in the Adam forms). It must not be 0: the parameter is then z, and x is not stored.
    """
    return (p - (1.0 - beta) * state.z) / beta


def _start(inner: Callable[..., Any], xp: Namespace, p: Array) -> ScheduleFreeState:
    z, rate, weights = begin(xp, p)
    return ScheduleFreeState(z, rate, weights, inner(xp, p))


@combinator(ScheduleFreeState, init=_start)
def schedule_free(
    inner: Callable[..., Law],
    xp: Namespace,
    p: Array,
    g: Array,
    s: ScheduleFreeState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(p=1, d=-1)] = 1.0,
    beta: Decay = 0.9,
    r: Exponent = 0.0,
    rate_power: NonNegative = 2.0,
    warmup: Steps = 0,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1, d=1)] = 0.0,
) -> Law:
    """``z' = z - lr (d + weight_decay y)``, x the weighted mean of z, and the parameter ``y = beta x + (1 - beta) z``.

    The inner rule has no learning rate and should have no momentum, since beta takes its place. The weights are
    ``t^r rate^rate_power`` with the largest rate so far, which rises in a line for the first ``warmup`` steps.
    :func:`optcore.rules.schedule_free.evaluation` returns x. Source: Defazio et al. 2024, eq. 3 to 5 and sec. 4.6;
    weights of facebookresearch/schedule_free.
    """
    d, state = yield from inner(xp, p, g, s.inner, t)
    rate = warmed(xp, lr, t, warmup)
    step, z, most, weights = averaged(xp, p, d + weight_decay * p, s, t, rate, rate, beta, r, rate_power)
    return step, ScheduleFreeState(z, most, weights, state)
