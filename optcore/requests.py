"""Requests: what a law in execution asks for by ``yield``, and the one interpreter of laws that ask.

A law is a function of one leaf. Where it needs more than its leaf it yields a request and receives the answer. What
an answer is depends on how the law is run: by operations on arrays, by symbols that write it down, by bounds of its
rounding errors. Each of these ways is a :class:`Handler` of a few lines, and :func:`interpret` serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Due", "Handler", "How", "Law", "Total", "alone", "interpret", "through", "totals_of"]

Law: TypeAlias = Generator[Any, Any, Any]
"""A law in execution: it yields requests, receives answers, and returns its result, (d, new state) for a rule's."""
How: TypeAlias = Literal["sum", "max"]


@dataclass(frozen=True)
class Total:
    """A request to combine the values of all leaves, of all processes; a bare value asks for its sum.

    Several totals of one round are yielded as a tuple, and so are their answers.
    """

    value: Any
    how: How = "sum"


@dataclass(frozen=True)
class Due:
    """A request for work that is done only when due: the answer is ``then(state)`` where ``condition`` holds, else
    ``state``.
    """

    condition: Any
    then: Callable[[Any], Any]
    state: Any


class Handler:
    """The answers to requests in one way of running laws."""

    def due(self, request: Due) -> Any:
        """The state after work that may be due; by default the condition is a Python truth value."""
        return request.then(request.state) if request.condition else request.state

    def round(self, asked: Sequence[tuple[Total, ...]]) -> Sequence[Sequence[Any]]:
        """The answers to each law's totals of one round; by default each total of the round by itself."""
        return list(zip(*(self.total(parts) for parts in zip(*asked, strict=True)), strict=True))

    def total(self, parts: Sequence[Total]) -> Sequence[Any]:
        """The answer to each law, of whose values ``parts`` holds one each, all to be combined in the same way.

        By default a leaf is the whole tree: its own values are the totals.
        """
        return [part.value for part in parts]


def totals_of(request: Any) -> tuple[Total, ...]:
    """The totals that a law asks for in one round."""
    every = request if isinstance(request, tuple) else (request,)
    return tuple(each if isinstance(each, Total) else Total(each) for each in every)


def interpret(laws: Sequence[Law], handler: Handler) -> list[Any]:
    """Run laws side by side until all have ended, and return their results.

    Each round of totals waits for all of them. Raises RuntimeError where some laws ask for totals and others do not.
    """
    answers: list[Any] = [None] * len(laws)
    results: list[Any] = [None] * len(laws)
    while True:
        asked = []
        for k, law in enumerate(laws):
            try:
                request = law.send(answers[k])
                while isinstance(request, Due):
                    request = law.send(handler.due(request))
                asked.append(request)
            except StopIteration as stop:
                results[k] = stop.value
        if not asked:
            return results
        rounds = [totals_of(request) for request in asked]
        if len(asked) < len(laws) or len(set(map(len, rounds))) > 1:
            raise RuntimeError("optcore: some leaves ask for a total and others do not; a law must yield on every leaf")
        found = handler.round(rounds)
        answers = [tuple(mine) if isinstance(r, tuple) else mine[0] for r, mine in zip(asked, found, strict=True)]


def through(law: Law, outward: Callable[[Total], Any], inward: Callable[[Any], Any] = lambda answer: answer) -> Law:
    """The same law, whose totals go out and whose answers come in by a function each; what is due is passed on."""
    answer: Any = None
    while True:
        try:
            request = law.send(answer)
        except StopIteration as stop:
            return stop.value
        if isinstance(request, Due):
            answer = yield request
        elif isinstance(request, tuple):
            given = yield tuple(Total(outward(each), each.how) for each in totals_of(request))
            answer = tuple(map(inward, given))
        else:
            (each,) = totals_of(request)
            answer = inward((yield Total(outward(each), each.how)))


class _Alone(Handler):
    """Answers of one leaf that is the whole tree."""

    def __init__(self, cond: Callable[..., Any] | None) -> None:
        self.cond = cond

    def due(self, request: Due) -> Any:
        if self.cond is None:
            return super().due(request)
        return self.cond(request.condition, request.then, request.state)


def alone(law: Law, cond: Callable[..., Any] | None = None) -> Any:
    """The result of a law whose leaf is the whole tree; ``cond(condition, then, state)`` does what may be due."""
    return interpret([law], _Alone(cond))[0]
