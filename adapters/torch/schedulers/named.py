"""torch's schedulers under their names and with their parameters, as schedules."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from optcore.adapters.native import schedules
from optcore.adapters.torch.schedulers.forms import Named
from optcore.adapters.torch.schedulers.scheduler import ScheduleLR, check_momentum, put
from optcore.adapters.torch.schedules import PER_GROUP

__all__ = ["named"]

STARTS = {"CyclicLR", "OneCycleLR"}
"""Schedulers that set a group's first rate at once."""


def named(name: str) -> Callable[..., ScheduleLR]:
    """Torch's scheduler of this name: ``CosineAnnealingLR(optimizer, T_max, eta_min=0.0, last_epoch=-1)``."""
    first, *own = inspect.signature(schedules.table("torch")[name]).parameters.values()
    word = inspect.Parameter.POSITIONAL_OR_KEYWORD
    last = inspect.Parameter("last_epoch", word, default=-1)
    signature = inspect.Signature([first.replace(name="optimizer"), *(p.replace(kind=word) for p in own), last])

    def make(*args: Any, **options: Any) -> ScheduleLR:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        given: dict[str, Any] = {k: tuple(v) if k == "milestones" else v for k, v in bound.arguments.items()}
        optimizer, last_epoch = given.pop("optimizer"), given.pop("last_epoch")
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        groups = optimizer.param_groups
        for option in PER_GROUP & set(given):
            if isinstance(given[option], list | tuple) and len(given[option]) != len(groups):
                raise ValueError(
                    f"{option} must have the same length as optimizer.param_groups. "
                    f"{option} has {len(given[option])} values, param_groups has {len(groups)}."
                )
        form = Named(name, given)
        rates = [float(group.get("initial_lr", group["lr"])) for group in groups]
        laws = [form.law(i, rate) for i, rate in enumerate(rates)]
        check_momentum(optimizer, laws)
        if last_epoch == -1 and name in STARTS:
            for group, law in zip(groups, laws, strict=True):
                put(group, law["lr"](0))
        if last_epoch == -1 or form.anneals:
            for i, group in enumerate(groups):
                group.update(form.kept(i))
        return ScheduleLR(optimizer, form, last_epoch, rates)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"torch's {name} as a schedule: the value depends on the step alone."
    make.__signature__ = signature  # type: ignore[attr-defined]
    return make
