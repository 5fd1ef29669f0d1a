"""Schedules as torch's own kind of scheduler, for torch's optimizers and for ours."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from optcore import schedules as s
from optcore.adapters.torch_base import Optimizer
from optcore.recipe import Recipe
from optcore.schedule import Schedule

__all__ = ["AnnealLR", "ScheduleLR", "scheduler"]

Law = dict[str, Schedule]
"""What a group follows: the schedule of its ``lr`` and, where there is one, of its ``momentum``."""
WHO = "optcore.adapters.torch"
WRITERS: weakref.WeakKeyDictionary[Any, weakref.ref[ScheduleLR]] = weakref.WeakKeyDictionary()
"""Which of our schedulers wrote the rates of an optimizer last."""


class ScheduleLR(torch.optim.lr_scheduler.LRScheduler):
    """A torch scheduler whose values are those of schedules, one for each group.

    The value is that of the schedule at ``last_epoch`` and depends on nothing else, so a rate edited by hand lasts
    until the next step, which warns. ``laws`` holds for each group the schedules of its ``lr`` and, where there is
    one, of its ``momentum`` (beta1 where the group has betas). ``make(i, rate)`` gives the laws of group i, for groups
    that are added later; without it they are refused. ``scales`` says that the rate of a group multiplies its law.
    """

    def __init__(
        self,
        optimizer: Any,
        laws: Sequence[Law],
        last_epoch: int = -1,
        make: Callable[[int, float], Law] | None = None,
        scales: bool = True,
    ) -> None:
        if len(laws) != len(optimizer.param_groups):
            raise ValueError(
                f"{WHO}: {len(laws)} schedules for {len(optimizer.param_groups)} parameter groups; "
                "give one schedule, or one for each group"
            )
        if any("momentum" in law for law in laws) and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        self.laws, self._make, self.scales = list(laws), make, scales
        self._loaded = False  # the rates of the groups may be another's until the next step
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The rates of the groups at ``last_epoch``."""
        groups = self.optimizer.param_groups
        for i in range(len(self.laws), len(groups)):
            if self._make is None:
                raise ValueError(
                    f"{WHO}: {len(groups)} parameter groups and {len(self.laws)} schedules, since one was added; "
                    "make another scheduler, with a schedule for each"
                )
            self.laws.append(through(self._make, i, float(groups[i]["lr"]), max(self.last_epoch - 1, 0)))
        for group, law in zip(groups, self.laws, strict=True):
            if "momentum" in law:
                value = law["momentum"](self.last_epoch)
                if "betas" in group:
                    group["betas"] = (value, *group["betas"][1:])
                else:
                    group["momentum"] = value
        return [law["lr"](self.last_epoch) for law in self.laws]

    def _get_closed_form_lr(self) -> list[Any]:
        return self.get_lr()

    def step(self, epoch: int | None = None) -> None:
        """Write the rates of the next step, or of ``epoch``."""
        if self._step_count > 0 and self.last_epoch > 0 and epoch is None and not self._loaded:
            self._check_alone()
        self._loaded = False
        super().step(epoch)
        if self._step_count > 1:
            WRITERS[self.optimizer] = weakref.ref(self)

    def _check_alone(self) -> None:
        """Refuse to overwrite, step by step, what another schedule of ours wrote; warn where it was someone else."""
        now = [group["lr"] for group in self.optimizer.param_groups]
        if all(torch.is_tensor(a) or a == b for a, b in zip(now, self._last_lr, strict=False)):
            return
        other = WRITERS.get(self.optimizer)
        if other is not None and other() not in (None, self):
            raise RuntimeError(
                f"{WHO}: two schedules move one optimizer, and each would undo the other; "
                f"join them with {WHO}.ChainedScheduler or SequentialLR"
            )
        warnings.warn(
            f"{WHO}: lr={now!r} was {self._last_lr!r} after the last step; the value of a schedule depends on the step "
            "alone, so the change is lost",
            UserWarning,
            stacklevel=3,
        )

    def state_dict(self) -> dict[str, Any]:
        """Plain data: torch's own entries, and the schedules as the text of recipes."""
        kept = {k: v for k, v in super().state_dict().items() if k not in ("laws", "_make", "scales", "_loaded")}
        return kept | {"schedules": _texts(self.laws)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over where another scheduler was, with its schedules; from torch's own the step, and the laws stay."""
        found, self._loaded = dict(state_dict), True
        if "schedules" not in found:
            first = found if "last_epoch" in found else found.get("_schedulers", [{}])[0]
            if "last_epoch" not in first:
                raise ValueError(f"{WHO}: a state with {sorted(found)} is none of a scheduler; give its state_dict()")
            step = {"last_epoch": first["last_epoch"], "_step_count": first.get("_step_count", first["last_epoch"] + 1)}
            super().load_state_dict(step | {k: found[k] for k in ("_last_lr",) if k in found})
            return
        texts = found.pop("schedules")
        if len(texts) != len(self.optimizer.param_groups):
            raise ValueError(
                f"{WHO}: the state holds schedules of {len(texts)} parameter groups, the optimizer has "
                f"{len(self.optimizer.param_groups)}"
            )
        super().load_state_dict(found)
        if texts != _texts(self.laws):
            self.laws = [{k: Recipe.from_json(v).values["lr"] for k, v in each.items()} for each in texts]


class AnnealLR(ScheduleLR):
    """torch's SWALR: from the rate that a group has at the first step to ``swa_lr``, and there after."""

    from_here = False  #: whether the rate from which it goes is known

    def get_lr(self) -> list[Any]:
        """The rates of the groups at ``last_epoch``; before the first step those that they have."""
        groups, make = self.optimizer.param_groups, self._make
        if make is None or self.from_here:
            return super().get_lr()
        if self._step_count < 2:
            ends = [make(i, 0.0)["lr"](0) for i in range(len(groups))]
            starts = [make(i, 1.0)["lr"](0) for i in range(len(groups))]
            return [g["lr"] if a != b else a for g, a, b in zip(groups, ends, starts, strict=True)]
        at = max(self.last_epoch - 1, 0)
        self.laws = [through(make, i, float(group["lr"]), at) for i, group in enumerate(groups)]
        self.from_here = True
        return super().get_lr()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over where another scheduler was; from torch's own with the rate that the groups have."""
        self.from_here = False
        super().load_state_dict(state_dict)


def through(make: Callable[[int, float], Law], i: int, rate: float, epoch: int) -> Law:
    """The laws of group i whose rate at ``epoch`` is ``rate``: what a rate makes of a law is a line in it."""
    none, one = (make(i, float(r))["lr"](epoch) for r in (0, 1))
    if none == one:
        return make(i, rate)
    return make(i, max((rate - none) / (one - none), 0.0))


def put(group: dict[str, Any], rate: float) -> None:
    """Write the rate of a group, in place where it is a tensor."""
    if torch.is_tensor(group["lr"]):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def refuse_own_schedule(who: str, optimizer: Any) -> None:
    """Refuse an optimizer of ours whose rate is a schedule, which would undo what is written to the group."""
    if isinstance(optimizer, Optimizer):
        for group in optimizer.param_groups:
            if "lr" in group["schedules"]:
                raise ValueError(f"{WHO}.{who}: lr is a schedule of its own; give the optimizer a number as lr")


def _texts(laws: Sequence[Law]) -> list[dict[str, str]]:
    return [{k: Recipe("sgd", lr=v).to_json(indent=None) for k, v in law.items()} for law in laws]


def checked(name: str, value: Any) -> Schedule:
    """The schedule, or the constant one of a number; refused by name where it is neither or wants a parameter."""
    if isinstance(value, Schedule):
        value(0)  # raises where a parameter of it is missing
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(
            f"{WHO}.scheduler: {name}={value!r} is of type {type(value).__name__}; give a schedule or a number"
            + (", or a function to LambdaLR" if callable(value) else "")
        )
    constant: Schedule = s.constant(value=value)
    return constant


@dataclass(frozen=True)
class Same:
    """The same laws for every group."""

    law: Law

    def __call__(self, i: int, rate: float) -> Law:
        del i, rate
        return self.law


def scheduler(
    optimizer: Any,
    schedule: Schedule | float | Sequence[Schedule | float],
    *,
    momentum: Schedule | float | None = None,
    last_epoch: int = -1,
) -> ScheduleLR:
    """The torch scheduler of a schedule, or of one for each parameter group, for any torch optimizer.

    ``momentum`` is a schedule of momentum or beta1. A number stands for a constant. Call ``step()`` after each
    ``optimizer.step()``; the first update uses the value at 0.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
    beside = {} if momentum is None else {"momentum": checked("momentum", momentum)}
    if isinstance(schedule, list | tuple):
        each = [{"lr": checked(f"schedule[{i}]", x)} | beside for i, x in enumerate(schedule)]
        return ScheduleLR(optimizer, each, last_epoch)
    law = {"lr": checked("schedule", schedule)} | beside
    return ScheduleLR(optimizer, [law] * len(optimizer.param_groups), last_epoch, Same(law))
