"""Numbers that may be schedules: what a constructor may ask of one, and the text in which it is kept."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from optcore import schedules
from optcore.recipe import Recipe
from optcore.schedule import Schedule

__all__ = ["absent", "first", "from_text", "times", "to_text"]


def first(value: Any) -> Any:
    """What a condition on a number looks at: a schedule's first value, anything else as it is.

    The values that follow are held to the rule's bounds step by step.
    """
    return value(0) if isinstance(value, Schedule) else value


def absent(value: Any) -> bool:
    """Whether a number is 0, so that what it scales may be left out; a schedule may leave 0 and is never absent."""
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


def to_text(law: Schedule) -> str:
    """A schedule as the text of a recipe, in a place that takes numbers of either sign."""
    return Recipe("muon", a=law).to_json(indent=None)


@lru_cache(maxsize=256)
def from_text(text: str) -> Schedule:
    """The schedule in the text of a recipe, whichever number of it is one."""
    return next(v for v in Recipe.from_json(text).values.values() if isinstance(v, Schedule))
