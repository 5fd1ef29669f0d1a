"""torch's schedulers: same names, parameters and defaults; the group's learning rate stands for the optimizer.

Each gives what a group follows: its schedule of lr, and one of momentum or beta1 where torch moves that too.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from numbers import Real
from typing import Any

from optcore import schedules as s
from optcore.schedule import Schedule

__all__ = [
    "SWALR", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR",
    "LinearLR", "MultiStepLR", "OneCycleLR", "PolynomialLR", "StepLR",
]  # fmt: skip

PER_GROUP = frozenset({"base_lr", "base_momentum", "max_lr", "max_momentum", "swa_lr"})
"""The parameters that may be a list of one value for each group; a function here is given its group's value."""
SHAPES = {"cos": "cosine", "linear": "linear"}


def ConstantLR(lr: float, *, factor: float = 1.0 / 3, total_iters: int = 5) -> dict[str, Schedule]:
    return {"lr": s.hold(value=lr, factor=factor, steps=total_iters)}


def LinearLR(
    lr: float, *, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5
) -> dict[str, Schedule]:
    if total_iters == 0:
        return {"lr": s.constant(value=lr * start_factor)}
    return {"lr": s.linear(start=lr * start_factor, end=lr * end_factor, steps=total_iters)}


def ExponentialLR(lr: float, *, gamma: float) -> dict[str, Schedule]:
    return {"lr": s.exponential(start=lr, rate=gamma) if gamma else _none_from(lr, 1)}


def StepLR(lr: float, *, step_size: int, gamma: float = 0.1) -> dict[str, Schedule]:
    return {"lr": s.step(start=lr, every=step_size, rate=gamma) if gamma else _none_from(lr, step_size)}


def MultiStepLR(lr: float, *, milestones: Iterable[int], gamma: float = 0.1) -> dict[str, Schedule]:
    counted = Counter(milestones)
    if not all(isinstance(step, Real) for step in counted):
        raise TypeError(f"MultiStepLR: milestones={list(counted)!r} is no list of steps; give whole numbers")
    times = sorted(counted.items())
    if gamma and all(n == 1 for _, n in times):
        return {"lr": s.multistep(start=lr, milestones=[step for step, _ in times], rate=gamma)}
    passed = itertools.accumulate(n for _, n in times)
    return {"lr": s.piecewise(start=lr, points=[(at, lr * gamma**n) for (at, _), n in zip(times, passed, strict=True)])}


def PolynomialLR(lr: float, *, total_iters: int = 5, power: float = 1.0) -> dict[str, Schedule]:
    if total_iters == 0 or power == 0:
        return {"lr": s.constant(value=lr)}
    return {"lr": s.polynomial(peak=lr, steps=total_iters, power=power)}


def CosineAnnealingLR(lr: float, *, T_max: int, eta_min: float = 0.0) -> dict[str, Schedule]:
    return {"lr": s.cosine(like="torch", peak=lr, steps=T_max, floor=eta_min)}


def CosineAnnealingWarmRestarts(lr: float, *, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> dict[str, Schedule]:
    return {"lr": s.sgdr(peak=lr, first=T_0, growth=T_mult, floor=eta_min)}


def CyclicLR(
    lr: float,
    *,
    base_lr: float,
    max_lr: float,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
    scale_fn: None = None,
    scale_mode: str = "cycle",
    cycle_momentum: bool = True,
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
) -> dict[str, Schedule]:
    if scale_fn is not None:
        raise TypeError(
            f"CyclicLR: scale_fn={scale_fn!r} is a function, which no state dict can keep; give None and a mode, or "
            "take torch's own CyclicLR"
        )
    if scale_mode not in ("cycle", "iterations"):
        raise ValueError(f"CyclicLR: scale_mode={scale_mode!r} is no choice; give 'cycle' or 'iterations'")
    laws = {"triangular": s.triangular, "triangular2": s.triangular2, "exp_range": s.exp_range}
    if mode not in laws:
        raise ValueError("mode is invalid and scale_fn is None")
    rate = {"rate": gamma} if mode == "exp_range" else {}

    def wave(base: float, peak: float) -> Any:
        if rate and gamma == 0:
            return s.constant(value=base)  # nothing is left of any height
        return laws[mode](up=step_size_up, down=step_size_down, base=base, peak=peak, **rate)

    made = {"lr": wave(base_lr, max_lr)}
    return {**made, "momentum": wave(max_momentum, base_momentum)} if cycle_momentum else made


def OneCycleLR(
    lr: float,
    *,
    max_lr: float,
    total_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> dict[str, Schedule]:
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        total_steps = epochs * steps_per_epoch
    common: dict[str, Any] = {"steps": total_steps, "rise": pct_start, "three_phase": three_phase}
    common["shape"] = _shape(anneal_strategy)
    made = {"lr": s.one_cycle(peak=max_lr, div=div_factor, final_div=final_div_factor, **common)}
    momentum = s.one_cycle_momentum(high=max_momentum, low=base_momentum, **common)
    return {**made, "momentum": momentum} if cycle_momentum else made


def SWALR(lr: float, *, swa_lr: float, anneal_epochs: int = 10, anneal_strategy: str = "cos") -> dict[str, Schedule]:
    if anneal_epochs == 0:
        return {"lr": s.constant(value=swa_lr)}
    return {"lr": s.swa_anneal(start=lr, end=swa_lr, steps=anneal_epochs, shape=_shape(anneal_strategy))}


def _none_from(lr: float, step: int) -> Any:
    """The rate until a step, then 0: what a factor of 0 makes of it."""
    return s.piecewise(start=lr, points=[(step, 0.0)])


def _shape(strategy: str) -> str:
    if strategy not in SHAPES:
        raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {strategy}")
    return SHAPES[strategy]
