"""Keras' schedules: same names, same parameters, same defaults."""

from __future__ import annotations

from collections.abc import Sequence

from optcore import schedules as s
from optcore.schedule import Schedule

__all__ = [
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay", "PiecewiseConstantDecay",
    "PolynomialDecay",
]  # fmt: skip


def ExponentialDecay(
    initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False, name: str = ""
) -> Schedule:
    return s.exponential(start=initial_learning_rate, steps=decay_steps, rate=decay_rate, staircase=staircase)


def PiecewiseConstantDecay(boundaries: Sequence[int], values: Sequence[float], name: str = "") -> Schedule:
    if len(boundaries) != len(values) - 1:
        raise ValueError(
            "The length of boundaries should be 1 less than the length of values. "
            f"Received: boundaries={boundaries} of length {len(boundaries)}, and values={values} "
            f"of length {len(values)}."
        )
    return s.piecewise(like="keras", start=values[0], points=tuple(zip(boundaries, values[1:], strict=True)))


def PolynomialDecay(
    initial_learning_rate: float,
    decay_steps: int,
    end_learning_rate: float = 0.0001,
    power: float = 1.0,
    cycle: bool = False,
    name: str = "",
) -> Schedule:
    return s.polynomial(
        peak=initial_learning_rate, steps=decay_steps, floor=end_learning_rate, power=power, cycle=cycle
    )


def InverseTimeDecay(
    initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False, name: str = ""
) -> Schedule:
    return s.inverse_time(start=initial_learning_rate, steps=decay_steps, rate=decay_rate, staircase=staircase)


def CosineDecay(
    initial_learning_rate: float,
    decay_steps: int,
    alpha: float = 0.0,
    name: str = "",
    warmup_target: float | None = None,
    warmup_steps: int = 0,
) -> Schedule:
    peak = initial_learning_rate if warmup_target is None else warmup_target
    fall = s.cosine(peak=peak, steps=decay_steps, floor=alpha * peak)
    if warmup_target is None or not warmup_steps:
        return fall
    rise = s.linear(start=initial_learning_rate, end=warmup_target, steps=warmup_steps)
    return s.join(parts=(rise, fall), boundaries=(warmup_steps,))


def CosineDecayRestarts(
    initial_learning_rate: float,
    first_decay_steps: int,
    t_mul: float = 2.0,
    m_mul: float = 1.0,
    alpha: float = 0.0,
    name: str = "",
) -> Schedule:
    floor = alpha * initial_learning_rate
    return s.sgdr(peak=initial_learning_rate, first=first_decay_steps, growth=t_mul, shrink=m_mul, floor=floor)
