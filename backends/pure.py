"""The pure use of a rule on one leaf, by which ``rule.init(p)`` and ``rule(p, g, s, t=...)`` are run."""

from __future__ import annotations

from typing import Any

from optcore.backends.checks import check
from optcore.backends.choice import of
from optcore.backends.drive import advance, start
from optcore.backends.given import check_count, check_state
from optcore.backends.leaf import Leaf
from optcore.backends.values import laid_out, numbers

__all__ = ["pure_init", "pure_step"]


def pure_init(rule: Any, p: Any) -> Any:
    """Return the state of one leaf before its first step."""
    return start(rule, of(p), p, rule.complete())


def pure_step(rule: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    """Run one step on one leaf, and return the new parameter and the new state as new arrays."""
    backend = check(rule.name, [p], [g], [rule.name])
    check_count(rule.name, t)
    check_state(rule, s)
    values = laid_out(numbers(rule.complete(), backend, t - 1, rule.hypers), backend.native_layout)
    shared = [x for x, f in zip(rule.unpack(s), rule.fields, strict=True) if f.shared]
    ((moved, arrays),), _ = advance(rule, backend, [Leaf(p, g, s, t, values)], shared)
    return moved.p, rule.pack(arrays)
