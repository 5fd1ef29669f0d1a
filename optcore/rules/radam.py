"""RAdam: momentum in the first steps, and Adam once the variance of its denominator is finite."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge

from optcore.moments import denominator, ema, freedom, rectification
from optcore.rule import Conventions, rule
from optcore.rules.adam import AdamState, EpsilonRoot
from optcore.scalars import bias_correction, select
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar

LIKE: Conventions = {
    "torch": {"epsilon": 0.0, "epsilon_hat": 1e-8, "decay": "coupled"},
    "optax": {},
    "paper": {"threshold": 4.0},
    "pytorch_optimizer": {"epsilon": 0.0, "epsilon_hat": 1e-8, "unrectified": "skip"},
}


@rule(AdamState, family="adaptive", lr=1e-3, like=LIKE, title="RAdam")
def radam(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    epsilon_hat: Epsilon = 0.0,
    threshold: Annotated[float, Ge(4)] = 5.0,
    nesterov: bool = False,
    unrectified: Literal["momentum", "skip"] = "momentum",
) -> tuple[Array, AdamState]:
    """Adam times ``sqrt((r-4)(r-2)R / ((R-4)(R-2)r))`` once the degrees of freedom r reach the threshold.

    R is the limit of r. Below the threshold the direction is the corrected mean gradient, or 0 with
    ``unrectified="skip"``. ``nesterov`` takes the first moment one step ahead, as NAdam with constant momentum does.
    Source: Liu et al. 2020, alg. 2, with threshold 4; 5 and the epsilon of the authors' code.
    """
    m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    r, most = freedom(xp, beta2, t)
    tractable = r >= threshold
    factor = rectification(xp, r, most, tractable)
    first = ema(beta1, m / bias_correction(xp, beta1, t + 1), g / bc1) if nesterov else m / bc1
    rectified = factor * (first / denominator(xp, v, bc2, epsilon, epsilon_root, epsilon_hat))
    return select(xp, tractable, rectified, first if unrectified == "momentum" else 0.0 * first), AdamState(m, v)
