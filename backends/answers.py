"""Answers to the requests of laws that run on arrays: totals over all leaves, work that may be due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optcore.backends.base import Backend
from optcore.requests import Due, Handler, Law, Total, interpret

__all__ = ["Answers", "solve"]


class Answers(Handler):
    """The answers of a backend, operation by operation in its library's own namespace."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def due(self, request: Due) -> Any:
        return self.backend.cond(request.condition, request.then, request.state)

    def total(self, parts: Sequence[Total]) -> Sequence[Any]:
        """The sum or maximum in the widest dtype of a leaf, for each leaf in its own dtype."""
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
