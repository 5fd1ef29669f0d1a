"""torch's schedulers made of others: one of ours where all parts are ours, torch's own where none is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from optcore import schedules as s
from optcore.adapters.torch_named import Named
from optcore.adapters.torch_schedule import WHO, AnnealLR, Law, ScheduleLR, checked, through
from optcore.schedule import Schedule

__all__ = ["ChainedScheduler", "LambdaLR", "SequentialLR"]

LRScheduler = torch.optim.lr_scheduler.LRScheduler


def ChainedScheduler(schedulers: Sequence[LRScheduler], optimizer: Any = None) -> LRScheduler:
    """As torch's ChainedScheduler, the product of schedulers, each as a factor of the rate that a group began with.

    Raises ValueError for one that sets the rate instead, as OneCycleLR, and for torch's own among ours: torch would
    leave nothing of those before it.
    """
    parts = list(schedulers)
    if not any(isinstance(part, ScheduleLR) for part in parts):
        return torch.optim.lr_scheduler.ChainedScheduler(parts, optimizer)
    ours = _ours("ChainedScheduler", parts, optimizer)
    if len({part.last_epoch for part in ours}) > 1:
        raise ValueError(f"{WHO}.ChainedScheduler: the schedulers are at steps {[p.last_epoch for p in ours]}, not one")
    for part in ours:
        if not part.scales or any("momentum" in law for law in part.laws):
            raise ValueError(
                f"{WHO}.ChainedScheduler: {part.laws[0]!r} sets the rate or a momentum, and does not multiply what is "
                "there; give optcore.schedules.product(parts=...) to scheduler"
            )
    groups, makes = ours[0].optimizer.param_groups, [part._make for part in ours]
    rates = [float(group["initial_lr"]) for group in groups]
    make = Chained(tuple(makes)) if all(isinstance(each, Named | Chained) for each in makes) else None
    if make is not None:
        laws = [make(i, rate) for i, rate in enumerate(rates)]
    else:
        over = [rate ** (1 - len(ours)) if rate else 0.0 for rate in rates]
        laws = [{"lr": s.product(parts=[*(part.laws[i]["lr"] for part in ours), x])} for i, x in enumerate(over)]
    return ScheduleLR(ours[0].optimizer, laws, ours[0].last_epoch - 1, make)


@dataclass(frozen=True)
class Chained:
    """The product of what others give to group i: the first at the group's rate, the others at a rate of 1."""

    makes: tuple[Any, ...]

    def __call__(self, i: int, rate: float) -> Law:
        first, *others = self.makes
        return {"lr": s.product(parts=[first(i, rate)["lr"], *(make(i, 1.0)["lr"] for make in others)])}


def SequentialLR(
    optimizer: Any, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
) -> LRScheduler:
    """As torch's SequentialLR, each scheduler from its milestone on, with a step that starts at 0 there."""
    parts = list(schedulers)
    if not parts or not all(isinstance(part, ScheduleLR) for part in parts):
        return torch.optim.lr_scheduler.SequentialLR(optimizer, parts, list(milestones), last_epoch)
    ours = _ours("SequentialLR", parts, optimizer)
    if len(milestones) != len(parts) - 1:
        raise ValueError(
            "Sequential Schedulers expects number of schedulers provided to be one more "
            f"than the number of milestone points, but got number of schedulers {len(parts)} and the "
            f"number of milestones to be equal to {len(milestones)}"
        )
    if len(parts) == 1:
        return ScheduleLR(optimizer, ours[0].laws, last_epoch)
    spans = [b - a for a, b in zip([0, *milestones], milestones, strict=False)]
    laws: list[Law] = []
    for i in range(len(optimizer.param_groups)):
        found: list[Law] = []
        for k, part in enumerate(ours):
            law = part.laws[i]
            if k == 0 and (
                isinstance(part._make, Chained) or (isinstance(part._make, Named) and part._make.multiplies)
            ):
                law = part._make(i, float(optimizer.param_groups[i]["initial_lr"]))  # OneCycleLR has set another
            elif k and isinstance(part, AnnealLR) and part._make is not None:
                law = through(part._make, i, found[-1]["lr"](spans[k - 1] - 1), 0)
            found.append(law)
        law = {"lr": s.join(parts=[each["lr"] for each in found], boundaries=tuple(milestones))}
        if any("momentum" in each for each in found):
            law["momentum"] = s.join(parts=_momenta(found, spans), boundaries=tuple(milestones))
        laws.append(law)
    return ScheduleLR(optimizer, laws, last_epoch)


def _momenta(laws: Sequence[Law], spans: Sequence[int]) -> list[Schedule]:
    """The momentum of each part; where it has none what the part before it left, or the next one begins with."""
    first = next(law["momentum"] for law in laws if "momentum" in law)
    found: list[Schedule] = []
    for k, law in enumerate(laws):
        left = found[-1](max(spans[k - 1] - 1, 0)) if found else first(0)
        found.append(law.get("momentum") or s.constant(value=left))
    return found


def LambdaLR(optimizer: Any, lr_lambda: Any, last_epoch: int = -1) -> LRScheduler:
    """As torch's LambdaLR, the rate times a schedule, or times a function.

    One of ours where every factor is a schedule; a function has no text that a state dict could keep, so that it is
    torch's own where one is given.
    """
    groups = optimizer.param_groups
    each = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else [lr_lambda] * len(groups)
    if len(each) != len(groups):
        raise ValueError(f"Expected {len(groups)} lr_lambdas, but got {len(each)}")
    if any(not isinstance(factor, Schedule) for factor in each):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, [_function(factor) for factor in each], last_epoch)
    rates = [float(group.get("initial_lr", group["lr"])) for group in groups]
    laws = [
        {"lr": s.product(parts=[checked(f"lr_lambda[{i}]", factor), rate])}
        for i, (factor, rate) in enumerate(zip(each, rates, strict=True))
    ]
    return ScheduleLR(optimizer, laws, last_epoch)


def _function(factor: Any) -> Callable[[int], float]:
    """A schedule as a plain function, whose attributes torch does not look for."""
    if not callable(factor):
        kind = type(factor).__name__
        raise TypeError(f"{WHO}.LambdaLR: lr_lambda={factor!r} is of type {kind}; give a schedule or a function")
    return (lambda e: float(factor(e))) if isinstance(factor, Schedule) else factor


def _ours(who: str, parts: Sequence[Any], optimizer: Any) -> list[ScheduleLR]:
    """The parts, which must be ours and of one optimizer."""
    optimizer = optimizer or parts[0].optimizer
    for k, part in enumerate(parts):
        if not isinstance(part, ScheduleLR):
            raise ValueError(
                f"{WHO}.{who}: schedulers[{k}]={type(part).__name__} is none of ours and would be overwritten; "
                f"make all parts by {WHO}"
            )
        if part.optimizer is not optimizer:
            raise ValueError(f"{WHO}.{who}: schedulers[{k}] belongs to another optimizer; give those of one")
    return list(parts)
