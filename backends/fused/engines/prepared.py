"""The compiled loop over torch tensors that were found fit for it once, and are checked anew and quickly each time.

PyTorch's and Keras' optimizers make most of their steps here. Everything is done for all tensors at once, since a
microsecond for each is what a step on small tensors costs. An address is never trusted from one step to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_
from typing import Any

import numpy as np
import torch

from optcore.backends.fused.printers.emitter import SIZES
from optcore.backends.fused.running.compiled import counters
from optcore.backends.fused.running.memory import disjoint
from optcore.backends.fused.running.table import Batch, Processors, together
from optcore.backends.fused.trace.graph import Unfusable
from optcore.backends.fused.trace.program import of_leaf
from optcore.backends.leaf import Signature, signature
from optcore.backends.torch import PLAIN, backend
from optcore.rule import Rule

__all__ = ["PreparedLoop", "Tensors"]

address, count, contiguous = torch.Tensor.data_ptr, torch.Tensor.numel, torch.Tensor.is_contiguous
negative, bytes_of = torch.Tensor.is_neg, attrgetter("nbytes")
PLAIN_TYPES = set(PLAIN)
dtype_of, grad_of = attrgetter("dtype"), attrgetter("grad")


@dataclass(frozen=True)
class Tensors:
    """The tensors of one parameter: itself, its state by the library's names, and the source of its numbers.

    ``source`` is whatever tells apart parameters with numbers of their own; those of one source share them.
    """

    p: Any
    state: dict[str, Any]
    source: Any


class PreparedLoop:
    """Parameters whose tensors were all found fit for the loop; :meth:`ready` tells whether they still are."""

    def __init__(self, rule: Rule, members: Sequence[Tensors], names: Sequence[str], *, counted: bool = True) -> None:
        """Raise Unfusable where a tensor cannot be run by a loop over its memory.

        ``counted`` says that each state holds its own count of updates, as torch has it, under "step".
        """
        self.rule, self.counted = rule, counted
        self.params = [m.p for m in members]
        self.states = [m.state for m in members]
        self.names = tuple(names)  #: torch's name of each field; shared ones live elsewhere
        self.sources: list[Any] = []
        self.classes: list[tuple[Signature, int]] = []  #: signatures that differ, each with its source
        seen: dict[Any, int] = {}
        self.of_leaf = np.empty(len(members), np.int64)
        where: dict[Any, int] = {}
        for i, m in enumerate(members):
            if m.source not in where:
                where[m.source] = len(self.sources)
                self.sources.append(m.source)
            known = self._described(m)
            key = (known.seen(rule), known.kinds, tuple(known.dtypes.items()), where[m.source], known.runner)
            if key not in seen:
                seen[key] = len(self.classes)
                self.classes.append((known, where[m.source]))
            self.of_leaf[i] = seen[key]
        self.sizes = list(map(count, self.params))
        self.dtypes = list(map(dtype_of, self.params))
        self.plain = all(map(contiguous, self.params))
        self.orders = self._orders(self.params)
        self.fields = [
            (f.name, name)
            for k, (f, name) in enumerate(zip(rule.fields, names, strict=True))
            if not f.shared and any(known.kinds[k] for known, _ in self.classes)
        ]
        self.table: dict[str, Any] = {}
        every = [known.dtypes for known, _ in self.classes]
        sized = {n: [SIZES.get(dtypes.get(n, ""), 0) for dtypes in every] for n in ("p", "g", *dict(self.fields))}
        self.widths = {name: np.array(sizes, np.int64)[self.of_leaf] for name, sizes in sized.items()}
        self.found = self._tensors()
        self.kept = [x for x in self.found if x is not None]
        self.there = np.array([x is not None for x in self.found], bool)
        names = [name for _, name in self.fields]
        own = (state.get(name) for state in self.states for name in names)
        self.large = [*self.params, *(x for x in own if x is not None)]  # all but the counts
        self.bytes = list(map(bytes_of, self.large))
        self.description = self._description()
        self.places: tuple[list[int], list[int], list[int]] = ([], [], [])
        self.length = np.array(self.sizes, np.int64)

    def _described(self, m: Tensors) -> Signature:
        """The signature of a parameter with a gradient like itself; Unfusable where no loop can run it."""
        arrays = [None if f.shared else m.state.get(name) for f, name in zip(self.rule.fields, self.names, strict=True)]
        known = signature(self.rule, backend, m.p, None, arrays)
        if known.order is None or known.dtype not in SIZES or (self.counted and not _counter(m.state.get("step"))):
            raise Unfusable("tensors that do not lie side by side in the processors' memory")
        if "other" in known.kinds or "own" in known.kinds:
            raise Unfusable("a state of another shape than its parameter's")
        if not {known.dtype, known.compute} >= set(known.dtypes.values()):
            raise Unfusable("a state in a dtype that is neither its parameter's nor that of computation")
        return known

    def ready(self, grads: Sequence[Any] | None = None) -> bool:
        """Tell whether every tensor is as it was, except for address and values, and every gradient fits."""
        grads = list(map(grad_of, self.params)) if grads is None else grads
        try:
            if set(map(type, grads)) != {torch.Tensor} or not set(map(type, self.params)) <= PLAIN_TYPES:
                return False
            if any(map(negative, grads)):
                return False  # the sign is in the tensor and not in its memory
            if not all(map(is_, map(dtype_of, grads), self.dtypes)) or list(map(count, grads)) != self.sizes:
                return False
            if list(map(bytes_of, self.large)) != self.bytes:
                return False
            if self.plain:
                if not (all(map(contiguous, grads)) and all(map(contiguous, self.params))):
                    return False
            elif self._orders(grads) != self.orders or self._orders(self.params) != self.orders:
                return False
            places = list(map(address, self.params)), list(map(address, grads)), list(map(address, self.kept))
        except RuntimeError:  # a tensor without memory of its own
            return False
        return places == self.places or self._moved(places)

    def same_states(self) -> bool:
        """Tell whether every state tensor is the one that was prepared."""
        found = self._tensors()
        return len(found) == len(self.found) and all(map(is_, found, self.found))

    def _tensors(self) -> list[Any]:
        names = [name for _, name in self.fields] + ["step"] * self.counted
        return [state.get(name) for state in self.states for name in names]

    def _description(self) -> Any:
        """Dtypes, order and devices; another of these, given in place by ``data``, comes with another place."""
        written = self.written()
        order = all(map(contiguous, self.kept)) if self.plain else self._orders(self.kept)
        return list(map(dtype_of, written)), order, [x.device for x in written]

    def written(self) -> tuple[Any, ...]:
        """Everything that a step writes to."""
        return (*self.params, *self.kept)

    @staticmethod
    def _orders(tensors: Sequence[Any]) -> list[Any]:
        return [(backend.address(x) or (0, None))[1] for x in tensors]

    def _moved(self, places: tuple[list[int], list[int], list[int]]) -> bool:
        """Take note of new places; False where something that is written overlaps anything else."""
        params, grads, kept = places
        if (params, kept) != (self.places[0], self.places[2]) and self._description() != self.description:
            return False
        states = np.zeros(len(self.found), np.uint64)
        states[self.there] = kept
        columns = states.reshape(len(self.params), -1).T
        names = [field for field, _ in self.fields] + ["step"] * self.counted
        table = {"p": np.array(params, np.uint64), "g": np.array(grads, np.uint64)}
        table |= {name: np.ascontiguousarray(column) for name, column in zip(names, columns, strict=True)}
        written = [name for name in table if name not in ("g", "step")]
        if any(np.any((table[n] == 0) & (self.length > 0) & (self.widths[n] > 0)) for n in (*written, "g")):
            return False  # a tensor of zeros that has no memory
        if self.counted and len(np.unique(table["step"])) < len(self.params):
            return False  # two parameters with one count
        spans = {name: self.length * self.widths[name] for name in [*written, "g"]}
        if not disjoint([(table[n], spans[n]) for n in written], [(table["g"], spans["g"])]):
            return False
        self.places, self.table = places, table
        return True

    def batches(
        self, values: Sequence[Mapping[str, Any]], shared: Mapping[str, Any], count: int | None = None
    ) -> list[Batch]:
        """The work of one step, ready to run; ``values`` are the numbers of each source.

        ``count`` is the number of this update where the states do not hold it.

        Raises Unfusable for a law that no loop over elements can do, and for a shared field that is no number.
        """
        table, rule = self.table, self.rule
        given = {name: _number(x) for name, x in shared.items()}
        t = np.full(len(self.params), count or 0, np.int64)
        if self.counted:
            steps = np.empty(len(self.params))
            counters().read(table["step"].ctypes.data, len(steps), steps.ctypes.data)
            t = steps.astype(np.int64) + 1
        if len(t) and (t == t[0]).all():  # as nearly always
            pairs, at = [(c, int(t[0])) for c in range(len(self.classes))], self.of_leaf
        else:
            unique, at = np.unique(np.stack([self.of_leaf, t]), axis=1, return_inverse=True)
            pairs, at = unique.T.tolist(), at.reshape(-1)
        traced = []
        for c, now in pairs:
            known, source = self.classes[c]
            found, one = of_leaf(rule, known.shape, known.kinds, now, values[source])
            traced.append((one, known, found.graph.constants))
        groups: dict[Any, list[int]] = {}
        for k, (one, known, _) in enumerate(traced):
            groups.setdefault((id(one), tuple(known.dtypes.items()), known.runner), []).append(k)
        batches = []
        for (_, _, runner), members in groups.items():
            one, known, _ = traced[members[0]]
            dtypes = known.dtypes
            constants = np.array([traced[k][2] for k in members], dtype=np.float64).reshape(len(members), -1)
            if len(groups) == 1:
                leaves, row, sizes = slice(None), at, tuple(self.sizes)
            else:
                local = np.full(len(traced), -1)
                local[members] = np.arange(len(members))
                row = local[at]
                leaves = np.flatnonzero(row >= 0)
                row, sizes = row[leaves], tuple(self.length[leaves].tolist())
            pointers = {name: table[name][leaves] for name in dtypes}
            batches.append(
                Batch(one, known.compute, dtypes, pointers, pointers, sizes, constants, row, given, {},
                      backend.threads(), runner=runner or Processors)
            )  # fmt: skip
        return batches

    def prepared(
        self, numbers: Callable[[Any], Mapping[str, Any]], shared: Mapping[str, Any], count: int | None = None
    ) -> list[Batch] | None:
        """The work of one step, where ``numbers(source)`` are a source's; None where the step takes another way.

        ``count`` is the number of this update where the states do not hold it.
        """
        values = [{k: _host(v) if torch.is_tensor(v) else v for k, v in numbers(x).items()} for x in self.sources]
        if any(torch.is_tensor(x) for each in values for x in each.values()):
            return None
        try:
            return self.batches(values, shared, count)
        except Unfusable:
            return None

    def run(self, batches: Sequence[Batch]) -> list[Any]:
        """Make one step; returns the new shared fields."""
        rule = self.rule
        with np.errstate(all="ignore"):
            scalars = together(batches)
        if self.counted:
            counters().bump(self.table["step"].ctypes.data, len(self.params))
        torch.autograd.graph.increment_version(self.params)  # no graph has seen the states
        if not batches or not any(f.shared for f in rule.fields):
            return []
        first, compute = scalars[0], batches[0].compute
        nodes = zip(rule.fields, batches[0].program.state, strict=True)
        return [backend.array(first[node][0], compute) for f, node in nodes if f.shared]


def _host(x: Any) -> Any:
    """The number in a tensor, where nothing is lost by reading it; else the tensor."""
    return float(x) if x.is_cpu and not x.requires_grad and x.numel() == 1 else x


def _number(x: Any) -> float:
    """A shared field's value; a pass has registers for numbers only."""
    if torch.is_tensor(x) and x.ndim:
        raise Unfusable("a shared field is a vector")
    return float(x)


def _counter(step: Any) -> bool:
    """Tell whether this is torch's count of updates in its usual form: a single float32 number on the CPU."""
    return type(step) is torch.Tensor and step.dtype is torch.float32 and step.is_cpu and step.numel() == 1
