"""Clipping at thresholds that adapt to the norms of past gradients."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Gt

from optcore.moments import ema
from optcore.norms import global_norm, hypotenuse, norm, shrink
from optcore.rule import Law, rule
from optcore.scalars import on, select
from optcore.typing import (
    Array,
    Count,
    Decay,
    Epsilon,
    Namespace,
    NonNegative,
    Positive,
    Scalar,
    Shared,
    Unit,
    UnitInterval,
)

Norm = Annotated[float, Gt(0), Unit(g=1)]


class ZClipState(NamedTuple):
    mean: Shared  #: mean of the norms, zero at the start; unit [g]
    deviation: Shared  #: standard deviation of the norms, zero at the start; unit [g]
    seen: Shared  #: number of norms seen; unit [1]


@rule(ZClipState, clips=True, title="ZClip")
def zclip(
    xp: Namespace,
    p: Array,
    g: Array,
    s: ZClipState,
    t: Scalar,
    *,
    beta: Decay = 0.97,
    threshold: Positive = 2.5,
    max_norm: Annotated[float, Ge(0), Unit(g=1)] | None = 1.0,
    to: Literal["adaptive", "mean", "threshold"] = "adaptive",
    factor: Positive = 1.0,
    warmup: Count = 25,
    skip: bool = False,
    epsilon: Epsilon = 1e-6,
    epsilon_norm: Epsilon = 1e-6,
) -> Law:
    """A global norm N whose score ``z = (N - mean) / (deviation + epsilon)`` exceeds ``threshold`` is clipped.

    ``to`` says at which norm: "adaptive" is ``factor (mean + threshold^2 deviation / z)``, "mean" is the mean, and
    "threshold" clips every norm above ``mean + threshold deviation`` to that, without a score. Every norm is also
    clipped at ``max_norm``. Mean and deviation are updated with the clipped norm, or with ``skip`` not at all at a
    spike. The first ``warmup`` norms give their first values and are clipped at max_norm only.
    Source: Kumar et al. 2025, alg. 1 and bluorion-com/ZClip, whose "percentile" is "threshold" here.
    """
    n = yield from global_norm(xp, g)
    seen, one = s.seen + 1.0, xp.ones_like(n)
    warm = seen <= warmup
    spread = s.deviation + epsilon
    score = (n - s.mean) / xp.where(spread == 0, one, spread)
    limit = s.mean + threshold * s.deviation
    spike = (seen > warmup) & (n > limit if to == "threshold" else score > threshold)
    if to == "adaptive":
        limit = factor * (s.mean + threshold * threshold * s.deviation / xp.where(spike, score, one))
    reached = xp.where(spike, s.mean if to == "mean" else limit, n)
    aim = reached if max_norm is None else xp.minimum(reached, max_norm)
    clipped = xp.where(n > aim, g * shrink(xp, n, aim, epsilon_norm), g)
    if max_norm is not None:
        clipped = xp.where(warm, g * shrink(xp, n, max_norm, epsilon_norm), clipped)
    # The weights of the new norm and of the old mean and variance: of a plain mean during the warm-up, then of an EMA.
    weight = xp.where(warm, one / seen, (1.0 - beta) * one)
    rest = xp.where(warm, s.seen / seen, beta * one)
    part = xp.where(warm, xp.sqrt(s.seen) / seen, beta * on(xp, beta).sqrt(1.0 - beta) * one)
    if skip:
        weight, rest, part = (xp.where(spike, x * one, y) for x, y in ((0.0, weight), (1.0, rest), (0.0, part)))
    deviation = hypotenuse(xp, xp.sqrt(rest) * s.deviation, part * xp.abs(reached - s.mean))
    return clipped, ZClipState(rest * s.mean + weight * reached, deviation, seen)


class AdaGCState(NamedTuple):
    norm: Array  #: EMA of the clipped norms, 0-d, zero at the start; unit [g]


def _start(xp: Namespace, p: Array) -> AdaGCState:
    return AdaGCState(xp.sum(xp.zeros_like(p)))


@rule(AdaGCState, clips=True, kind="leafwise", init=_start, title="AdaptiveClip")
def adaptive_clip(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AdaGCState,
    t: Scalar,
    *,
    max_norm: Annotated[float, Gt(0), Unit(g=1)] = 1.0,
    threshold: Positive = 1.05,
    beta: Decay = 0.98,
    warmup: Count = 100,
    epsilon: Epsilon = 1e-8,
) -> Law:
    """The gradient with each leaf's norm clipped at ``threshold`` times the average of its clipped norms, as in AdaGC.

    Before step ``warmup`` the global norm is clipped at ``max_norm``, and the average is the smallest norm seen. A
    leaf's norm and its average count as at least ``epsilon``, which is added to the global norm.
    Source: Wang et al. 2025, alg. 1; ``chain(adaptive_clip, adamw)`` is pytorch_optimizer's AdaGC.
    """
    n = yield from global_norm(xp, g)
    first, warm = t == 1, (t == 1) | (t < warmup)
    local = norm(xp, g)
    early = shrink(xp, n, max_norm, epsilon)
    late = shrink(xp, xp.maximum(local, epsilon), threshold * xp.maximum(s.norm, epsilon))
    d = g * select(xp, warm, early, late)
    size = norm(xp, d)
    least = select(xp, first, size, xp.minimum(s.norm, size))
    return d, AdaGCState(select(xp, warm, least, ema(beta, s.norm, size)))


class QuantileState(NamedTuple):
    limit: Shared  #: the norm at which gradients are clipped; unit [g]


def _initial(xp: Namespace, p: Array, *, initial: Norm = 0.1) -> QuantileState:
    return QuantileState(xp.sum(xp.zeros_like(p)) + initial)


@rule(QuantileState, clips=True, init=_initial)
def clip_by_quantile(
    xp: Namespace,
    p: Array,
    g: Array,
    s: QuantileState,
    t: Scalar,
    *,
    quantile: UnitInterval = 0.5,
    rate: NonNegative = 0.2,
    initial: Norm = 0.1,
) -> Law:
    """The gradient with its global norm clipped at a limit C that follows a quantile of the norms.

    After each step C becomes ``C exp(-rate (b - quantile))`` with b = 1 for a norm of at most C, else 0. The law needs
    no history of norms, which AutoClip (clip_by_percentile) does.
    Source: Andrew et al. 2021, alg. 1 (geometric updates), with one norm a step and no noise.
    """
    del initial
    n = yield from global_norm(xp, g)
    ns = on(xp, rate, quantile)
    down, up = ns.exp(-(rate * (1.0 - quantile))), ns.exp(rate * quantile)
    limit = xp.where(n <= s.limit, s.limit * down, s.limit * up)
    return g * shrink(xp, n, s.limit), QuantileState(limit)


class SpikeState(NamedTuple):
    v: Array  #: EMA of the squared clipped gradient, zero at the start; unit [g^2]


@rule(SpikeState, clips=True, title="SpikeAwareClip")
def spike_aware_clip(
    xp: Namespace,
    p: Array,
    g: Array,
    s: SpikeState,
    t: Scalar,
    *,
    threshold: Positive = 5000.0,
    beta: Decay = 0.999,
    start: Count = 20,
) -> tuple[Array, SpikeState]:
    """Elements with ``g^2 > threshold v`` are cut to ``sign(g) sqrt(threshold v)``, from step ``start`` on.

    v equals the second moment that Adam has in the next link of a chain, if its beta2 is ``beta``.
    Source: Huang et al. 2025 (SPAM), alg. 1; the numbers are pytorch_optimizer's.
    """
    bound = xp.sqrt(threshold * s.v)
    d = select(xp, t >= start, xp.where(xp.abs(g) > bound, xp.sign(g) * bound, g), g)
    return d, SpikeState(ema(beta, s.v, d * d))
