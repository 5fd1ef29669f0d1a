"""Without a compiler: elementwise laws on slices that fit the cache, NumPy's own operations in NumPy's own order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optcore import leaf as template
from optcore.backends.base import COMPUTE, Backend
from optcore.backends.fused.graph import Unfusable, trace
from optcore.backends.fused.memory import disjoint
from optcore.backends.numpy import np
from optcore.rule import Rule
from optcore.scalars import is_host

__all__ = ["BLOCK", "Blocked"]

BLOCK = 1 << 15
"""Elements of a slice: a law's dozen temporaries of them stay in a second-level cache."""


class Blocked:
    """Leaves that are ready to run, as :class:`optcore.backends.fused.Fused` has them."""

    def __init__(self, rule: Rule, backend: Backend, leaves: Sequence[Any], donate: bool) -> None:
        self.rule, self.backend, self.leaves, self.donate = rule, backend, leaves, donate
        self.taken = {i for i in range(len(leaves)) if self._fits(leaves[i])}
        self.donate = donate and self._apart()

    def _fits(self, leaf: Any) -> bool:
        """Whether a large leaf lies in one piece and its law asks for nothing but its own elements."""
        rule = self.rule
        if rule.kind != "elementwise" or leaf.p.size < 2 * BLOCK or leaf.chance or not is_host(leaf.t):
            return False
        arrays = [leaf.p, leaf.g, *rule.unpack(leaf.state)]
        places = [self.backend.address(x) for x in arrays]
        if any(at is None or at[1] != places[0][1] for at in places) or any(x.shape != leaf.p.shape for x in arrays):  # type: ignore[index]
            return False
        dtype = self.backend.dtype(leaf.p)
        if not {dtype, COMPUTE[dtype]} >= {self.backend.dtype(x) for x in arrays}:
            return False
        if self.donate and not all(at[2] for at, x in zip(places, arrays, strict=True) if x is not leaf.g):  # type: ignore[index]
            return False
        try:
            found = trace(rule, leaf.p.shape, leaf.t, leaf.values, ["input"] * len(rule.fields))
        except Unfusable:
            return False
        return not found.rounds and not any(f.shared for f in rule.fields)

    def _apart(self) -> bool:
        every = [self.leaves[i] for i in self.taken]
        written = [x for leaf in every for x in (leaf.p, *self.rule.unpack(leaf.state))]
        spans = [(np.array([x.__array_interface__["data"][0]]), np.array([x.nbytes])) for x in written]
        read = [(np.array([leaf.g.__array_interface__["data"][0]]), np.array([leaf.g.nbytes])) for leaf in every]
        return not every or disjoint(spans, read)

    def run(self, threads: int) -> tuple[dict[int, tuple[Any, list[Any]]], list[Any]]:
        """Run what was taken: for each position the new parameter and the state's arrays, and no shared fields."""
        del threads  # two of them spend their time waiting for Python's lock
        return {i: self._leaf(self.leaves[i]) for i in self.taken}, []

    def _leaf(self, leaf: Any) -> tuple[Any, list[Any]]:
        from optcore.backends.drive import solve

        rule, backend = self.rule, self.backend
        compute = COMPUTE[backend.dtype(leaf.p)]
        arrays = [leaf.p, *rule.unpack(leaf.state)]
        new = [x if self.donate else backend.empty_like(x) for x in arrays]
        flat, out = [_flat(x) for x in (leaf.g, *arrays)], [_flat(x) for x in new]
        for start in range(0, leaf.p.size, BLOCK):
            cut = slice(start, start + BLOCK)
            g, p, *state = (backend.cast(x[cut], compute) for x in flat)
            law = template.update(rule, backend.xp, p, g, rule.pack(state), leaf.t, leaf.values)
            (((moved, _), after),) = solve([law], backend)
            for target, x in zip(out, (moved, *rule.unpack(after)), strict=True):
                target[cut] = x
        return new[0], new[1:]


def _flat(x: Any) -> Any:
    """All elements in the order of memory, as a view."""
    return (x if x.flags.c_contiguous else x.T).reshape(-1)
