"""Leaves that are spread over several processes, and the arrays that a law receives of them.

An elementwise law runs on the part of the leaf that lies in this process, and its totals are taken over all parts. Any
other law runs in every process on the whole leaf, which is gathered before it and cut into parts after it. So no law
receives an array that is spread, and each gives the numbers that it gives in a single process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from optcore.backends.leaf import Leaf, Moved
from optcore.backends.probe import asks_totals
from optcore.requests import Law, through
from optcore.rule import Rule

if TYPE_CHECKING:
    from optcore.backends.base import Backend

__all__ = ["Shards", "back", "check_gradient", "here", "over_all", "refuse_piece"]


class Shards(ABC):
    """The placement of one parameter over several processes; its gradient and its state are placed in the same way."""

    shape: tuple[int, ...]  #: the shape of the whole leaf

    @abstractmethod
    def part(self, x: Any) -> Any:
        """Return this process' part of an array of the leaf's shape; an array of another shape is returned whole."""

    @abstractmethod
    def whole(self, x: Any) -> Any:
        """Return the whole array, gathered from all processes."""

    @abstractmethod
    def total(self, x: Any, maximum: bool) -> Any:
        """Return the sum of the parts' values over all processes, or their ``maximum``; every process gets the same."""

    @abstractmethod
    def joined(self, part: Any) -> Any:
        """Return the spread array whose part in this process is the one given."""

    @abstractmethod
    def cut(self, whole: Any) -> Any:
        """Return the array spread over the processes, made from the whole one that each process has."""

    @abstractmethod
    def index(self) -> Any:
        """Return the position in the flattened whole leaf of each element that lies in this process."""

    @abstractmethod
    def check_gradient(self, who: str, g: Any, path: str) -> None:
        """Raise TypeError for a gradient that is not spread, or is spread over other processes."""

    def given(self, x: Any, by_parts: bool) -> Any:
        """Return the array that a law receives: its part in this process if it runs ``by_parts``, else the whole."""
        return x if x is None else self.part(x) if by_parts else self.whole(x)

    def kept(self, x: Any, by_parts: bool) -> Any:
        """Return a law's array as it is stored: spread if it has the leaf's shape, else whole in each process."""
        if x is None:
            return x
        if by_parts:
            return self.joined(x) if x.ndim == len(self.shape) else x
        return self.cut(x) if tuple(x.shape) == self.shape else x


def check_gradient(who: str, backend: Backend, p: Any, g: Any, path: str) -> None:
    """Raise TypeError, naming the leaf, for a gradient that is not placed over processes as its parameter is."""
    shards = backend.shards(p)
    if shards is not None:
        shards.check_gradient(who, g, path)
    elif backend.shards(g) is not None:
        raise TypeError(
            f"{who}: the gradient of {path!r} is spread over processes, the parameter is not; gather the gradient, or "
            "spread the parameter"
        )


def over_all(law: Law, shards: Shards) -> Law:
    """Return the law of a leaf's part in this process with its totals taken over the parts of all processes."""
    return through(law, lambda total: shards.total(total.value, total.how == "max"))


def here(rule: Rule, leaf: Leaf, shards: Shards | None, by_parts: bool) -> Leaf:
    """Return the leaf with the arrays that its law receives in this process; a leaf that is not spread is returned."""
    if shards is None:
        return leaf
    p, g = shards.given(leaf.p, by_parts), shards.given(leaf.g, by_parts)
    state = rule.pack([shards.given(x, by_parts) for x in rule.unpack(leaf.state)])
    return Leaf(p, g, state, leaf.t, leaf.values, leaf.chance)


def back(rule: Rule, leaf: Leaf, here: Leaf, shards: Shards | None, done: Any) -> tuple[Moved, list[Any]]:
    """Return the result of a leaf's step, spread as the leaf was; a parameter written in place is the one given."""
    moved, arrays = done
    if shards is None:
        return moved, arrays
    by_parts = rule.kind == "elementwise"
    p = leaf.p if moved.p is here.p else shards.kept(moved.p, by_parts)
    return Moved(p, None), [
        x if f.shared else shards.kept(x, by_parts) for f, x in zip(rule.fields, arrays, strict=True)
    ]


def refuse_piece(rule: Rule, by: str, path: str, *, option: str | None = None) -> None:
    """Raise ValueError for a rule, or an ``option`` of its recipe, that needs more than the elements of a piece."""
    if option:
        why = f"{option} takes more than its elements"
    elif rule.kind == "leafwise":
        why = "the rule takes the whole leaf"
    elif any(f.noise for f in rule.fields):
        why = "the rule draws a number for each element's position in the leaf"
    elif asks_totals(rule):
        why = "the rule needs totals over all leaves"
    else:
        return
    raise ValueError(
        f"{rule.name}: the parameter {path!r} is a piece that {by} cut from a leaf, of which neither the shape nor the "
        f"other pieces are known here, and {why}; shard by torch.distributed.fsdp.fully_shard, or do without"
    )
