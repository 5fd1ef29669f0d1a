"""The protocol of an engine: what runs leaves of one rule in a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from optcore.backends.base import Backend
from optcore.backends.leaf import Leaf, Moved
from optcore.rule import Rule

__all__ = ["Engine", "Results"]

Results: TypeAlias = tuple[dict[int, tuple[Moved, list[Any]]], list[Any]]
"""The results of a step: by position each leaf's new parameter with the arrays of its state, and the shared fields."""


class Engine(ABC):
    """A way to run leaves of one rule in one step: compiled loop, slices, lists of tensors, operations one by one.

    Engines are asked in turn. Each takes the leaves that it can run and leaves the rest to the next. Then all of them
    compute what may raise, and only then they run, with which arrays that the caller donates may be written.
    """

    rounds = False
    """True for a law that asks for totals or keeps shared fields: one engine must then run all leaves or none."""

    def __init__(self, rule: Rule, backend: Backend, shared: Sequence[Any], donate: bool) -> None:
        self.rule, self.backend, self.shared, self.donate = rule, backend, shared, donate

    @property
    @abstractmethod
    def taken(self) -> set[int]:
        """The positions of the leaves that were taken."""

    @abstractmethod
    def take(self, leaves: Mapping[int, Leaf]) -> dict[int, Leaf]:
        """Take the leaves that this engine can run, and return the rest. Nothing is computed or written."""

    def compute(self) -> None:  # noqa: B027 - most engines have nothing to compute beforehand
        """Compute what can be computed without writing into what was given."""

    @abstractmethod
    def run(self) -> Results:
        """Run what was taken, and give the results."""
