"""torch's schedulers and ours, interrupted, saved and resumed: the cases and helpers of the tests of resumed runs."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from optcore import schedules as s
from optcore.adapters import torch as ours

L = torch.optim.lr_scheduler
RATES = (0.3, 0.05)
STOP, END = 13, 30


class Torch:
    """A namespace of torch's schedulers, SWALR included."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.optim.swa_utils if name == "SWALR" else L, name)


theirs: Any = Torch()
OPTIMIZERS: dict[str, Callable[[list[Any]], Any]] = {
    "SGD": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    "our SGD": lambda groups: ours.SGD(groups, lr=0.1, momentum=0.9),
    "our AdamW": lambda groups: ours.AdamW(groups, lr=0.1),
}


def factor(m: Any) -> Any:
    """Return a factor of the rate: a schedule for our schedulers, a function for torch's."""
    law = s.exponential(start=1.0, rate=0.9)
    return law if m is ours else lambda e: law(e)


CASES: dict[str, Callable[[Any, Any], Any]] = {
    "ConstantLR": lambda m, o: m.ConstantLR(o, 0.25, 15),
    "ConstantLR, done": lambda m, o: m.ConstantLR(o, 0.25, 9),
    "LinearLR": lambda m, o: m.LinearLR(o, 0.25, 0.75, 20),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.9),
    "StepLR": lambda m, o: m.StepLR(o, 4, 0.5),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [15, 5, 5, 9], 0.5),
    "PolynomialLR": lambda m, o: m.PolynomialLR(o, 25, 2.0),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 10, 0.01),
    "CosineAnnealingWarmRestarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "CosineAnnealingWarmRestarts, even": lambda m, o: m.CosineAnnealingWarmRestarts(o, 7),
    "CyclicLR": lambda m, o: m.CyclicLR(o, 0.1, 0.5, 4, 3),
    "CyclicLR, halved": lambda m, o: m.CyclicLR(o, 0.1, 0.5, 4, None, "triangular2"),
    "CyclicLR, falling": lambda m, o: m.CyclicLR(o, 0.1, 0.5, 4, 3, "exp_range", 0.9, cycle_momentum=False),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 0.5, 31),
    "OneCycleLR, three phases": lambda m, o: m.OneCycleLR(
        o, 0.5, epochs=5, steps_per_epoch=7, pct_start=0.3, anneal_strategy="linear", three_phase=True
    ),
    "SWALR": lambda m, o: m.SWALR(o, 0.01, 20),
    "SWALR, done": lambda m, o: m.SWALR(o, 0.01, 9, "linear"),
    "LambdaLR": lambda m, o: m.LambdaLR(o, factor(m)),
    "LambdaLR, a function": lambda m, o: m.LambdaLR(o, lambda e: 1 / (1 + e)),
    "ChainedScheduler": lambda m, o: m.ChainedScheduler([m.StepLR(o, 4, 0.5), m.ExponentialLR(o, 0.9)]),
    "SequentialLR": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 4), m.CosineAnnealingWarmRestarts(o, 3, 2), m.ExponentialLR(o, 0.9)], [4, 20]
    ),
    "SequentialLR, a cycle": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 4), m.OneCycleLR(o, 0.4, 40)], [4]
    ),
    "SequentialLR, annealed": lambda m, o: m.SequentialLR(o, [m.StepLR(o, 2, 0.5), m.SWALR(o, 0.01, 9)], [7]),
    "SequentialLR, a factor": lambda m, o: m.SequentialLR(o, [m.StepLR(o, 2, 0.5), m.LambdaLR(o, factor(m))], [7]),
    "SequentialLR, one": lambda m, o: m.SequentialLR(o, [m.CosineAnnealingLR(o, 20)], []),
    "SequentialLR, torch's parts": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 4), L.CyclicLR(o, 0.1, 0.5, 4, 3)], [4]
    ),
    "ReduceLROnPlateau": lambda m, o: m.ReduceLROnPlateau(o, factor=0.5, patience=2, cooldown=1),
}
"""torch's schedulers, interrupted behind a restart, a milestone or between two."""
ALONE: dict[str, Callable[[Any], Any]] = {
    "scheduler": lambda o: ours.scheduler(o, s.wsd(peak=0.2, warmup=5, stable=4, decay=16), momentum=0.8),
    "scheduler of each": lambda o: ours.scheduler(
        o, [s.rex(peak=0.1 * (k + 1), steps=25) for k, _ in enumerate(o.param_groups)]
    ),
    "ChainedScheduler of schedules": lambda o: ours.ChainedScheduler(
        [ours.scheduler(o, s.linear(start=0.6, end=0.1, steps=20)), ours.LambdaLR(o, factor(ours)), ours.StepLR(o, 4)]
    ),
    "SequentialLR of a chain": lambda o: ours.SequentialLR(
        o, [ours.StepLR(o, 4), ours.ChainedScheduler([ours.StepLR(o, 4), ours.ExponentialLR(o, 0.9)])], [6]
    ),
}  # fmt: skip
"""Schedulers that torch does not have."""
WHERE = (("SGD", 2), ("our SGD", 1), ("our AdamW", 2))
"""Optimizers and numbers of their groups."""
ORDERS = [("build", "optimizer", "scheduler"), ("build", "scheduler", "optimizer"), ("optimizer", "build", "scheduler")]
"""A scheduler takes a state once it is built."""


def optimizer(kind: str = "SGD", groups: int = 2, scale: float = 1.0) -> Any:
    members = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": scale * lr} for lr in RATES[:groups]]
    return OPTIMIZERS[kind](members)


def now(o: Any) -> list[float]:
    """Return the rates of the groups, and their momenta."""
    momenta = [g["betas"][0] if "betas" in g else g["momentum"] for g in o.param_groups]
    return [float(g["lr"]) for g in o.param_groups] + momenta


def run(scheduler: Any, steps: int, start: int = 0) -> np.ndarray:
    """Return the rates of each update before the scheduler's step; a plateau receives a loss that stops falling."""
    found = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torch")
        for e in range(start, start + steps):
            found.append(now(scheduler.optimizer))
            scheduler.optimizer.step()
            scheduler.step(*([max(1.0 - e / 5, 0.2)] if isinstance(scheduler, L.ReduceLROnPlateau) else []))
    return np.array(found)


def saved(scheduler: Any) -> tuple[Any, Any]:
    """Return the states of the optimizer and the scheduler, written to a file of plain data and read back."""
    file = io.BytesIO()
    torch.save([scheduler.optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    first, second = torch.load(file, weights_only=True)
    return first, second


def resumed(make: Callable[[Any], Any], states: tuple[Any, Any], order: Any, o: Any) -> Any:
    scheduler = None
    for what in order:
        if what == "build":
            scheduler = make(o)
        elif what == "optimizer":
            o.load_state_dict(states[0])
        else:
            scheduler.load_state_dict(states[1])
    return scheduler


def near(got: Any, want: Any) -> None:
    """Assert equality; torch's products differ from the closed forms by some units in the last place for each step."""
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)
