"""The compiled loop: one pass over memory, written by a compiler, for all leaves at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from optcore.backends import fused
from optcore.backends.base import Backend
from optcore.backends.fused.engines.engine import Engine, Results
from optcore.backends.fused.printers.emitter import SIZES
from optcore.backends.fused.running.memory import disjoint
from optcore.backends.fused.running.table import Batch, Processors, together
from optcore.backends.fused.trace.graph import Unfusable
from optcore.backends.fused.trace.program import of_leaf
from optcore.backends.leaf import Leaf, Moved
from optcore.rule import Rule
from optcore.scalars import is_host

__all__ = ["Loop"]


@dataclass
class _Group:
    """Leaves of one graph and one choice of dtypes, as they are collected."""

    program: Any
    compute: str
    dtypes: Mapping[str, str]
    at: list[int] = field(default_factory=list)
    pointers: list[tuple[int, ...]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    constants: dict[Any, int] = field(default_factory=dict)
    row: list[int] = field(default_factory=list)
    own: list[dict[str, Any]] = field(default_factory=list)
    runner: Any = None  #: what runs passes where the leaves lie, if not the processors of this machine


class Loop(Engine):
    """Leaves that a loop over their memory can run."""

    def __init__(self, rule: Rule, backend: Backend, shared: Sequence[Any], donate: bool) -> None:
        super().__init__(rule, backend, shared, donate)
        self.leaves: dict[int, Leaf] = {}
        self.groups: dict[Any, _Group] = {}
        self.traces: dict[Any, Any] = {}
        self.rounds = any(f.shared for f in rule.fields)

    @property
    def taken(self) -> set[int]:
        return set(self.leaves)

    def take(self, leaves: Mapping[int, Leaf]) -> dict[int, Leaf]:
        return {i: leaf for i, leaf in leaves.items() if not self._add(i, leaf)}

    def _add(self, i: int, leaf: Leaf) -> bool:
        """Take leaf i, if it can be run by a loop over its memory."""
        rule, known = self.rule, leaf.signature(self.rule, self.backend)
        dtype, compute, runner = known.dtype, known.compute, known.runner
        if known.order is None or "other" in known.kinds or not is_host(leaf.t) or dtype.startswith("complex"):
            return False
        if (runner is None and not fused.usable()) or (leaf.chance and (runner or known.order != "C")):
            return False  # rounding by chance counts elements in their order
        if not {dtype, compute} >= set(known.dtypes.values()) or (self.donate and not known.writable):
            return False
        memo = (tuple(leaf.values.items()), leaf.t, known.seen(rule), known.kinds)
        try:
            found = self.traces.get(memo)
            if found is None:
                found = self.traces[memo] = of_leaf(rule, known.shape, known.kinds, leaf.t, leaf.values)
        except (Unfusable, TypeError):
            return False
        self.rounds = self.rounds or bool(found[0].rounds)
        key = (id(found[1]), tuple(known.dtypes.items()), runner, leaf.chance is None)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = _Group(found[1], compute, known.dtypes, runner=runner)
        group.at.append(i)
        group.pointers.append(known.addresses)
        group.lengths.append(prod(known.shape))
        constants = tuple(found[0].graph.constants)
        group.row.append(group.constants.setdefault(constants, len(group.constants)))
        state = rule.unpack(leaf.state)
        group.own.append({f.name: x for f, x, k in zip(rule.fields, state, known.kinds, strict=True) if k == "own"})
        self.leaves[i] = leaf
        return True

    def _apart(self) -> bool:
        """Tell whether no array that would be written shares memory with another."""
        written: list[Any] = []
        read: list[Any] = []
        for group in self.groups.values():
            addresses, lengths = np.array(group.pointers, dtype=np.uint64).T, np.array(group.lengths)
            for (name, dtype), column in zip(group.dtypes.items(), addresses, strict=True):
                (read if name == "g" else written).append((column, lengths * SIZES[dtype]))
        return disjoint(written, read)

    def _chances(self, group: _Group) -> Any:
        """The keys of stochastic rounding, None where a group rounds to nearest."""
        every = [self.leaves[i].chance for i in group.at]
        return None if every[0] is None else np.array(every, dtype=np.uint64)

    def run(self, threads: int | None = None, chunk: int = 1 << 16) -> Results:
        """Run what was taken; ``threads`` are by default as many as the library uses."""
        backend, rule = self.backend, self.rule
        threads = backend.threads() if threads is None else threads
        donate = self.donate and self._apart()
        common = dict(zip([f.name for f in rule.fields if f.shared], self.shared, strict=True))
        shared = {name: float(backend.numpy(x)) for name, x in common.items()}
        batches, made = [], []
        for group in self.groups.values():
            names = list(group.dtypes)
            columns = dict(zip(names, np.asarray(group.pointers, dtype=np.uint64).T, strict=True))
            arrays: list[dict[str, Any]] = []
            for i in group.at:
                leaf = self.leaves[i]
                old = {"p": leaf.p, **{f.name: x for f, x in zip(rule.fields, rule.unpack(leaf.state), strict=True)}}
                mine = {n: old[n] for n in names if n != "g"}
                arrays.append(mine if donate else {n: backend.empty_like(x) for n, x in mine.items()})
            targets = columns
            if not donate:
                every = {n: [backend.address(a[n])[0] for a in arrays] for n in names if n != "g"}  # type: ignore[index]
                targets = {n: np.asarray(x, dtype=np.uint64) for n, x in every.items()}
            own = {n: [float(backend.numpy(o[n])) for o in group.own] for n in group.own[0]}
            constants = np.asarray(list(group.constants), dtype=np.float64).reshape(len(group.constants), -1)
            batches.append(
                Batch(group.program, group.compute, group.dtypes, columns, targets, tuple(group.lengths), constants,
                      np.asarray(group.row, dtype=np.int64), shared, own, threads, chunk, group.runner or Processors,
                      self._chances(group))
            )  # fmt: skip
            made.append(arrays)
        with np.errstate(all="ignore"):
            scalars = together(batches)
        if donate:
            backend.written([x for arrays in made for mine in arrays for x in mine.values()])
        results: dict[int, tuple[Moved, list[Any]]] = {}
        new_shared: list[Any] = []
        for group, arrays, env in zip(self.groups.values(), made, scalars, strict=True):
            for k, (i, mine) in enumerate(zip(group.at, arrays, strict=True)):
                state: list[Any] = []
                old_state = rule.unpack(self.leaves[i].state)
                for f, node, old in zip(rule.fields, group.program.state, old_state, strict=True):
                    if f.shared:
                        state.append(backend.scalar(backend.array(env[node][0], group.compute), common[f.name]))
                    elif f.name in mine:
                        state.append(mine[f.name])
                    elif old is None:
                        state.append(None)
                    else:
                        state.append(backend.scalar(backend.array(env[node][k], group.compute), old))
                results[i] = Moved(mine["p"], None), state
                new_shared = new_shared or [x for x, f in zip(state, rule.fields, strict=True) if f.shared]
        return results, new_shared
