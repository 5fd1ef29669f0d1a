"""A backend's answers to the requests of laws that run on arrays: totals over all leaves, and work that may be due.

The requests themselves, and the interpreter that asks for these answers, are in :mod:`optcore.requests`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optcore.backends.base import Backend
from optcore.requests import Due, Handler, Law, Total, interpret

__all__ = ["Answers", "solve"]


class Answers(Handler):
    """A handler of requests that computes every answer on arrays, with the namespace of one backend's library."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def due(self, request: Due) -> Any:
        return self.backend.cond(request.condition, request.then, request.state)

    def total(self, parts: Sequence[Total]) -> Sequence[Any]:
        """Return the sum or maximum once for each leaf: computed in float64 where a leaf is, then cast to its dtype."""
        backend, local = self.backend, [part.value for part in parts]
        like = next((x for x in local if backend.dtype(x) == "float64"), local[0])
        found = backend.scalar(local[0], like)
        for x in local[1:]:
            x = backend.scalar(x, like)
            found = backend.xp.maximum(found, x) if parts[0].how == "max" else found + x
        return [backend.scalar(found, x) for x in local]


def solve(laws: Sequence[Law], backend: Backend) -> list[Any]:
    """Run laws side by side on a backend's arrays, and return their results."""
    return interpret(laws, Answers(backend))
