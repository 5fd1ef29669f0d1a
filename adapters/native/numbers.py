"""Numbers that may be schedules: what a constructor may ask of one, and the texts in which laws are kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar

from optcore import registry, schedules
from optcore.recipe import Recipe
from optcore.schedule import Schedule

__all__ = ["RECIPES", "absent", "first", "from_text", "times", "to_text"]

Kept = TypeVar("Kept", Recipe, Schedule)


def first(value: Any) -> Any:
    """Return the number that a condition is evaluated with: a schedule's first value, anything else as it is.

    The values that follow are held to the rule's bounds step by step.
    """
    return value(0) if isinstance(value, Schedule) else value


def absent(value: Any) -> bool:
    """Tell whether a number is 0, so that the term it scales can be left out; a schedule may leave 0 later."""
    return not isinstance(value, Schedule) and bool(value == 0)


def times(a: Any, b: Any) -> Any:
    """The product of two numbers of either sign, at every step where one of them is a schedule."""
    match a, b:
        case Schedule(), Schedule():
            return schedules.product(parts=(a, b))
        case Schedule(), _:
            return schedules.proportion(of=a, low=0.0, high=1.0, to_low=0.0, to_high=b)
        case _, Schedule():
            return times(b, a)
    return a * b


class Texts(Generic[Kept]):
    """Recipes or schedules by their JSON text, which is what a param group or a configuration can keep.

    A law that is registered nowhere is known by its text as long as the process runs; in another process its text is
    refused by name until the law is registered there.
    """

    def __init__(self, read: Callable[[str], Kept]) -> None:
        self._read = lru_cache(maxsize=256)(read)
        self._own: dict[str, Kept] = {}
        registry.listen(self._changed)

    def write(self, kept: Kept) -> str:
        """The text of a recipe or schedule, by which :meth:`read` finds an equal one."""
        text = kept.to_json(indent=None)
        try:
            if self._read(text) == kept:
                return text
        except (TypeError, ValueError):
            pass  # a law of one's own that is not registered
        text += " "
        while self._own.setdefault(text, kept) != kept:
            text += " "  # another law of this name: the text stays JSON and is another key
        return text

    def read(self, text: str) -> Kept:
        """The recipe or schedule of a text."""
        return self._own.get(text) or self._read(text)

    def _changed(self, law: Any, known: bool) -> None:
        """Read anew, from now on, what may hold a law that was registered or forgotten."""
        del law, known
        self._read.cache_clear()


def _schedule(text: str) -> Schedule:
    """The schedule of its text, or of a recipe's, in which one was kept before schedules had a text of their own."""
    try:
        old = "rule" in json.loads(text)
    except (TypeError, ValueError, RecursionError):
        old = False  # said in words by what reads it now
    if not old:
        return Schedule.from_json(text)
    found = next((v for v in Recipe.from_json(text).values.values() if isinstance(v, Schedule)), None)
    if found is None:
        raise ValueError(f"Schedule: {text!r} is a recipe without a schedule; give the text of a schedule")
    return found


RECIPES: Texts[Recipe] = Texts(Recipe.from_json)
SCHEDULES: Texts[Schedule] = Texts(_schedule)
to_text, from_text = SCHEDULES.write, SCHEDULES.read
"""The text of a schedule, and the schedule of a text; those of recipes, as they were written before, are read too."""
