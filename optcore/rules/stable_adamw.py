"""StableAdamW: AdamW with the update clipping of Adafactor."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.moments import ema, rms
from optcore.rule import rule
from optcore.rules.adam import AdamState
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar, Unit


@rule(AdamState, family="adaptive", kind="leafwise", owns="decay", lr=1e-3, title="StableAdamW")
def stable_adamw(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.99,
    epsilon: Epsilon = 1e-8,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.01,
) -> tuple[Array, AdamState]:
    """Adam's direction and the decay, both divided by ``max(1, RMS(g / sqrt(v)))`` of the leaf.

    The averages are corrected while they are formed: ``beta (1 - beta^(t-1)) / (1 - beta^t)`` takes the place of beta.
    The decay is divided too, so the rule owns it. Source: Wortsman et al. 2023, alg. 2; defaults of
    pytorch_optimizer.
    """
    new1, new2 = (1.0 - beta1) / bias_correction(xp, beta1, t), (1.0 - beta2) / bias_correction(xp, beta2, t)
    m, v = ema(1.0 - new1, s.m, g), ema(1.0 - new2, s.v, g * g)
    size = xp.sqrt(v)
    excess = xp.maximum(rms(xp, g / xp.maximum(size, epsilon)), 1.0)
    return (m / (size + epsilon) + weight_decay * p) / excess, AdamState(m, v)
