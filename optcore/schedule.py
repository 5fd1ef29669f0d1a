"""Schedules: pure functions of the step, bound like rules, valid for any number or array.

The argument ``e`` counts updates from 0: the first update uses ``schedule(0)``. A schedule is written
once against a namespace and evaluated on the host in float64 for Python numbers.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

from optcore.described import Described, Species, positional
from optcore.hyper import REQUIRED, Hyper, Varying, check_all, keywords_of, unknown
from optcore.parts import Part
from optcore.rule import EMPTY, Conventions
from optcore.running import runner
from optcore.scalars import Host, is_host
from optcore.text import FORMAT, numbers_of, plain, read, shallow
from optcore.typing import Namespace, Scalar

__all__ = ["Points", "Schedule", "ScheduleOr", "Schedules", "Steps", "resolve", "schedule"]


@dataclass(frozen=True, eq=False, repr=False)
class Schedule(Described, Varying):
    """A law of the step. Called with keywords it binds; called with a step it gives the value.

    >>> lr = optcore.schedules.cosine(peak=1e-3, steps=10_000)
    >>> lr(5_000)
    0.0005
    """

    species: ClassVar[Species] = "schedule"
    call: ClassVar[str] = (
        "The value at a step, counted from 0. With keywords alone: gives the schedule with them bound."
    )

    name: str
    doc: str
    law: Part
    hypers: Mapping[str, Hyper]
    guard: Callable[..., None] | None
    conventions: Conventions = field(default_factory=lambda: EMPTY)
    bound: Mapping[str, Any] = field(default_factory=lambda: EMPTY)

    def __call__(self, *step: Any, **hyper: Any) -> Any:
        bound = self.bind(**hyper) if hyper else self
        if not step:
            return bound
        if len(step) > 1:
            raise TypeError(f"{self.name}: {len(step)} steps were given; give one, or an array of steps")
        (e,) = step
        missing = [k for k, v in bound.values().items() if v is REQUIRED]
        if missing:
            raise TypeError(f"{self.name}: {missing[0]} is not given; bind it, as in {self.name}({missing[0]}=...)")
        if is_host(e):
            return bound.at(Host, e)
        return bound.at(*runner().place(e))  # an array of steps is evaluated where it lives

    def at(self, xp: Any, e: Scalar) -> Any:
        """The value at step ``e``, computed in the given namespace."""
        return self.law(self.values(), xp, e)

    def bind(self, *, like: str | None = None, **hyper: Any) -> Schedule:
        if like is not None and like not in self.conventions:
            raise ValueError(unknown(self.name, "convention like=", like, self.conventions))
        for name in hyper:
            if name not in self.hypers:
                raise TypeError(unknown(self.name, "parameter", name, self.hypers))
        convention = self.conventions[like] if like else {}
        bound = check_all(self.name, self.hypers, {**convention, **self.bound, **hyper})
        for name, value in bound.items():
            if isinstance(value, Schedule) and not isinstance(self.hypers[name], NestedHyper):
                raise TypeError(
                    f"{self.name}: {name}={value!r} is a schedule; give a number, and join or multiply schedules with "
                    "join and product"
                )
        new = replace(self, bound=MappingProxyType(bound))
        if self.guard and REQUIRED not in new.values().values():
            try:
                self.guard(**new.values())
            except ValueError as error:
                raise ValueError(f"{self.name}: {error}") from None
        return new

    def values(self) -> dict[str, Any]:
        return {**{name: h.default for name, h in self.hypers.items()}, **self.bound}

    def arrays(self) -> list[inspect.Parameter]:
        return positional("step")

    def to_json(self, *, indent: int | None = 2) -> str:
        """The schedule as JSON text; ``from_json`` gives an equal one."""
        return json.dumps({"optcore": FORMAT, "schedule": plain(self, "Schedule")}, indent=indent)

    @classmethod
    def from_json(cls, text: str, *, rules: Mapping[str, Any] | None = None) -> Schedule:
        """Read what :meth:`to_json` wrote.

        ``rules`` names schedules of your own, as for a recipe; registered ones are known without. Raises ValueError for
        text that is no schedule, and the errors of :meth:`bind` for its parameters.
        """
        with shallow("Schedule"):
            data = read(text, "Schedule")
            if len(data) > 1 or not isinstance(data["schedule"], dict):
                raise ValueError(f'Schedule: {data!r} is no schedule; give "schedule": {{"schedule": name, ...}} alone')
            return numbers_of(data, rules or {}, "Schedule")["schedule"]  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (self.law.fn.__module__, self.name, dict(self.bound))

    def __deepcopy__(self, memo: Any) -> Schedule:
        return self

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.name, self.law.fn, tuple(sorted(self.values().items())))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.bound.items())})"


def _named(module: str, name: str, bound: Mapping[str, Any]) -> Schedule:
    """The schedule that stands in a module under its name, bound: what a pickle keeps."""
    return getattr(importlib.import_module(module), name).bind(**bound)  # type: ignore[no-any-return]


ScheduleOr: TypeAlias = Schedule | float
"""A schedule, or a number that stands for a constant one."""
Points: TypeAlias = tuple[tuple[int, float], ...]
"""Pairs (step, value) in increasing order of step."""
Schedules: TypeAlias = tuple[ScheduleOr, ...]
"""Several schedules or numbers."""
Steps: TypeAlias = tuple[int, ...]
"""Whole steps in increasing order."""


class NestedHyper(Hyper):
    """A parameter that is itself a schedule."""

    @property
    def static(self) -> bool:
        return False

    @property
    def range(self) -> str:
        return "a schedule or a number"

    def check(self, owner: str, value: Any) -> Any:
        if isinstance(value, Schedule):
            value(0)  # raises where a parameter of it is missing
            return value
        value = super().check(owner, value)
        if isinstance(value, float) and not 0.0 <= value < math.inf:
            raise ValueError(f"{owner}: {self.name}={value!r} is out of range; give a schedule or a number in [0, inf)")
        return value


class SchedulesHyper(NestedHyper):
    """A parameter that is a list of schedules."""

    @property
    def range(self) -> str:
        return "schedules or numbers, at least one"

    def check(self, owner: str, value: Any) -> Any:
        if not isinstance(value, tuple | list) or not value:
            raise TypeError(f"{owner}: {self.name}={value!r} is no list of schedules; give {self.range}")
        return tuple(super(SchedulesHyper, self).check(owner, part) for part in value)


def _whole(step: Any) -> int:
    if isinstance(step, bool) or int(step) != step:
        raise TypeError(f"{step!r} is no whole step")
    return int(step)


def _number(x: Any) -> float:
    if isinstance(x, bool | str):
        raise TypeError(f"{x!r} is no number")
    return float(x)


class PointsHyper(Hyper):
    """A parameter that is a table of (step, value) pairs."""

    @property
    def range(self) -> str:
        return "pairs (step, value) with whole steps in increasing order, as ((100, 0.1), (200, 0.01))"

    def check(self, owner: str, value: Any) -> Any:
        try:
            pairs = value.items() if isinstance(value, Mapping) else value
            points = tuple((_whole(step), _number(x)) for step, x in pairs)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"{owner}: {self.name}={value!r} is no table; give {self.range}") from None
        steps = [step for step, _ in points]
        if not points or steps[0] < 0 or any(a >= b for a, b in itertools.pairwise(steps)):
            raise ValueError(f"{owner}: {self.name}={value!r} is out of order or empty; give {self.range}")
        if any(not math.isfinite(x) for _, x in points):
            raise ValueError(f"{owner}: {self.name}={value!r} holds a NaN or an infinity; give finite values")
        return points


class StepsHyper(Hyper):
    """A parameter that is a list of steps."""

    @property
    def range(self) -> str:
        return "whole steps in increasing order, as (100, 200)"

    def check(self, owner: str, value: Any) -> Any:
        try:
            steps = tuple(_whole(step) for step in value)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(f"{owner}: {self.name}={value!r} is no list of steps; give {self.range}") from None
        if any(step < 0 for step in steps[:1]) or any(a >= b for a, b in itertools.pairwise(steps)):
            raise ValueError(f"{owner}: {self.name}={value!r} is out of order or negative; give {self.range}")
        return steps


KINDS: Mapping[Any, type[Hyper]] = {
    ScheduleOr: NestedHyper,
    Schedules: SchedulesHyper,
    Points: PointsHyper,
    Steps: StepsHyper,
}
"""Parameters that are more than a number or a switch, by their annotation."""


def schedule(
    *, guard: Callable[..., None] | None = None, like: Conventions = EMPTY
) -> Callable[[Callable[..., Any]], Schedule]:
    """Turn a law ``(xp, e, *, parameter...) -> value`` into a schedule.

    ``guard`` receives all parameters once they are bound and raises ValueError where they do not fit
    together, in words to which its name is added. ``like`` holds the parameters with which another library is met.
    """

    def decorate(law: Callable[..., Any]) -> Schedule:
        signature = inspect.signature(law)
        hints = typing.get_type_hints(law)
        special: dict[str, Hyper] = {}
        for name, p in signature.parameters.items():
            kind = KINDS.get(hints.get(name))
            if kind:
                special[name] = kind(name, p.default, (float,), said=p.annotation)
        usual = keywords_of(law, skip=special)
        for taken in {"schedule", "like"} & {*special, *usual}:
            raise TypeError(f"{law.__name__}: {taken} is a word of a schedule's text; give the parameter another name")
        order = [name for name, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY]
        hypers = {name: special.get(name) or usual[name] for name in order}
        for library, convention in like.items():
            check_all(f"{law.__name__}(like={library!r})", hypers, convention)
        doc = inspect.getdoc(law) or ""
        return Schedule(law.__name__, doc, Part(law), MappingProxyType(hypers), guard, like)

    return decorate


def resolve(value: Any, xp: Namespace, e: Scalar) -> Any:
    """The number that a hyper-parameter has at step ``e``: its own, or its schedule's."""
    if not isinstance(value, Schedule):
        return value
    return value.at(Host if is_host(e) else xp, e)
