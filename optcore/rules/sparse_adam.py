"""Sparse Adam: Adam that does not change rows whose gradient is zero."""

from __future__ import annotations

from optcore.moments import denominator, ema
from optcore.rule import rule
from optcore.rules.adam import AdamState
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Namespace, Scalar


@rule(AdamState, family="adaptive", kind="leafwise", axes=True, lr=1e-3)
def sparse_adam(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdamState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    epsilon_hat: Epsilon = 1e-8,
) -> tuple[Array, AdamState]:
    """Adam on each row whose gradient has an element that is not 0; other rows and their moments are not changed.

    A row is the slice of one index of the first axis, such as one word of an embedding. The bias correction counts
    every step, also those in which a row did not change.
    Source: torch.optim.SparseAdam, where a row is one that the gradient stores.
    """
    axes = tuple(range(1, g.ndim))
    rests = (xp.max(xp.abs(g), axis=axes, keepdims=True) if axes else xp.abs(g)) == 0  # False for a row with a NaN
    none = xp.zeros_like(g)
    m, v = xp.where(rests, s.m, ema(beta1, s.m, g)), xp.where(rests, s.v, ema(beta2, s.v, g * g))
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    d = m / bc1 / denominator(xp, v, bc2, 0.0, 0.0, epsilon_hat)
    return xp.where(rests, none, d), AdamState(m, v)
