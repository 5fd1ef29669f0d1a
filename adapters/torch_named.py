"""torch's schedulers under their names and with their parameters, as schedules."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from optcore.adapters.native import schedules
from optcore.adapters.native.schedules.torch import PER_GROUP
from optcore.adapters.torch_schedule import WHO, AnnealLR, Law, ScheduleLR, put

__all__ = ["Named", "named"]

SCALES = {
    "ConstantLR", "CosineAnnealingLR", "ExponentialLR", "LinearLR", "MultiStepLR", "PolynomialLR", "StepLR",
}  # fmt: skip
"""Schedulers that multiply the rate a group has; the others set it."""
STARTS = {"CyclicLR", "OneCycleLR"}
"""Schedulers that set a group's first rate at once."""


@dataclass(frozen=True)
class Named:
    """The laws that torch's scheduler of a name and its arguments give to group i at its rate."""

    name: str
    given: dict[str, Any]

    def __call__(self, i: int, rate: float) -> Law:
        own = {k: self._own(k, v, i) if k in PER_GROUP else v for k, v in self.given.items()}
        law: Law = schedules.table("torch")[self.name](rate, **own)
        return law

    @property
    def multiplies(self) -> bool:
        """Whether torch multiplies the rate a group has."""
        return self.name in SCALES

    def _own(self, option: str, value: Any, i: int) -> Any:
        if not isinstance(value, list | tuple):
            return value
        if i >= len(value):
            raise ValueError(
                f"{WHO}.{self.name}: {option}={value!r} has no value for a parameter group that was added; "
                "make another scheduler"
            )
        return value[i]


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
        law = Named(name, given)
        laws = [law(i, float(group.get("initial_lr", group["lr"]))) for i, group in enumerate(groups)]
        if last_epoch == -1 and name in STARTS:
            for group, each in zip(groups, laws, strict=True):
                put(group, each["lr"](0))
                if name == "OneCycleLR":  # torch's CyclicLR leaves an initial rate that is there
                    group["initial_lr"] = each["lr"](0)
        made = AnnealLR if name == "SWALR" else ScheduleLR
        return made(optimizer, laws, last_epoch, law, law.multiplies and not given.get("eta_min"))

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"torch's {name} as a schedule: the value depends on the step alone."
    make.__signature__ = signature  # type: ignore[attr-defined]
    return make
