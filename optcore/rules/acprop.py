"""ACProp: AdaBelief with the denominator of the previous step."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Gt

from optcore.moments import ema
from optcore.rule import rule
from optcore.rules.adabelief import AdabeliefState
from optcore.rules.adam import EpsilonRoot
from optcore.scalars import bias_correction, on, select
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar, Unit


@rule(AdabeliefState, family="adaptive", lr=1e-3, like={"optax": {"mean": "before"}, "paper": {}}, title="ACProp")
def acprop(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdabeliefState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-16,
    epsilon_root: EpsilonRoot = 1e-16,
    first: Annotated[float, Gt(0), Unit(g=2)] = 1.0,
    mean: Literal["after", "before"] = "after",
) -> tuple[Array, AdabeliefState]:
    """``g / (sqrt(v) + epsilon)`` with the v of the previous step, so that numerator and denominator are independent.

    v is AdaBelief's: the mean squared distance of g from its moving average m. ``mean`` says if that is m "after" g has
    entered it, or "before" (optax), where the distance is longer by ``1 / beta1``. At t = 1 there is no previous v, and
    ``first`` takes its place; its default of 1 is optax' choice.
    Source: Zhuang et al. 2021, alg. 1; defaults of optax.contrib.acprop.
    """
    m = ema(beta1, s.m, g)
    error = g - (m if mean == "after" else s.m)
    before = bias_correction(xp, beta2, on(xp, t).maximum(t - 1, 1))
    v = select(xp, t > 1, s.v / before, xp.zeros_like(s.v) + first)
    return g / (xp.sqrt(v) + epsilon), AdabeliefState(m, ema(beta2, s.v, error * error) + epsilon_root)
