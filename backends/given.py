"""Checks of what a caller gives to a law, before anything moves: arrays, counts of updates and states."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optcore.backends.base import Backend

__all__ = ["check_array", "check_count", "check_state"]


def check_array(who: str, what: str, backend: Backend, x: Any) -> None:
    """Raise TypeError for an array whose arithmetic or memory is not the library's usual one."""
    fault = backend.fault(x)
    if fault:
        raise TypeError(f"{who}: {what} {fault}")


def check_count(who: str, t: Any) -> None:
    """Raise TypeError or ValueError for what is no count of updates; the number of an array is not read."""
    value = t.item() if type(t).__module__ == "numpy" and getattr(t, "shape", None) == () else t
    if isinstance(value, bool) or not isinstance(value, int | float):
        if getattr(value, "shape", None) == ():
            return
        raise TypeError(
            f"{who}: t={t!r} is of type {type(t).__name__}; give the count of updates, the first one is t=1"
        )
    if not 1 <= value < math.inf:
        raise ValueError(f"{who}: t={t!r} is no count of updates; the first one is t=1")


def check_state(rule: Any, state: Any) -> None:
    """Raise TypeError for what is no state of this rule: another rule's, one that was unpacked, or numbers."""
    fault = _fault(rule, state)
    if fault:
        raise TypeError(
            f"{rule.name}: {fault}; give the whole state, as {rule!r}.init(p) made it and each step gave it"
        )


def _fault(rule: Any, state: Any) -> str | None:
    """The words for what is wrong with a state; None where nothing is."""
    combinator, parts = getattr(rule, "combinator", None), getattr(rule, "parts", ())
    own = combinator or rule
    names = own.State._fields if hasattr(own, "State") else tuple(part.name for part in parts)
    kind = type(state).__name__
    if not isinstance(state, tuple | list):
        return f"a state of type {kind} was given, and one of {rule.name} has {len(names)} entries ({', '.join(names)})"
    if len(state) != len(names) or (hasattr(own, "State") and getattr(state, "_fields", names) != names):
        return (
            f"a state of type {kind} with {len(state)} entries was made by another rule; one of {rule.name} has "
            f"{len(names)} ({', '.join(names)})"
        )
    arrays = len(names) - len(parts)
    for name, x in zip(names[:arrays], state[:arrays], strict=True):
        if x is not None and not (hasattr(x, "shape") and hasattr(x, "dtype")):
            return f"the state's {name} is {x!r} of type {type(x).__name__}, no array"
    for part, inner in zip(parts, state[arrays:], strict=True):
        if inner is None and combinator is not None:  # the leaf is another part's
            continue
        fault = _fault(part, inner)
        if fault:
            return f"for {part.name}, {fault}"
    return None
