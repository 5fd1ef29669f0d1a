"""The form of a scheduler as plain data: torch's name and arguments, given schedules, or the parts it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optcore import schedules as s
from optcore.adapters.native import schedules
from optcore.adapters.native.numbers import from_text, to_text
from optcore.adapters.torch.schedules import PER_GROUP
from optcore.schedule import Schedule

__all__ = ["Chained", "Factors", "Form", "Given", "Law", "Named", "Same", "Sequential", "from_data", "through"]

Law = dict[str, Schedule]
"""The schedules that a group follows: that of its ``lr`` and, where there is one, of its ``momentum``."""
WHO = "optcore.adapters.torch"
SCALES = {
    "ConstantLR", "CosineAnnealingLR", "ExponentialLR", "LinearLR", "MultiStepLR", "PolynomialLR", "StepLR",
}  # fmt: skip
"""Schedulers that multiply the rate a group has; the others set it."""


class Form:
    """A form makes the laws of a scheduler from one number for each group, most often the rate it began with."""

    multiplies = False  #: whether torch multiplies the rate that a group has, step by step
    factor = True  #: whether the rate is a product that may have more factors
    grows = False  #: whether a group that is added has a law
    anneals = False  #: whether it goes from the rate that a group has at the first step

    def law(self, i: int, rate: float) -> Law:
        """The laws of group i, made at its rate."""
        raise NotImplementedError

    def base(self, i: int, rate: float) -> float:
        """The entry of torch's ``base_lrs`` for group i."""
        del i
        return rate

    def kept(self, i: int) -> dict[str, float]:
        """The entries that torch's scheduler keeps in group i beside the rate."""
        del i
        return {}

    def data(self) -> list[Any]:
        """The form as plain data, from which :func:`from_data` makes it again."""
        raise NotImplementedError


@dataclass(frozen=True)
class Given(Form):
    """The laws as they stand, one for each group."""

    laws: tuple[Law, ...]

    def law(self, i: int, rate: float) -> Law:
        del rate
        return self.laws[i]

    def data(self) -> list[Any]:
        return ["schedules", [_texts(law) for law in self.laws]]


@dataclass(frozen=True)
class Same(Form):
    """The same laws for every group."""

    one: Law
    grows = True

    def law(self, i: int, rate: float) -> Law:
        del i, rate
        return self.one

    def data(self) -> list[Any]:
        return ["schedule", _texts(self.one)]


@dataclass(frozen=True)
class Factors(Form):
    """torch's LambdaLR: the rate of a group times its schedule."""

    factors: tuple[Schedule, ...]

    def law(self, i: int, rate: float) -> Law:
        return {"lr": s.product(parts=[self.factors[i], rate])}

    def data(self) -> list[Any]:
        return ["LambdaLR", [to_text(factor) for factor in self.factors]]


@dataclass(frozen=True)
class Named(Form):
    """torch's scheduler of a name and its arguments, all of them."""

    name: str
    given: dict[str, Any]
    grows = True

    @property
    def multiplies(self) -> bool:  # type: ignore[override]
        return self.name in SCALES

    @property
    def factor(self) -> bool:  # type: ignore[override]
        return self.multiplies and not self.given.get("eta_min")

    @property
    def anneals(self) -> bool:  # type: ignore[override]
        return self.name == "SWALR"

    def law(self, i: int, rate: float) -> Law:
        law: Law = schedules.table("torch")[self.name](rate, **self.own(i))
        return law

    def own(self, i: int) -> dict[str, Any]:
        """The arguments with the values of group i."""
        return {k: self._of(k, v, i) if k in PER_GROUP else v for k, v in self.given.items()}

    def base(self, i: int, rate: float) -> float:
        own = self.own(i)
        if self.name == "OneCycleLR":
            return float(own["max_lr"] / own["div_factor"])
        return float(own["base_lr"] if self.name == "CyclicLR" else rate)

    def kept(self, i: int) -> dict[str, float]:
        own, found = self.own(i), {}
        if self.name == "SWALR":
            return {"swa_lr": own["swa_lr"]}
        if self.name == "OneCycleLR":
            low = self.base(i, 0.0)
            found = {"initial_lr": low, "max_lr": own["max_lr"], "min_lr": low / own["final_div_factor"]}
        return found | {k: own[k] for k in ("max_momentum", "base_momentum") if own.get("cycle_momentum")}

    def data(self) -> list[Any]:
        return [self.name, dict(self.given)]

    def _of(self, option: str, value: Any, i: int) -> Any:
        if not isinstance(value, list | tuple):
            return value
        if i >= len(value):
            raise ValueError(
                f"{WHO}.{self.name}: {option}={value!r} has no value for a parameter group that was added; "
                "make another scheduler"
            )
        return value[i]


@dataclass(frozen=True)
class Chained(Form):
    """The product of others: the first at the group's rate, the others as factors of it."""

    parts: tuple[Form, ...]

    @property
    def multiplies(self) -> bool:  # type: ignore[override]
        return all(part.multiplies for part in self.parts)

    @property
    def grows(self) -> bool:  # type: ignore[override]
        return self.multiplies

    def law(self, i: int, rate: float) -> Law:
        first, *others = self.parts
        found: list[Any] = [first.law(i, rate)["lr"]]
        for part in others:
            if part.multiplies:
                found.append(part.law(i, 1.0)["lr"])
            else:
                found += [part.law(i, rate)["lr"], 1.0 / rate if rate else 0.0]
        return {"lr": s.product(parts=found)}

    def data(self) -> list[Any]:
        return ["ChainedScheduler", [part.data() for part in self.parts]]


@dataclass(frozen=True)
class Sequential(Form):
    """Others one after the other, each from its milestone on; ``rates`` has for each part those of the groups."""

    parts: tuple[Form, ...]
    rates: tuple[tuple[float, ...], ...]
    milestones: tuple[int, ...]

    @property
    def spans(self) -> list[int]:
        """The number of steps of each part but the last."""
        return [b - a for a, b in zip((0, *self.milestones), self.milestones, strict=False)]

    def laws(self, i: int, rate: float) -> list[Law]:
        """The laws of the parts for group i: the first multiplies the rate, one that anneals goes on from the last."""
        found: list[Law] = []
        for k, (part, rates) in enumerate(zip(self.parts, self.rates, strict=True)):
            at = rates[i]
            if k == 0 and (part.multiplies or part.anneals):
                at = rate
            elif part.anneals:
                at = through(part, i, found[-1]["lr"](self.spans[k - 1] - 1), 0)
            found.append(part.law(i, at))
        return found

    def law(self, i: int, rate: float) -> Law:
        found = self.laws(i, rate)
        if len(found) == 1:
            return found[0]
        law: Law = {"lr": s.join(parts=[each["lr"] for each in found], boundaries=self.milestones)}
        if any("momentum" in each for each in found):
            law["momentum"] = s.join(parts=_momenta(found, self.spans), boundaries=self.milestones)
        return law

    def local(self, k: int, epoch: float) -> float:
        """The step at which part k is: -1 before its first, and its last after it."""
        since = epoch - (0, *self.milestones)[k]
        last = self.spans[k] - 1 if k < len(self.milestones) else since
        return max(min(since, last), -1)

    def kept(self, i: int) -> dict[str, float]:
        return {name: value for part in self.parts for name, value in part.kept(i).items()}

    def data(self) -> list[Any]:
        return [
            "SequentialLR",
            [part.data() for part in self.parts],
            list(map(list, self.rates)),
            list(self.milestones),
        ]


def from_data(data: Sequence[Any]) -> Form:
    """The form of plain data."""
    match data:
        case "schedules", laws:
            return Given(tuple({k: from_text(v) for k, v in law.items()} for law in laws))
        case "schedule", law:
            return Same({k: from_text(v) for k, v in law.items()})
        case "LambdaLR", factors:
            return Factors(tuple(map(from_text, factors)))
        case "ChainedScheduler", parts:
            return Chained(tuple(map(from_data, parts)))
        case "SequentialLR", parts, rates, milestones:
            return Sequential(tuple(map(from_data, parts)), tuple(map(tuple, rates)), tuple(milestones))
        case str() as name, dict() as given if name in schedules.table("torch"):
            return Named(name, dict(given))
    raise ValueError(f"{WHO}: {data!r} is no scheduler of ours; give what state_dict() gave")


def through(form: Form, i: int, rate: float, epoch: float) -> float:
    """The number of group i whose rate at ``epoch`` is ``rate``: what a number makes of a law is a line in it."""
    none, one = (form.law(i, float(r))["lr"](epoch) for r in (0, 1))
    return rate if none == one else max((rate - none) / (one - none), 0.0)


def _texts(law: Law) -> dict[str, str]:
    return {name: to_text(each) for name, each in law.items()}


def _momenta(laws: Sequence[Law], spans: Sequence[int]) -> list[Schedule]:
    """The momentum of each part; where it has none what the part before it left, or the next one begins with."""
    first = next(law["momentum"] for law in laws if "momentum" in law)
    found: list[Schedule] = []
    for k, law in enumerate(laws):
        left = found[-1](max(spans[k - 1] - 1, 0)) if found else first(0)
        found.append(law.get("momentum") or s.constant(value=left))
    return found
