"""The plain form of numbers and schedules, as JSON has it, and the JSON text that it is read from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from optcore import registry
from optcore.described import Described

__all__ = ["FORMAT", "numbers_of", "plain", "read", "shallow"]

FORMAT = 1
"""The version of the JSON form of recipes and schedules; a reader refuses what it does not know."""


def plain(value: Any, who: str = "Recipe") -> Any:
    """Schedules as dictionaries, tables as lists and dictionaries, numbers and switches as they are."""
    if isinstance(value, Described) and value.species == "schedule":
        return {"schedule": value.name, **{k: plain(v, who) for k, v in value.bound.items()}}
    if isinstance(value, tuple):
        return [plain(v, who) for v in value]
    if isinstance(value, Mapping):
        return {k: plain(v, who) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{who}: {value!r} of type {type(value).__name__} has no JSON form; give a number or a schedule")


def numbers_of(data: Any, own: Mapping[str, Any], who: str = "Recipe") -> dict[str, Any]:
    """Hyper-parameters of their plain forms; ``own`` names schedules that the library does not have."""
    if not isinstance(data, dict):
        raise ValueError(f"{who}: {data!r} is no table of numbers by their names; give {{name: number, ...}}")
    return {name: _number(value, own, who) for name, value in data.items()}


def _number(value: Any, own: Mapping[str, Any], who: str) -> Any:
    if isinstance(value, dict):
        data = dict(value)
        name = data.pop("schedule", None)
        if not isinstance(name, str):
            raise ValueError(f'{who}: {value!r} is no number and no schedule; give {{"schedule": name, ...}}')
        found: Any = own.get(name)
        if getattr(found, "species", None) != "schedule":
            found = registry.schedule(name, who)
        return found(**numbers_of(data, own, who))
    return [_number(v, own, who) for v in value] if isinstance(value, list) else value


def read(text: str, who: str) -> dict[str, Any]:
    """The object of a JSON text in our format, without the key that says so; ValueError for any other text."""
    if not isinstance(text, str | bytes | bytearray):
        raise TypeError(f"{who}: {text!r} is of type {type(text).__name__}; give the text that to_json wrote")

    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{who}: {twice!r} stands twice in one object of the text; give it once")
        return found

    try:
        data = json.loads(text, object_pairs_hook=once)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{who}: the text is no JSON, {error}; give what to_json wrote") from None
    part = "rule" if who == "Recipe" else "schedule"
    if not isinstance(data, dict) or data.pop("optcore", None) != FORMAT or part not in data:
        raise ValueError(
            f'{who}: no {who.lower()} of format {FORMAT}; the text must hold "optcore": {FORMAT} and "{part}"'
        )
    return data


@contextmanager
def shallow(who: str) -> Iterator[None]:
    """Refuse, in words, a text that is nested more deeply than Python can follow."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{who}: the text is nested too deeply to be read; give what to_json wrote") from None
