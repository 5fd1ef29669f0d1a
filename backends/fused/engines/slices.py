"""Slices that fit the cache, without a compiler: elementwise laws in NumPy's own operations and NumPy's own order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optcore import leaf as template
from optcore.backends.answers import solve
from optcore.backends.base import Backend
from optcore.backends.fused.engines.engine import Engine, Results
from optcore.backends.fused.running.memory import disjoint
from optcore.backends.fused.trace.graph import Unfusable, trace
from optcore.backends.leaf import Leaf, Moved
from optcore.backends.numpy import np
from optcore.rule import Rule
from optcore.scalars import is_host

__all__ = ["BLOCK", "Slices"]

BLOCK = 1 << 15
"""Elements of a slice: a law's dozen temporaries of them stay in a second-level cache."""


class Slices(Engine):
    """Large leaves of NumPy's whose law asks for nothing but its own elements."""

    def __init__(self, rule: Rule, backend: Backend, shared: Sequence[Any], donate: bool) -> None:
        super().__init__(rule, backend, shared, donate)
        self.leaves: dict[int, Leaf] = {}

    @property
    def taken(self) -> set[int]:
        return set(self.leaves)

    def take(self, leaves: Mapping[int, Leaf]) -> dict[int, Leaf]:
        self.leaves = {i: leaf for i, leaf in leaves.items() if self._fits(leaf)}
        self.donate = self.donate and self._apart()
        return {i: leaf for i, leaf in leaves.items() if i not in self.leaves}

    def _fits(self, leaf: Leaf) -> bool:
        """Tell whether a large leaf lies in one piece and its law asks for nothing but its own elements."""
        rule = self.rule
        if rule.kind != "elementwise" or leaf.p.size < 2 * BLOCK or leaf.chance or not is_host(leaf.t):
            return False
        known = leaf.signature(rule, self.backend)
        if known.order is None or any(kind != "input" for kind in known.kinds):
            return False
        if not {known.dtype, known.compute} >= set(known.dtypes.values()) or (self.donate and not known.writable):
            return False
        try:
            return not trace(rule, known.shape, leaf.t, leaf.values, known.kinds).rounds
        except Unfusable:
            return False

    def _apart(self) -> bool:
        """Tell whether no array that would be written shares memory with another."""
        every = self.leaves.values()
        written = [x for leaf in every for x in (leaf.p, *self.rule.unpack(leaf.state))]
        return not every or disjoint([_span(x) for x in written], [_span(leaf.g) for leaf in every])

    def run(self) -> Results:
        # by one thread: two of them spend their time waiting for Python's lock
        return {i: self._moved(leaf) for i, leaf in self.leaves.items()}, []

    def _moved(self, leaf: Leaf) -> tuple[Moved, list[Any]]:
        rule, backend = self.rule, self.backend
        compute = leaf.signature(rule, backend).compute
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
        return Moved(new[0], None), new[1:]


def _span(x: Any) -> tuple[Any, Any]:
    """Return the address of an array, and its size in bytes."""
    return np.array([x.__array_interface__["data"][0]]), np.array([x.nbytes])


def _flat(x: Any) -> Any:
    """All elements in the order of memory, as a view."""
    return (x if x.flags.c_contiguous else x.T).reshape(-1)
