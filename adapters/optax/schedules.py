"""optax' schedules: same names, same parameters, same defaults."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optcore import schedules as s
from optcore.schedule import Schedule

__all__ = [
    "constant_schedule", "cosine_decay_schedule", "cosine_onecycle_schedule", "exponential_decay", "join_schedules",
    "linear_onecycle_schedule", "linear_schedule", "piecewise_constant_schedule", "piecewise_interpolate_schedule",
    "polynomial_schedule", "sgdr_schedule", "warmup_constant_schedule", "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
]  # fmt: skip


def constant_schedule(value: float) -> Schedule:
    return s.constant(value=value)


def polynomial_schedule(
    init_value: float, end_value: float, power: float, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    if transition_steps <= 0:
        return s.constant(value=init_value)
    begin = max(transition_begin, 0)
    return s.polynomial(peak=init_value, floor=end_value, power=power, steps=transition_steps, begin=begin)


def linear_schedule(init_value: float, end_value: float, transition_steps: int, transition_begin: int = 0) -> Schedule:
    if transition_steps <= 0:
        return s.constant(value=init_value)
    return s.linear(start=init_value, end=end_value, steps=transition_steps, begin=max(transition_begin, 0))


def _points(init_value: float, boundaries_and_scales: Mapping[int, float] | None) -> tuple[tuple[int, float], ...]:
    """Steps and values, of which optax is given the ratios."""
    steps = sorted(boundaries_and_scales or {})
    scales = [(boundaries_and_scales or {})[step] for step in steps]
    values = itertools.accumulate(scales, lambda a, b: a * b, initial=init_value)
    return tuple(zip(steps, list(values)[1:], strict=True))


def piecewise_constant_schedule(
    init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    points = _points(init_value, boundaries_and_scales)
    return s.piecewise(start=init_value, points=points) if points else s.constant(value=init_value)


def piecewise_interpolate_schedule(
    interpolate_type: str, init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    points = _points(init_value, boundaries_and_scales)
    if not points:
        return s.constant(value=init_value)
    return s.interpolate(start=init_value, points=points, shape=interpolate_type)


def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    if transition_steps <= 0 or decay_rate == 0:
        return s.constant(value=init_value)
    begin = max(transition_begin, 0)
    return s.exponential(
        start=init_value, rate=decay_rate, steps=transition_steps, begin=begin, staircase=staircase, end=end_value
    )


def cosine_decay_schedule(init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0) -> Schedule:
    return s.cosine(peak=init_value, steps=decay_steps, floor=alpha * init_value, exponent=exponent)


def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    return s.one_cycle_linear(
        peak=peak_value, steps=transition_steps, rise=pct_start, fall=pct_final, div=div_factor,
        final_div=final_div_factor,
    )  # fmt: skip


def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    return s.one_cycle(
        like="optax", peak=peak_value, steps=transition_steps, rise=pct_start, div=div_factor,
        final_div=final_div_factor,
    )  # fmt: skip


def warmup_constant_schedule(init_value: float, peak_value: float, warmup_steps: int) -> Schedule:
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    rise = linear_schedule(init_value, peak_value, warmup_steps)
    fall = s.cosine(
        peak=peak_value, steps=decay_steps - warmup_steps, floor=end_value if peak_value else 0.0, exponent=exponent
    )
    return s.join(parts=(rise, fall), boundaries=(warmup_steps,))


def warmup_exponential_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    rise = linear_schedule(init_value, peak_value, warmup_steps)
    fall = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return s.join(parts=(rise, fall), boundaries=(warmup_steps,))


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    cycles = list(cosine_kwargs)
    ends = itertools.accumulate(cycle["decay_steps"] for cycle in cycles)
    return join_schedules([warmup_cosine_decay_schedule(**cycle) for cycle in cycles], list(ends)[:-1])


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    return s.join(parts=tuple(schedules), boundaries=tuple(boundaries))
