"""The parts of a rule: functions with their hyper-parameters, work done at intervals, and the fields of its state."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from optcore.typing import DRAWN, NOISE, SHARED, Unit

__all__ = ["Field", "NoState", "Part", "Refresh", "fields_of", "refuse_positional", "refuse_undrawn"]


class NoState(NamedTuple):
    """The state of a rule that keeps nothing from step to step."""


@dataclass(frozen=True)
class Field:
    """A field of a rule's state: one array of each leaf, or one value of the whole tree if it is ``shared``.

    ``unit`` and ``doc`` come from the field's ``#:`` comment.
    """

    name: str
    shared: bool
    unit: Unit | None
    doc: str
    noise: bool = False  #: True for normal numbers that the driver makes anew for each step
    drawn: bool = False  #: True for normal numbers that the driver draws once, of the deviation that init gives


class Part:
    """A function of a rule (its law, start or refresh), with the names of the hyper-parameters that it takes."""

    __slots__ = ("fn", "names")

    def __init__(self, fn: Callable[..., Any]) -> None:
        parameters = inspect.signature(fn).parameters.values()
        self.fn = fn
        self.names = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)

    def __call__(self, values: Mapping[str, Any], *arrays: Any) -> Any:
        return self.fn(*arrays, **{name: values[name] for name in self.names})


@dataclass(frozen=True)
class Refresh:
    """Work on the state that is done every few steps, before the law: ``fn(xp, p, g, s, t, **hyper) -> state``.

    It is done at t = at, at + every, at + 2 every, ..., where ``every`` is the name of the hyper-parameter with the
    interval. If ``first`` is given, it is called instead of ``fn`` at t = at.
    """

    fn: Callable[..., Any]
    every: str
    at: int = 1
    first: Callable[..., Any] | None = None


def refuse_positional(law: Callable[..., Any]) -> None:
    """Raise TypeError for a law that does not take ``(xp, p, g, s, t)`` and everything else by keyword."""
    parameters = list(inspect.signature(law).parameters.values())
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    call = f"def {law.__name__}(xp, p, g, s, t, *, ...)"
    if len(placed) < 5:
        taken = ", ".join(p.name for p in placed) or "nothing"
        raise TypeError(f"{law.__name__}: the law takes {taken} by position; a law begins as {call}")
    if len(placed) > 5:
        names = [p.name for p in placed[5:]]
        raise TypeError(
            f"{law.__name__}: {' and '.join(names)} {'is' if len(names) == 1 else 'are'} positional, and "
            f"hyper-parameters are keyword-only; write a star before {names[0]}, as in {call}"
        )
    for p in parameters:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise TypeError(f"{law.__name__}: {p} stands for no certain hyper-parameters; name each, as in {call}")


def fields_of(State: type, law: Callable[..., Any]) -> tuple[Field, ...]:
    """Return the fields of a state class, with their marks (shared, noise, drawn) and their ``#:`` comments.

    Raises TypeError for a field with two marks.
    """
    space = {**vars(sys.modules.get(State.__module__, typing)), **getattr(law, "__globals__", {})}
    hints = typing.get_type_hints(State, globalns=space, include_extras=True)
    docs = _comments(State)
    found = []
    for name in State._fields:  # type: ignore[attr-defined]
        text = docs.get(name, "")
        unit = re.search(r"unit \[(.*?)\]", text)
        marks = [m for m in getattr(hints[name], "__metadata__", ()) if m in (SHARED, NOISE, DRAWN)]
        if len(marks) > 1:
            raise TypeError(f"{State.__name__}: {name} is {' and '.join(map(repr, marks))}; a field can be one of them")
        made = {"noise": NOISE in marks, "drawn": DRAWN in marks}
        found.append(Field(name, SHARED in marks, Unit.parse(unit[1]) if unit else None, text, **made))
    return tuple(found)


def refuse_undrawn(name: str, fields: Iterable[Field], init: Any) -> None:
    """Raise TypeError if a field is Drawn and no ``init`` gives its standard deviation: it would start with zeros."""
    for f in fields:
        if f.drawn and init is None:
            raise TypeError(f"{name}: {f.name} is Drawn, but nothing says how large; give init, with its deviation")


def _comments(State: type) -> dict[str, str]:
    try:
        source = inspect.getsource(State)
    except (OSError, TypeError):  # the class has no source text, as at a prompt: its fields then have no units
        return {}
    return {m[1]: m[2].strip() for m in re.finditer(r"^\s+(\w+):[^#\n]*#:(.*)$", source, re.M)}
