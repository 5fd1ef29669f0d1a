"""Hyper-parameters: read from a law's keywords, checked before anything moves.

One declaration, ``beta1: Decay = 0.9``, feeds validation, the catalogue and the test strategies.
"""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType, NoneType, UnionType
from typing import Any

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt

from optcore.typing import Unit

__all__ = ["REQUIRED", "Hyper", "Varying", "check_all", "keywords_of", "unknown"]

REQUIRED = inspect.Parameter.empty
"""The default of a hyper-parameter that has none."""


LARGEST = 2**1023
"""Whole numbers from here on are no float."""


class Varying:
    """The base of what stands for a number that depends on the step: a schedule."""

    def __call__(self, step: Any) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Hyper:
    """One hyper-parameter: its default, bounds and unit, and whether it is a static switch.

    Numbers (``float``) are run-time values: they may be schedules or traced 0-d arrays. ``bool``,
    ``str``, ``int`` and ``None`` choose between laws and are static.
    """

    name: str
    default: Any
    types: tuple[type, ...]
    bounds: tuple[BaseMetadata, ...] = ()
    unit: Unit = field(default_factory=Unit)
    choices: tuple[str, ...] = ()
    said: Any = field(default=REQUIRED, compare=False)  #: the annotation as the law's author wrote it

    @property
    def static(self) -> bool:
        return float not in self.types

    @property
    def range(self) -> str:
        """The admitted values in words, as ``[0, 1)`` or ``'outside' | 'hat'``."""
        if self.choices:
            return " | ".join(map(repr, self.choices))
        lower = next((b for b in self.bounds if isinstance(b, Ge | Gt)), None)
        upper = next((b for b in self.bounds if isinstance(b, Le | Lt)), None)
        left = f"{'[' if isinstance(lower, Ge) else '('}{_edge(lower)}" if lower else "(-inf"
        right = f"{_edge(upper)}{']' if isinstance(upper, Le) else ')'}" if upper else "inf)"
        kinds = {bool: "True | False", str: "a string", int: f"a whole number in {left}, {right}"}
        words = [kinds.get(k, f"{left}, {right}") for k in self.types if k is not NoneType]
        return " | ".join([*words, *(["None"] if NoneType in self.types else [])])

    def check(self, owner: str, value: Any) -> Any:
        """Return the value as a plain Python one, or raise naming the owner, the value and the range."""
        if value is None and NoneType in self.types:
            return None
        if isinstance(value, Varying) and not self.static:
            self.check(owner, value(0))
            return value
        if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
            value = value.item()  # a number of NumPy's, whose value can be read
        if isinstance(value, numbers.Real) and not isinstance(value, bool | int | float):
            value = int(value) if isinstance(value, numbers.Integral) else float(value)  # a NumPy scalar
        if getattr(value, "shape", None) == () and not self.static and not isinstance(value, float):
            return value  # a 0-d array, perhaps traced: its number is not ours to read
        if self.choices:
            if value not in self.choices:
                raise ValueError(f"{owner}: {self.name}={value!r} is no choice; give {self.range}")
            return value
        known = (*self.types, int) if float in self.types else self.types
        if (isinstance(value, bool) and bool not in self.types) or not isinstance(value, known):
            raise TypeError(
                f"{owner}: {self.name}={value!r} is of type {type(value).__name__}; give {self.range}"
                + ("" if self.static else ", a schedule or a 0-d array")
            )
        if isinstance(value, bool | str):
            return value
        given: Any = value
        number = given if isinstance(given, float) or abs(given) < LARGEST else math.inf
        if math.isnan(number) or any(not _holds(b, number) for b in self.bounds):
            raise ValueError(f"{owner}: {self.name}={value!r} is out of range; give {self.range}")
        return int(given) if self.static else float(number)


def _edge(bound: Any) -> str:
    match bound:
        case Ge():
            return f"{bound.ge:g}"
        case Gt():
            return f"{bound.gt:g}"
        case Le():
            return f"{bound.le:g}"
    return f"{bound.lt:g}"


def _holds(bound: Any, value: float) -> bool:
    match bound:
        case Ge():
            return bool(value >= bound.ge)  # type: ignore[operator]
        case Gt():
            return bool(value > bound.gt)  # type: ignore[operator]
        case Le():
            return bool(value <= bound.le)  # type: ignore[operator]
        case Lt():
            return bool(value < bound.lt)  # type: ignore[operator]
    return True


def _parse(name: str, hint: Any, default: Any) -> Hyper:
    bounds: list[BaseMetadata] = []
    unit, choices, types = Unit(), (), []

    def walk(hint: Any) -> None:
        nonlocal unit, choices
        origin = typing.get_origin(hint)
        if origin is typing.Annotated:
            inner, *marks = typing.get_args(hint)
            walk(inner)
            bounds.extend(m for m in marks if isinstance(m, BaseMetadata))
            unit = next((m for m in marks if isinstance(m, Unit)), unit)
        elif origin is typing.Literal:
            choices = typing.get_args(hint)
            types.append(str)
        elif origin in (typing.Union, UnionType):
            for part in typing.get_args(hint):
                walk(part)
        elif hint in (float, int, bool, str, NoneType):
            types.append(hint)
        else:
            raise TypeError(f"{name}: {hint!r} is no type of a hyper-parameter; use optcore.typing's")

    walk(hint)
    return Hyper(name, default, tuple(types), tuple(bounds), unit, choices)


def keywords_of(*functions: Callable[..., Any] | None, skip: Iterable[str] = ()) -> Mapping[str, Hyper]:
    """The keyword-only parameters of the functions, each declared by the first that has it."""
    found: dict[str, Hyper] = {}
    for function in functions:
        if function is None:
            continue
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY and name not in found and name not in skip:
                parsed = _parse(name, _evaluated(function, parameter.annotation), parameter.default)
                found[name] = replace(parsed, said=parameter.annotation)
    return MappingProxyType(found)


def _evaluated(function: Callable[..., Any], annotation: Any) -> Any:
    """One annotation alone: the others may name what only the author's own scope knows."""
    stand_in = type("Annotation", (), {"__annotations__": {"it": annotation}, "__module__": function.__module__})
    space = getattr(function, "__globals__", {})
    return typing.get_type_hints(stand_in, globalns=space, include_extras=True)["it"]


def unknown(owner: str, kind: str, name: str, known: Iterable[str], more: str = "") -> str:
    """The words for a name that is not known, with the nearest ones; where none is near, with all of them and more."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known) or 'none'}{more}"
    return f"{owner}: no {kind} {name!r}; {hint}"


def check_all(owner: str, hypers: Mapping[str, Hyper], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check every given value; raise TypeError for a name that is not a hyper-parameter."""
    for name in values:
        if name not in hypers:
            raise TypeError(unknown(owner, "hyper-parameter", name, hypers))
    return {name: hypers[name].check(owner, value) for name, value in values.items()}
