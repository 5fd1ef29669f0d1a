"""Schedules as torch's own kind of scheduler, for torch's optimizers and for ours."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from optcore import schedules as s
from optcore.adapters.torch.optimizer import TorchOptimizer
from optcore.adapters.torch.schedulers.entries import written
from optcore.adapters.torch.schedulers.forms import WHO, Form, Given, Law, Same, through
from optcore.adapters.torch.state import OURS, read, record
from optcore.schedule import Schedule

__all__ = ["ScheduleLR", "scheduler"]

WRITERS: weakref.WeakKeyDictionary[Any, weakref.ref[ScheduleLR]] = weakref.WeakKeyDictionary()
"""The scheduler of ours that last wrote the rates of each optimizer."""


class ScheduleLR(torch.optim.lr_scheduler.LRScheduler):
    """A torch scheduler whose values are those of schedules, one for each group.

    The value is that of the schedule at ``last_epoch`` and depends on nothing else, so a rate edited by hand lasts
    until the next step, which warns. ``form`` makes the laws of a group from its number in ``rates``, by default the
    rate that it began with: the schedules of its ``lr`` and, where there is one, of its ``momentum`` (beta1 where the
    group has betas).
    """

    def __init__(self, optimizer: Any, form: Form, last_epoch: int = -1, rates: Sequence[float] | None = None) -> None:
        self.form = form
        if rates is None:
            rates = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self.laws = [form.law(i, rate) for i, rate in enumerate(rates)]
        check_momentum(optimizer, self.laws)
        self.rates = None if form.anneals else list(rates)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = [form.base(i, float(rate)) for i, rate in enumerate(self.rates or self.base_lrs)]

    def get_lr(self) -> list[Any]:
        """The rates of the groups at ``last_epoch``."""
        groups, at = self.optimizer.param_groups, max(self.last_epoch - 1, 0)
        if self.rates is None:  # it goes from the rates that it finds at its first step
            if self._step_count < 2:
                ends = [[self.form.law(i, rate)["lr"](0) for rate in (0.0, 1.0)] for i in range(len(groups))]
                return [a if a == b else group["lr"] for group, (a, b) in zip(groups, ends, strict=True)]
            self.rates = [through(self.form, i, float(group["lr"]), at) for i, group in enumerate(groups)]
            self.laws = [self.form.law(i, rate) for i, rate in enumerate(self.rates)]
        for i in range(len(self.laws), len(groups)):
            if not self.form.grows:
                raise ValueError(
                    f"{WHO}: {len(groups)} parameter groups and {len(self.laws)} schedules, since one was added; "
                    "make another scheduler, with a schedule for each"
                )
            rate = through(self.form, i, float(groups[i]["lr"]), at)
            self.laws.append(self.form.law(i, rate))
            self.rates.append(rate)
            self.base_lrs.append(self.form.base(i, rate))
        self._move_momentum()
        return [law["lr"](self.last_epoch) for law in self.laws]

    def _move_momentum(self) -> None:
        for group, law in zip(self.optimizer.param_groups, self.laws, strict=False):
            if "momentum" in law:
                value = law["momentum"](self.last_epoch)
                if "betas" in group:
                    group["betas"] = (value, *group["betas"][1:])
                else:
                    group["momentum"] = value

    def _get_closed_form_lr(self) -> list[Any]:
        return self.get_lr()

    def step(self, epoch: int | None = None) -> None:
        """Write the rates of the next step, or of ``epoch``."""
        if self._step_count > 0 and self.last_epoch > 0 and epoch is None:
            self._check_alone()
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
        """Plain data: the entries of torch's own class at this step, the schedules, and the rates of the groups."""
        rates: Any = self.base_lrs if self.rates is None else self.rates
        entries = written(self.form, rates, self.base_lrs, self.last_epoch, "betas" in self.optimizer.defaults)
        own = record(self.form, self.rates, self.base_lrs, self.last_epoch, rates_of(self.optimizer))
        return entries | {"_last_lr": list(self._last_lr), OURS: own}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over where another scheduler was, with its schedules, and write the rates of its step to the groups.

        The state may be ours or torch's own, of any scheduler here. From torch's own the rates of groups that
        another has written to since this scheduler did, as a loaded optimizer, stay. Raises ValueError, before
        anything moves, where the state holds what no schedule of the step gives.
        """
        groups, before = self.optimizer.param_groups, list(self._last_lr)
        found = read(state_dict, self.form, groups, "betas" in self.optimizer.defaults)
        rates = found.base_lrs if found.rates is None else found.rates
        laws = [found.form.law(i, float(rate)) for i, rate in enumerate(rates)]
        check_momentum(self.optimizer, laws)
        self.form, self.rates, self.base_lrs, self.laws = found.form, found.rates, found.base_lrs, laws
        self.last_epoch = found.epoch  # type: ignore[assignment]
        self._step_count = state_dict.get("_step_count") or int(max(found.epoch, 0)) + 1
        if found.epoch < 0:  # a part of torch's sequence whose turn has not come
            return
        current = [law["lr"](found.epoch) for law in laws]
        self._last_lr = list(state_dict.get("_last_lr", current))
        for i, group in enumerate(groups[: len(laws)]):
            group.update(found.form.kept(i))
        written_since = any(float(a["lr"]) != float(b) for a, b in zip(groups, before, strict=False))
        if found.lr is None and (found.rates is None or written_since):
            return
        self._move_momentum()
        for group, rate in zip(groups, found.lr or self._last_lr, strict=False):
            put(group, float(rate))


def check_momentum(optimizer: Any, laws: Sequence[Law]) -> None:
    """Refuse a schedule of momentum for an optimizer that has none."""
    if any("momentum" in law for law in laws) and not {"momentum", "betas"} & set(optimizer.defaults):
        raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")


def rates_of(optimizer: Any) -> list[float]:
    """The rates of the groups, as numbers."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def put(group: dict[str, Any], rate: float) -> None:
    """Write the rate of a group, in place where it is a tensor."""
    if torch.is_tensor(group["lr"]):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def refuse_own_schedule(who: str, optimizer: Any) -> None:
    """Refuse an optimizer of ours whose rate is a schedule, which would undo what is written to the group."""
    if isinstance(optimizer, TorchOptimizer):
        for group in optimizer.param_groups:
            if "lr" in group["schedules"]:
                raise ValueError(f"{WHO}.{who}: lr is a schedule of its own; give the optimizer a number as lr")


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
    groups = len(optimizer.param_groups)
    if isinstance(schedule, list | tuple):
        each = tuple({"lr": checked(f"schedule[{i}]", x)} | beside for i, x in enumerate(schedule))
        if len(each) != groups:
            raise ValueError(
                f"{WHO}: {len(each)} schedules for {groups} parameter groups; give one schedule, or one for each group"
            )
        return ScheduleLR(optimizer, Given(each), last_epoch)
    return ScheduleLR(optimizer, Same({"lr": checked("schedule", schedule)} | beside), last_epoch)
