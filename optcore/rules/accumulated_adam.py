"""Adam that accumulates the gradients of several steps in its own moments, without another buffer."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from optcore.moments import denominator, gathered
from optcore.rule import rule
from optcore.rules.accumulated_momentum import Form
from optcore.rules.adam import AdamState, EpsilonRoot
from optcore.scalars import bias_correction, select
from optcore.typing import Array, Count, Decay, Epsilon, Namespace, Scalar, Unit


@rule(AdamState, family="adaptive", owns="decay")
def accumulated_adam(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamState,
    t: Scalar,
    *,
    lr: Annotated[float, Ge(0), Unit(p=1)] = 1e-3,
    weight_decay: Annotated[float, Ge(0), Unit(p=-1)] = 0.0,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon: Epsilon = 1e-8,
    epsilon_root: EpsilonRoot = 0.0,
    every: Count = 1,
    form: Form = "exact",
) -> tuple[Array, AdamState]:
    """Adam's step and decay once in ``every`` steps, from moments that have gathered the gradients by then.

    With form "exact" the moments fade once in each group of ``every`` gradients, and the bias correction counts groups.
    So m equals Adam's on the groups' mean gradients, and v averages the mean of a group's squares, where Adam has the
    square of its mean: steps are no longer than Adam's. Form "cheap" is Adam with ``beta' = 1 - (1 - beta)/every``.
    Source: Su 2021 (kexue.fm 8634), the Adam form.
    """
    exact = form == "exact"
    m, v = gathered(xp, beta1, every, exact, s.m, g, t), gathered(xp, beta2, every, exact, s.v, g * g, t)
    b1, b2 = (beta1, beta2) if exact else (1.0 - (1.0 - beta1) / every, 1.0 - (1.0 - beta2) / every)
    n = t / every if exact else t
    bc1, bc2 = bias_correction(xp, b1, n), bias_correction(xp, b2, n)
    d = m / bc1 / denominator(xp, v, bc2, epsilon, epsilon_root, 0.0)
    return select(xp, t % every == 0, lr, 0.0) * (d + weight_decay * p), AdamState(m, v)
