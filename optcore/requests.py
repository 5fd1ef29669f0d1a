"""The requests that a law makes by ``yield`` while it runs, and the one interpreter that answers them.

A law is a function of one leaf. If it needs more than its leaf, as a sum over all leaves, it yields a request and
receives the answer. Laws are run on arrays, on symbols that record them, and on bounds of their rounding errors; each
of these is a :class:`Handler` of a few lines that computes the answers, and :func:`interpret` serves them all.
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
    """A request to combine one value of each leaf over all leaves and all processes, by their sum or their maximum.

    ``n2 = yield xp.sum(g * g)`` is short for ``yield Total(xp.sum(g * g), "sum")``. A law asks for several totals of
    one round by yielding a tuple, and receives a tuple of answers.
    """

    value: Any
    how: How = "sum"


@dataclass(frozen=True)
class Due:
    """A request for work that is done only if ``condition`` holds: the answer is ``then(state)``, else ``state``."""

    condition: Any
    then: Callable[[Any], Any]
    state: Any


class Handler:
    """The base of handlers, which compute the answers to requests: on arrays, on symbols or on error bounds."""

    def due(self, request: Due) -> Any:
        """Return the state after work that may be due; by default the condition is a Python truth value."""
        return request.then(request.state) if request.condition else request.state

    def round(self, asked: Sequence[tuple[Total, ...]]) -> Sequence[Sequence[Any]]:
        """Return the answers to one round, in which each law has asked for a tuple of totals.

        By default each place of the tuples is combined over the laws by :meth:`total`.
        """
        return list(zip(*(self.total(parts) for parts in zip(*asked, strict=True)), strict=True))

    def total(self, parts: Sequence[Total]) -> Sequence[Any]:
        """Return the answer for each law to one total, of which ``parts`` holds each law's own value.

        By default the law's leaf is the whole tree, so that its own value is the total.
        """
        return [part.value for part in parts]


def totals_of(request: Any) -> tuple[Total, ...]:
    """Return the totals of a request as a tuple; a value that is no :class:`Total` asks for its sum."""
    every = request if isinstance(request, tuple) else (request,)
    return tuple(each if isinstance(each, Total) else Total(each) for each in every)


def interpret(laws: Sequence[Law], handler: Handler) -> list[Any]:
    """Run laws side by side until all have ended, and return their results in order.

    A round of totals is answered once all laws have asked for it. Raises RuntimeError if some ask and others do not.
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
    """Return the same law with ``outward`` applied to each total that it asks for and ``inward`` to each answer.

    Requests of :class:`Due` are passed on unchanged.
    """
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
    """A handler for a single leaf that is the whole tree, so that its own values are the totals."""

    def __init__(self, cond: Callable[..., Any] | None) -> None:
        self.cond = cond

    def due(self, request: Due) -> Any:
        if self.cond is None:
            return super().due(request)
        return self.cond(request.condition, request.then, request.state)


def alone(law: Law, cond: Callable[..., Any] | None = None) -> Any:
    """Run a law whose leaf is the whole tree, and return its result.

    ``cond(condition, then, state)`` answers requests of :class:`Due`; None takes conditions for Python truth values.
    """
    return interpret([law], _Alone(cond))[0]
