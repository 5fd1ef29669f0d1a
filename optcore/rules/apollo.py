"""Apollo: a quasi-Newton method with a diagonal approximation of the Hessian."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Gt

from optcore.norms import largest
from optcore.rule import rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Positive, Scalar, Unit


class ApolloState(NamedTuple):
    m: Array  #: corrected EMA of the gradient, zero at the start; unit [g]
    b: Array  #: diagonal approximation of the Hessian, zero at the start; unit [g]
    d: Array  #: direction of the previous step, zero at the start; unit [1]


def _norm4(xp: Namespace, x: Array) -> Any:
    """Return the 4-norm of a leaf; it overflows only if the norm itself does."""
    top: Any = largest(xp, xp.abs(x))
    share = x / xp.where(top == 0, xp.ones_like(top), top)
    return top * xp.sqrt(xp.sqrt(xp.sum(share * share * (share * share))))


@rule(ApolloState, family="adaptive", kind="leafwise", lr=1e-2, decay="coupled", title="ApolloDQN")
def apollo(
    xp: Namespace,
    p: Array,
    g: Array,
    s: ApolloState,
    t: Scalar,
    *,
    beta: Decay = 0.9,
    epsilon: Positive = 1e-2,
    rebound: Literal["constant", "belief"] = "constant",
    floor: Annotated[float, Gt(0), Unit(g=1)] = 1e-2,
    epsilon_hat: Epsilon = 1e-4,
) -> tuple[Array, ApolloState]:
    """``m / |b|``, where b is updated by the secant equation along the previous step and kept away from zero.

    With rebound "constant" ``|b|`` is at least ``floor``. With "belief" it is at least the largest ``|g - m|``, and
    ``epsilon_hat`` over the weight of the new gradient is added. ``epsilon`` is added to the 4-norm of the last
    direction; with "constant" the authors' value, 1e-4, is here divided by the floor.
    Source: Ma 2020, alg. 1; XuezheMax/apollo.
    """
    new = (1.0 - beta) / bias_correction(xp, beta, t)
    change = g - s.m
    m = s.m + new * change
    length = _norm4(xp, s.d) + epsilon
    v = s.d / length
    b = s.b - (v * v) * (new * xp.sum(change / length * v) + xp.sum(s.b * (v * v)))
    size = xp.abs(b)
    if rebound == "belief":
        d = m / (xp.maximum(size, largest(xp, xp.abs(change))) + epsilon_hat / new)
    else:
        d = m / xp.maximum(size, floor)
    return d, ApolloState(m, b, d)
