"""Hypergradient descent: the learning rate of any rule is itself trained by gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge

from optcore.compose import combinator
from optcore.moments import cosine
from optcore.norms import root, squares
from optcore.rule import Law
from optcore.typing import Array, Namespace, NonNegative, Scalar, Shared, Unit

Start = Annotated[float, Ge(0), Unit(p=1, d=-1)]


class HypergradientState(NamedTuple):
    d: Array  #: the inner rule's last direction, zero at the start; unit [d]
    rate: Shared  #: the learning rate, at rate0 at the start; unit [p/d]
    inner: Any


def _start(inner: Callable[..., Any], xp: Namespace, p: Array, *, rate0: Start = 1e-3) -> HypergradientState:
    zero = xp.zeros_like(p)
    return HypergradientState(zero, xp.sum(zero) + rate0, inner(xp, p))


@combinator(HypergradientState, init=_start, lr=1.0)
def hypergradient(
    inner: Callable[..., Law],
    xp: Namespace,
    p: Array,
    g: Array,
    s: HypergradientState,
    t: Scalar,
    *,
    weight_decay: Annotated[float, Ge(0), Unit(g=1, p=-1)] = 0.0,
    additive: Annotated[float, Ge(0), Unit(g=-1, p=1, d=-2)] = 1e-6,
    multiplicative: NonNegative = 0.0,
) -> Law:
    """``rate d``, where the rate grows while the gradient points along the last direction, over all leaves.

    Before the step ``rate' = rate (1 + multiplicative cos(g, d)) + additive <g, d>``, with the d of the previous step.
    lr multiplies the rate, so that a schedule can be given. The decay is added to the gradient, as in the authors'
    code: a decoupled one would be multiplied by lr alone. The rate may become negative, as in the source.
    Source: Baydin et al. 2018, eq. 7 and 8, alg. 4 to 6; hypergradient steps of gbaydin/hypergradient-descent.
    """
    g = g + weight_decay * p
    aligned, *parts = yield xp.sum(g * s.d), *squares(xp, g), *squares(xp, s.d)
    turned = cosine(xp, aligned, root(xp, *parts[:3]), root(xp, *parts[3:]))
    rate = s.rate * (1.0 + multiplicative * turned) + additive * aligned
    d, state = yield from inner(xp, p, g, s.inner, t)
    return rate * d, HypergradientState(d, rate, state)
