"""Leaves that several processes hold together, and what of them a law is given.

A law that works element by element runs on the part that lies in this process, and its totals are taken over all
parts. Any other law runs in every process on the whole leaf, which is gathered for it and cut again behind it. So no
law meets an array that is spread, and each gives what it gives in a single process.
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
    """How one parameter is spread over processes; its gradient and state are brought to the same places."""

    shape: tuple[int, ...]  #: of the whole leaf

    @abstractmethod
    def part(self, x: Any) -> Any:
        """The part of an array of the leaf's shape that lies here; any other array as a whole."""

    @abstractmethod
    def whole(self, x: Any) -> Any:
        """The whole array, gathered from all processes."""

    @abstractmethod
    def total(self, x: Any, maximum: bool) -> Any:
        """The sum or the maximum of what each part has, the same in all processes."""

    @abstractmethod
    def joined(self, part: Any) -> Any:
        """The spread array that has this part here."""

    @abstractmethod
    def cut(self, whole: Any) -> Any:
        """The spread array of a whole one."""

    @abstractmethod
    def index(self) -> Any:
        """The position in the whole leaf of each element that lies here, in the order of its axes."""

    @abstractmethod
    def check_gradient(self, who: str, g: Any, path: str) -> None:
        """Raise TypeError for a gradient that is not spread, or over other processes."""

    def given(self, x: Any, by_parts: bool) -> Any:
        """The part of an array, or the whole, that a law is given."""
        return x if x is None else self.part(x) if by_parts else self.whole(x)

    def kept(self, x: Any, by_parts: bool) -> Any:
        """The array of a law as it is kept; one that has not the leaf's shape is whole in each process."""
        if x is None:
            return x
        if by_parts:
            return self.joined(x) if x.ndim == len(self.shape) else x
        return self.cut(x) if tuple(x.shape) == self.shape else x


def check_gradient(who: str, backend: Backend, p: Any, g: Any, path: str) -> None:
    """Raise TypeError, naming the leaf, for a gradient that does not lie where its parameter does."""
    shards = backend.shards(p)
    if shards is not None:
        shards.check_gradient(who, g, path)
    elif backend.shards(g) is not None:
        raise TypeError(
            f"{who}: the gradient of {path!r} is spread over processes, the parameter is not; gather the gradient, or "
            "spread the parameter"
        )


def over_all(law: Law, shards: Shards) -> Law:
    """A law that runs on the part here, with its totals taken over all parts."""
    return through(law, lambda total: shards.total(total.value, total.how == "max"))


def here(rule: Rule, leaf: Leaf, shards: Shards | None, by_parts: bool) -> Leaf:
    """A leaf of arrays that lie in this process, where it is spread over several."""
    if shards is None:
        return leaf
    p, g = shards.given(leaf.p, by_parts), shards.given(leaf.g, by_parts)
    state = rule.pack([shards.given(x, by_parts) for x in rule.unpack(leaf.state)])
    return Leaf(p, g, state, leaf.t, leaf.values, leaf.chance)


def back(rule: Rule, leaf: Leaf, here: Leaf, shards: Shards | None, done: Any) -> tuple[Moved, list[Any]]:
    """The new leaf, spread as the old one was; a parameter that was written in place is the one given."""
    moved, arrays = done
    if shards is None:
        return moved, arrays
    by_parts = rule.kind == "elementwise"
    p = leaf.p if moved.p is here.p else shards.kept(moved.p, by_parts)
    return Moved(p, None), [
        x if f.shared else shards.kept(x, by_parts) for f, x in zip(rule.fields, arrays, strict=True)
    ]


def refuse_piece(rule: Rule, by: str, path: str, *, option: str | None = None) -> None:
    """Raise ValueError for a rule, or an option of its recipe, that takes more of a leaf than a piece's elements."""
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
