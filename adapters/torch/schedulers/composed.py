"""torch's schedulers made of others: one of ours where all parts are ours, torch's own where none is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from optcore.adapters.torch.schedulers.forms import WHO, Chained, Factors, Sequential
from optcore.adapters.torch.schedulers.scheduler import ScheduleLR, checked, put, rates_of
from optcore.adapters.torch.state import OURS, epoch_of, read
from optcore.schedule import Schedule

__all__ = ["ChainedScheduler", "LambdaLR", "SequentialLR"]

LRScheduler = torch.optim.lr_scheduler.LRScheduler


class Resuming(LRScheduler):
    """A mixin for torch's own classes: a loaded state writes its rates, which a new scheduler may have changed."""

    def state_dict(self) -> dict[str, Any]:
        """Torch's own, and the rates of the groups."""
        found: dict[str, Any] = super().state_dict()
        return found | {OURS: {"last_epoch": epoch_of(found), "lr": rates_of(self.optimizer)}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over where another scheduler was, and write the rates of its step to the groups."""
        found, groups, before = dict(state_dict), self.optimizer.param_groups, list(self._last_lr)
        mine = found.pop(OURS, {"last_epoch": None})
        ours = mine["last_epoch"] == epoch_of(found)  # torch's own class keeps the entry, and goes on without it
        rates = mine["lr"] if ours else found["_last_lr"]
        if len(rates) != len(groups):
            raise ValueError(
                f"{WHO}: the state holds the rates of {len(rates)} parameter groups, the optimizer has {len(groups)}"
            )
        for part, state in zip(getattr(self, "_schedulers", ()), found.get("_schedulers", ()), strict=True):
            if isinstance(part, ScheduleLR):  # raises before anything moves
                read(state, part.form, groups, "betas" in self.optimizer.defaults)
        alone = all(float(group["lr"]) == float(rate) for group, rate in zip(groups, before, strict=False))
        super().load_state_dict(found)
        if ours or alone:
            for group, rate in zip(groups, rates, strict=True):
                put(group, float(rate))
            for part in _running(self):
                if getattr(part, "cycle_momentum", False):
                    part._get_lr_called_within_step = True  # get_lr writes the momentum, and warns outside of a step
                    part.get_lr()
                    part._get_lr_called_within_step = False


class FunctionLR(Resuming, torch.optim.lr_scheduler.LambdaLR):
    """torch's LambdaLR, of functions."""


class TorchChain(Resuming, torch.optim.lr_scheduler.ChainedScheduler):
    """torch's ChainedScheduler, of torch's own schedulers."""


class TorchSequence(Resuming, torch.optim.lr_scheduler.SequentialLR):
    """torch's SequentialLR, where not all parts are ours."""


def _running(scheduler: Any) -> list[Any]:
    """The schedulers whose turn it is."""
    parts = getattr(scheduler, "_schedulers", None)
    if parts is None:
        return [scheduler]
    if hasattr(scheduler, "_milestones"):
        parts = [parts[bisect_right(scheduler._milestones, scheduler.last_epoch)]]
    return [each for part in parts for each in _running(part)]


def ChainedScheduler(schedulers: Sequence[LRScheduler], optimizer: Any = None) -> LRScheduler:
    """As torch's ChainedScheduler, the product of schedulers, each as a factor of the rate that a group began with.

    Raises ValueError for one that sets the rate instead, as OneCycleLR, and for torch's own among ours: torch would
    leave nothing of those before it.
    """
    parts = list(schedulers)
    if not any(isinstance(part, ScheduleLR) for part in parts):
        return TorchChain(parts, optimizer)
    ours = _ours("ChainedScheduler", parts, optimizer)
    if len({part.last_epoch for part in ours}) > 1:
        raise ValueError(f"{WHO}.ChainedScheduler: the schedulers are at steps {[p.last_epoch for p in ours]}, not one")
    for part in ours:
        if not part.form.factor or any("momentum" in law for law in part.laws):
            raise ValueError(
                f"{WHO}.ChainedScheduler: {part.form!r} sets the rate or a momentum, and does not multiply what is "
                "there; give optcore.schedules.product(parts=...) to scheduler"
            )
    rates = [float(group["initial_lr"]) for group in ours[0].optimizer.param_groups]
    form = Chained(tuple(part.form for part in ours))
    return ScheduleLR(ours[0].optimizer, form, ours[0].last_epoch - 1, rates)


def SequentialLR(
    optimizer: Any, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
) -> LRScheduler:
    """As torch's SequentialLR, each scheduler from its milestone on, with a step that starts at 0 there."""
    parts = list(schedulers)
    if not parts or not all(isinstance(part, ScheduleLR) for part in parts):
        return TorchSequence(optimizer, parts, list(milestones), last_epoch)
    ours = _ours("SequentialLR", parts, optimizer)
    if len(milestones) != len(parts) - 1:
        raise ValueError(
            "Sequential Schedulers expects number of schedulers provided to be one more "
            f"than the number of milestone points, but got number of schedulers {len(parts)} and the "
            f"number of milestones to be equal to {len(milestones)}"
        )
    rates = tuple(tuple(map(float, part.rates or part.base_lrs)) for part in ours)
    form = Sequential(tuple(part.form for part in ours), rates, tuple(milestones))
    return ScheduleLR(optimizer, form, last_epoch, [float(group["initial_lr"]) for group in optimizer.param_groups])


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
        return FunctionLR(optimizer, [_function(factor) for factor in each], last_epoch)
    return ScheduleLR(optimizer, Factors(tuple(checked(f"lr_lambda[{i}]", x) for i, x in enumerate(each))), last_epoch)


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
