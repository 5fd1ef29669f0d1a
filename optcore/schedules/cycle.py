"""Schedules that start again, cycle after cycle."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from optcore.curves import between, turns
from optcore.scalars import is_host, power
from optcore.schedule import schedule
from optcore.typing import Count, NonNegative, Positive, Whole

__all__ = [
    "exp_range", "hard_restarts", "normalized_decay", "sgdr", "snapshot", "swa_cycle", "triangular", "triangular2",
    "warmup_restarts",
]  # fmt: skip

Growth = Annotated[float, Ge(1), Lt(math.inf)]


def cycle(xp: Any, e: Any, first: int, growth: Any) -> tuple[Any, Any, Any]:
    """Return the index of the cycle that step e is in, the steps since it began, and its length.

    Each next cycle is ``growth`` times as long as the one before. The index comes from a logarithm, which may be
    rounded to either side of a boundary. So it is compared with the beginning of that cycle, which is a whole step for
    a whole growth, and else is known to a few units in the last place of e.
    """
    if growth == 1:
        index, since = turns(xp, e, first)
        return index, since, first + 0.0 * e
    rate = math.log(growth)

    def began(index: Any) -> Any:
        begin = first * xp.expm1(rate * index) / (growth - 1.0)
        return xp.floor(begin + 0.5) if growth == int(growth) else begin

    index = xp.floor(xp.log(1.0 + e * (growth - 1.0) / first) / rate + 0.5)
    slack = 0.0 if growth == int(growth) else (1e-14 if is_host(e) else 4e-7) * e
    index = xp.where(began(index) > e + slack, index - 1.0, index)
    begin = began(index)
    return index, xp.maximum(e - begin, 0.0), first + begin * (growth - 1.0)


@schedule(like={"keras": {"growth": 2.0}, "timm": {"shrinks": "peak"}})
def sgdr(
    xp: Any,
    e: Any,
    *,
    peak: NonNegative,
    first: Count,
    growth: Growth = 1.0,
    floor: NonNegative = 0.0,
    shrink: Positive = 1.0,
    shrinks: Literal["amplitude", "peak"] = "amplitude",
    cycles: Count | None = None,
) -> Any:
    """Warm restarts: half a cosine from ``peak`` towards ``floor`` in each cycle, the next ``growth`` times as long.

    In each next cycle the amplitude over the floor is multiplied by ``shrink`` (Keras' m_mul), or with
    ``shrinks="peak"`` the peak is (timm). If ``cycles`` is given, the value stays at the floor after so many cycles.
    Source: Loshchilov & Hutter 2017 (SGDR), eq. 5; T_0 = first and T_mult = growth of torch's
    CosineAnnealingWarmRestarts.
    """
    index, since, length = cycle(xp, e, first, growth)
    share = power(xp, shrink, index)
    height = (peak - floor) * share if shrinks == "amplitude" else peak * share - floor
    value = between(floor, floor + height, 0.5 + 0.5 * xp.cos(math.pi * (since / length)))
    return value if cycles is None else xp.where(index < cycles, value, floor + 0.0 * e)


def _room(*, warmup: int, first: int, **others: Any) -> None:
    if not warmup < first:
        raise ValueError(f"warmup={warmup} leaves nothing of a cycle of first={first} steps; give less")


@schedule(guard=_room)
def warmup_restarts(
    xp: Any,
    e: Any,
    *,
    peak: NonNegative,
    first: Count,
    warmup: Whole,
    cycles: Count,
    growth: Growth = 1.0,
    floor: NonNegative = 0.0,
    shrink: Positive = 0.9,
) -> Any:
    """A line of ``warmup`` steps from ``floor`` to the peak and half a cosine back, in each of ``cycles`` cycles.

    From cycle to cycle the length of the cosine is multiplied by ``growth`` and the peak by ``shrink``; after the last
    cycle the value is ``floor``. Source: pytorch_optimizer's CosineAnnealingWarmupRestarts, which cuts growing cycles
    to whole steps and does not end.
    """
    value, begin = floor + 0.0 * e, 0.0
    for i in range(cycles):
        fall = (first - warmup) * power(xp, growth, float(i))
        passed = xp.maximum(e - begin, 0.0)
        f = xp.minimum(xp.maximum(passed - warmup, 0.0) / fall, 1.0)
        rise = xp.minimum(passed / warmup, 1.0) if warmup else 1.0
        height = (peak * power(xp, shrink, float(i)) - floor) * rise * (0.5 + 0.5 * xp.cos(math.pi * f))
        value = xp.where(e >= begin, floor + height, value)
        begin = begin + warmup + fall
    return value


@schedule()
def hard_restarts(xp: Any, e: Any, *, peak: NonNegative, steps: Count, cycles: Positive = 1.0) -> Any:
    """``peak (1 + cos(pi f)) / 2`` with f the fractional part of ``cycles e/steps``, and 0 from e = steps on.

    Source: transformers' get_cosine_with_hard_restarts_schedule_with_warmup.
    """
    _, rest = turns(xp, cycles * xp.minimum(e, 1.0 * steps), steps)
    value = peak * (0.5 + 0.5 * xp.cos(math.pi * (rest / steps)))
    return xp.where(e >= steps, 0.0 * e, value)


@schedule()
def snapshot(xp: Any, e: Any, *, peak: NonNegative, steps: Count, cycles: Count) -> Any:
    """Half a cosine from ``peak`` in each of ``cycles`` cycles of ceil(steps/cycles) steps.

    An ensemble is made of the weights saved at the end of each cycle.
    Source: Huang et al. 2017 (snapshot ensembles), whose t is e + 1.
    """
    length = -(-steps // cycles)
    _, rest = turns(xp, e, length)
    return peak * (0.5 + 0.5 * xp.cos(math.pi * (rest / length)))


@schedule()
def swa_cycle(xp: Any, e: Any, *, high: NonNegative, low: NonNegative, length: Count) -> Any:
    """A line from ``high`` to ``low``, which it reaches at the last step of each cycle; with length 1 always ``low``.

    Source: Izmailov et al. 2018 (SWA), whose i is e + 1.
    """
    _, rest = turns(xp, e, length)
    return between(high, low, (rest + 1.0) / length)


def _wave(xp: Any, e: Any, up: int, down: int | None) -> tuple[Any, Any]:
    """Return the value in [0, 1] of a triangle wave at step e, and the number of triangles that are complete."""
    total = up + (up if down is None else down)
    index, inside = turns(xp, e, total)
    return xp.where(inside <= up, inside / up, (total - inside) / (total - up)), index


@schedule()
def triangular(xp: Any, e: Any, *, base: NonNegative, peak: NonNegative, up: Count, down: Count | None = None) -> Any:
    """Lines from ``base`` to ``peak`` in ``up`` steps and back in ``down`` steps, again and again.

    With a base above the peak it is the cycle of a momentum, which falls while the rate rises.
    Source: Smith 2017 (cyclical learning rates); torch's CyclicLR.
    """
    wave, _ = _wave(xp, e, up, down)
    return between(base, peak, wave)


@schedule()
def triangular2(xp: Any, e: Any, *, base: NonNegative, peak: NonNegative, up: Count, down: Count | None = None) -> Any:
    """:data:`triangular` with half the height in each next cycle. Source: Smith 2017; torch's CyclicLR."""
    wave, index = _wave(xp, e, up, down)
    return base + (peak - base) * wave * power(xp, 0.5, index)


@schedule()
def exp_range(
    xp: Any, e: Any, *, base: NonNegative, peak: NonNegative, up: Count, rate: Positive, down: Count | None = None
) -> Any:
    """:data:`triangular` with the height times ``rate^e``. Source: Smith 2017; torch's CyclicLR, rate = gamma."""
    wave, _ = _wave(xp, e, up, down)
    return base + (peak - base) * wave * power(xp, rate, e)


@schedule()
def normalized_decay(xp: Any, e: Any, *, value: NonNegative, first: Count, growth: Growth = 1.0) -> Any:
    """``value / sqrt(steps of the cycle)``: a weight decay that need not be tuned anew for another number of steps.

    With b examples a step and B in the data, a cycle of T epochs has T B/b steps, so this is
    ``value sqrt(b / (B T))``. Source: Loshchilov & Hutter 2019, appendix B.1.
    """
    _, _, length = cycle(xp, e, first, growth)
    return value * length**-0.5
