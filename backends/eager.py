"""Eager execution: laws run operation by operation in a library's own namespace, on any leaf of any backend.

It is the reference that every faster engine is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optcore import leaf as template
from optcore.backends.answers import solve
from optcore.backends.base import COMPUTE, Backend
from optcore.backends.convert import into, inward, outward
from optcore.backends.fused.engines.engine import Engine, Results
from optcore.backends.leaf import Leaf, Moved
from optcore.backends.rounding import stochastic
from optcore.backends.shards import back, here, over_all
from optcore.backends.values import is_static
from optcore.requests import Law
from optcore.rule import Rule
from optcore.scalars import is_host

__all__ = ["Eager", "eager"]


class Eager(Engine):
    """The engine that takes every leaf, and gives the right result for all of them.

    With ``parts`` the elementwise stretches of a law of rows, columns and matrices run as fused passes over memory.
    """

    def __init__(self, rule: Rule, backend: Backend, shared: Sequence[Any], *, parts: bool = False) -> None:
        super().__init__(rule, backend, shared, donate=False)
        self.parts = parts
        self.leaves: dict[int, Leaf] = {}

    @property
    def taken(self) -> set[int]:
        return set(self.leaves)

    def take(self, leaves: Mapping[int, Leaf]) -> dict[int, Leaf]:
        self.leaves.update(leaves)
        return {}

    def compute(self) -> None:
        """Run the laws of all leaves; their results are new arrays."""
        every = list(self.leaves.values())
        laws = [self._moved(leaf) for leaf in every]
        self.done: list[tuple[Moved, list[Any]]] = solve(laws, self.backend)
        for leaf, (moved, arrays) in zip(every, self.done, strict=True):
            _check_shapes(self.rule, leaf, moved.p, arrays)

    def run(self) -> Results:
        """Return the results by leaf, and the new shared fields, taken from the leaf of the widest dtype."""
        if not self.done:
            return {}, []
        dtypes = [COMPUTE[self.backend.dtype(leaf.p)] for leaf in self.leaves.values()]
        widest = dtypes.index("float64") if "float64" in dtypes else 0
        new = [x for f, x in zip(self.rule.fields, self.done[widest][1], strict=True) if f.shared]
        new = [self.backend.scalar(x, old) for x, old in zip(new, self.shared, strict=True)]
        return dict(zip(self.leaves, self.done, strict=True)), new

    def _moved(self, leaf: Leaf) -> Law:
        """Run one step of one leaf; the law in execution returns what it moved to and the arrays of its new state.

        A leaf that is spread over processes is gathered only when its law starts: where no law asks for totals, one
        whole leaf exists at a time.
        """
        rule, backend = self.rule, self.backend
        dtype, shards, by_parts = backend.dtype(leaf.p), backend.shards(leaf.p), rule.kind == "elementwise"
        mine = here(rule, leaf, shards, by_parts)
        p, g = into(rule, backend, mine.p, dtype), into(rule, backend, mine.g, dtype)
        common = iter(self.shared)
        state = [
            backend.scalar(next(common), p) if f.shared else inward(backend, x, dtype)
            for f, x in zip(rule.fields, rule.unpack(mine.state), strict=True)
        ]
        values = {name: v if is_static(v) else backend.scalar(v, p) for name, v in leaf.values.items()}
        t = leaf.t if is_host(leaf.t) else backend.scalar(leaf.t, p)
        law = self._law(p, g, state, t, values)
        (new, step), after = yield from (over_all(law, shards) if shards is not None and by_parts else law)
        if dtype.startswith("complex"):
            moved = Moved(backend.unpair(new, dtype), backend.unpair(step, dtype))
        else:
            if leaf.chance is None:
                new = backend.cast(new, dtype)
            else:
                new = stochastic(backend, new, dtype, leaf.chance, leaf.p if by_parts else None)
            moved = Moved(backend.whole(new), step)
        arrays = [x if x is None else backend.whole(x) for x in outward(backend, rule.unpack(after), mine.p, dtype)]
        return back(rule, leaf, mine, shards, (moved, arrays))

    def _law(self, p: Any, g: Any, state: list[Any], t: Any, values: dict[str, Any]) -> Law:
        """Return the law of one leaf in execution, its elementwise stretches as fused passes where that is faster."""
        if self.parts and is_host(t):
            from optcore.backends.fused.engines.matrices import update, worthwhile

            if worthwhile(self.rule, self.backend, p):
                return update(self.rule, self.backend, p, g, state, t, values)
        return template.update(self.rule, self.backend.xp, p, g, self.rule.pack(state), t, values)


def eager(
    rule: Rule, backend: Backend, leaves: Sequence[Leaf], shared: Sequence[Any], *, parts: bool = False
) -> tuple[list[tuple[Moved, list[Any]]], list[Any]]:
    """Run one step of every leaf with this engine alone; return the leaves' results and the new shared fields."""
    engine = Eager(rule, backend, shared, parts=parts)
    engine.take(dict(enumerate(leaves)))
    engine.compute()
    found, new = engine.run()
    return [found[i] for i in range(len(leaves))], new or list(shared)


def _check_shapes(rule: Rule, leaf: Leaf, new: Any, arrays: Sequence[Any]) -> None:
    """Raise ValueError if a result has another shape than what it replaces; nothing has been written yet.

    A state made for another shape would otherwise broadcast into a wrong result.
    """
    if tuple(new.shape) != tuple(leaf.p.shape):
        raise ValueError(
            f"{rule.name}: the parameter has shape {tuple(leaf.p.shape)} and would get {tuple(new.shape)}; "
            "give the state that init made for this parameter"
        )
    for f, old, x in zip(rule.fields, rule.unpack(leaf.state), arrays, strict=True):
        if not f.shared and old is not None and tuple(old.shape) != tuple(x.shape):
            raise ValueError(
                f"{rule.name}: the state's {f.name} has shape {tuple(old.shape)} and would get {tuple(x.shape)} for a "
                f"parameter of shape {tuple(leaf.p.shape)}; give the state that init made for this parameter"
            )
