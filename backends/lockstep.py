"""Generators side by side, each waiting for what all of them give together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

__all__ = ["lockstep"]


def _send(law: Generator[Any, Any, Any], answer: Any) -> Any:
    return law.send(answer)


def lockstep(
    running: Sequence[Generator[Any, Any, Any]],
    answers: Callable[[list[Any]], Sequence[Any]],
    send: Callable[[Generator[Any, Any, Any], Any], Any] = _send,
) -> list[Any]:
    """Run generators until all return; ``answers`` turns what all yielded in one round into an answer for each.

    Returns what they return. Raises RuntimeError where some yield and others have ended.
    """
    given: Sequence[Any] = [None] * len(running)
    results: list[Any] = [None] * len(running)
    while True:
        requests = []
        for k, each in enumerate(running):
            try:
                requests.append(send(each, given[k]))
            except StopIteration as stop:
                results[k] = stop.value
        if not requests:
            return results
        if len(requests) < len(running):
            raise RuntimeError("optcore: some leaves ask for a total and others do not; a law must yield on every leaf")
        given = answers(requests)
