"""Every rule in one pass over memory: its law is traced, printed as a loop and run over all leaves at once.

:func:`prepare` sorts out which leaves can be run this way, and :class:`Fused` runs them. What it does not
take is left to eager execution, which is always right.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from optcore.backends.base import COMPUTE, Backend
from optcore.rule import Rule
from optcore.scalars import is_host

__all__ = ["Fused", "prepare", "usable"]


@lru_cache
def usable() -> bool:
    """Whether llvmlite, the ``[fast]`` extra, is installed."""
    return importlib.util.find_spec("llvmlite") is not None


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


class Fused:
    """Leaves that are ready to run; nothing has been computed or written yet."""

    def __init__(
        self,
        rule: Rule,
        backend: Backend,
        leaves: Sequence[Any],
        shared: Sequence[Any],
        donate: bool,
    ) -> None:
        self.rule, self.backend, self.leaves, self.donate = rule, backend, leaves, donate
        names = [f.name for f in rule.fields if f.shared]
        self.shared = dict(zip(names, shared, strict=True))
        self.groups: dict[Any, _Group] = {}
        self.traces: dict[Any, Any] = {}
        self.rounds = bool(names)

    @property
    def taken(self) -> set[int]:
        """The positions of the leaves that will be run."""
        return {i for group in self.groups.values() for i in group.at}

    def add(self, i: int) -> bool:
        """Take leaf i, if it can be run by a loop over its memory."""
        from optcore.backends.fused.graph import Unfusable, trace
        from optcore.backends.fused.program import program

        rule, backend, leaf = self.rule, self.backend, self.leaves[i]
        dtype = backend.dtype(leaf.p)
        place = backend.address(leaf.p)
        if place is None or (COMPUTE[dtype] != dtype and not dtype.endswith("float16")) or not is_host(leaf.t):
            return False
        runner = getattr(place[1], "runner", None)
        if (runner is None and not usable()) or (leaf.chance and (runner or place[1] != "C")):
            return False  # rounding by chance counts elements in their order
        compute, shape = COMPUTE[dtype], tuple(leaf.p.shape)
        pointers, dtypes, own = [place[0]], {"p": dtype}, {}
        kinds: list[str | None] = []
        state = rule.unpack(leaf.state)
        arrays = [("g", leaf.g), *((f.name, x) for f, x in zip(rule.fields, state, strict=True) if not f.shared)]
        for name, x in arrays:
            if x is None:
                kinds.append(None)
                continue
            if name != "g" and not x.shape and shape:
                kinds.append("own")
                own[name] = x
                continue
            at = backend.address(x)
            if at is None:
                return False
            if at[1] != place[1] or tuple(x.shape) != shape or (self.donate and not at[2] and name != "g"):
                return False
            pointers.append(at[0])
            dtypes[name] = backend.dtype(x)
            kinds.append("input")
        if not {dtype, compute} >= set(dtypes.values()):
            return False
        if self.donate and not place[2]:
            return False
        kinds.pop(0)
        rest = iter(kinds)
        every = tuple("shared" if f.shared else next(rest) for f in rule.fields)
        seen = shape if rule.kind == "leafwise" else len(shape)
        memo = (tuple(leaf.values.items()), leaf.t, seen, every)
        try:
            found = self.traces.get(memo)
            if found is None:
                traced = trace(rule, shape, leaf.t, leaf.values, every)
                fields = [(f.name, kind == "input") for f, kind in zip(rule.fields, every, strict=True)]
                found = self.traces[memo] = traced, program(traced, fields)
        except (Unfusable, TypeError):
            return False
        self.rounds = self.rounds or bool(found[0].rounds)
        key = (id(found[1]), tuple(dtypes.items()), runner, leaf.chance is None)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = _Group(found[1], compute, dtypes, runner=runner)
        group.at.append(i)
        group.pointers.append(tuple(pointers))
        size = 1
        for n in shape:
            size *= n
        group.lengths.append(size)
        constants = tuple(found[0].graph.constants)
        group.row.append(group.constants.setdefault(constants, len(group.constants)))
        group.own.append(own)
        return True

    def _apart(self) -> bool:
        """Whether no array that would be written shares memory with another."""
        from optcore.backends.fused.emitter import SIZES
        from optcore.backends.fused.memory import disjoint

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

    def run(self, threads: int, chunk: int = 1 << 16) -> tuple[dict[int, tuple[Any, list[Any]]], list[Any]]:
        """Run what was taken: for each position the new parameter and the state's arrays, and the shared fields."""
        from optcore.backends.fused.table import Batch, Processors, together

        backend, rule = self.backend, self.rule
        donate = self.donate and self._apart()
        shared = {name: float(backend.numpy(x)) for name, x in self.shared.items()}
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
        results: dict[int, tuple[Any, list[Any]]] = {}
        new_shared: list[Any] = []
        for group, arrays, env in zip(self.groups.values(), made, scalars, strict=True):
            for k, (i, mine) in enumerate(zip(group.at, arrays, strict=True)):
                state: list[Any] = []
                old_state = rule.unpack(self.leaves[i].state)
                for f, node, old in zip(rule.fields, group.program.state, old_state, strict=True):
                    if f.shared:
                        state.append(backend.scalar(backend.array(env[node][0], group.compute), self.shared[f.name]))
                    elif f.name in mine:
                        state.append(mine[f.name])
                    elif old is None:
                        state.append(None)
                    else:
                        state.append(backend.scalar(backend.array(env[node][k], group.compute), old))
                results[i] = mine["p"], state
                new_shared = new_shared or [x for x, f in zip(state, rule.fields, strict=True) if f.shared]
        return results, new_shared


def prepare(
    rule: Rule,
    backend: Backend,
    leaves: Sequence[Any],
    shared: Sequence[Any],
    *,
    donate: bool = False,
) -> Any:
    """What of these leaves can be run in one pass, or as lists of tensors; None where that is nothing.

    ``donate`` lets the pass write into parameters and states. Totals are over all leaves, so a law with totals is run
    for all of them or for none.
    """
    found: Any = None
    if usable() or backend.devices:
        found = Fused(rule, backend, leaves, shared, donate)
        every = True
        for i in range(len(leaves)):
            every = found.add(i) and every
        if not found.groups or (found.rounds and not every):
            found = None
    elif backend.name == "numpy":
        from optcore.backends.fused.blocked import Blocked

        blocked = Blocked(rule, backend, leaves, donate)
        found = blocked if blocked.taken else None
    if backend.name == "torch" and (found is None or len(found.taken) < len(leaves)):
        from optcore.backends.fused.elsewhere import beside

        found = beside(found, rule, leaves, shared, donate)
    return found


def __getattr__(name: str) -> Any:
    if name == "backend":
        from optcore.backends.fused import on_numpy

        return on_numpy.backend
    raise AttributeError(f"module 'optcore.backends.fused' has no attribute {name!r}")
