"""Batches of leaves that run by one program in the same dtypes, and the tables by which a kernel finds them."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from optcore.backends.fused.running import pool
from optcore.backends.fused.trace.program import REDUCTIONS, Pass, Program
from optcore.norms import parted
from optcore.requests import Handler, Total, interpret

__all__ = ["CHUNK", "Batch", "Processors", "chunks", "together"]

CHUNK = 1 << 16
"""The number of elements that a thread takes at a time."""
BLOCK = 1 << 16
"""The number of elements in one partial sum; it is fixed, so that a sum depends on its leaf alone."""
LEAST, MOST = 2.0**-900, 2.0**1000
"""The range in which a float64 sum of squares is right: no square was infinite, and squares that vanished, each below
2^-1022, are too small to change the sum."""


@lru_cache(maxsize=64)
def chunks(lengths: tuple[int, ...], size: int) -> tuple[Any, Any]:
    """Return the chunk table of leaves of these lengths, with one row (leaf, start, stop, block) for each chunk.

    Beside it is a table of pairs (leaf, first block), for every leaf that is not empty.
    """
    rows, first, block = [], [], 0
    for leaf, n in enumerate(lengths):
        if n:
            first.append((leaf, block))
        for start in range(0, n, size):
            rows.append((leaf, start, min(start + size, n), block))
            block += 1
    table = np.asarray(rows, dtype=np.int64).reshape(-1, 4)
    return table, np.asarray(first, dtype=np.int64).reshape(-1, 2)


class Processors:
    """The runner of passes on the processors of this machine; :class:`device.Device` is the one of a CUDA device."""

    chunk = 1 << 40  #: the most elements of a chunk: no limit here
    block = BLOCK

    @staticmethod
    def run(
        program: Program, stage: int, dtypes: tuple[str, ...], outputs: tuple[str, ...], compute: str, table: Any,
        pointers: Any, row_of: Any, rows: Any, partials: Any, *, work: int, threads: int, whole: bool = False,
    ) -> None:  # fmt: skip
        from optcore.backends.fused.running.compiled import kernel

        found = kernel(program, stage, dtypes, outputs, compute, whole)
        addresses = (pointers.ctypes.data, row_of.ctypes.data, rows.ctypes.data)
        target = 0 if partials is None else partials.ctypes.data
        pool.run(found, work, table, *addresses, target, threads=threads)


@dataclass
class Batch:
    """Leaves that run by one program in the same dtypes.

    ``pointers`` maps the name of an array (p, g or a field) to its addresses, one for each leaf; ``targets`` does so
    for the arrays that are written. ``constants`` has a row of numbers for each set of hyper-parameters and t, and
    ``row`` holds each leaf's row in it. ``runner`` runs the passes on the processors or the device of the leaves.
    """

    program: Program
    compute: str
    dtypes: Mapping[str, str]
    pointers: Mapping[str, Any]
    targets: Mapping[str, Any]
    lengths: tuple[int, ...]
    constants: Any
    row: Any
    shared: Mapping[str, Any]
    own: Mapping[str, Any]
    threads: int
    chunk: int = CHUNK
    runner: Any = Processors
    chance: Any = None  #: the two keys of stochastic rounding for each leaf; None rounds to nearest

    def run(self) -> Generator[Any, Any, Mapping[int, Any]]:
        """Run all passes; yield the requests of each round of totals, and return the values of the scalar nodes."""
        program, compute = self.program, np.dtype(self.compute)
        constants = self.constants
        if program.leafwise:  # scalars differ between leaves, so each leaf has a row of its own
            constants, row = constants[self.row], np.arange(len(self.row))
        else:
            row = self.row
        self.row_of = np.ascontiguousarray(row, np.int64)
        env = yield from program.scalars(constants, self.shared, self.own, compute, self._read)
        last = len(program.passes) - 1
        if not self._idle(program.passes[last], env):
            self._pass(last, env, chunks(self.lengths, min(self.chunk, self.runner.chunk))[0], None)
        return env

    def _idle(self, one: Pass, env: Mapping[int, Any]) -> bool:
        """Tell whether a pass would change nothing, since it multiplies arrays in place by numbers that are all 1."""
        if self.targets is not self.pointers or not one.write:
            return False
        nodes = self.program.nodes
        for name, x in one.write:
            op, args, _ = nodes[x]
            kept = [i for i in args if nodes[i][0] == "input" and nodes[i][2] == name]
            if (
                op != "mul"
                or len(kept) != 1
                or not all(i in env and np.all(env[i] == 1) for i in args if i not in kept)
            ):
                return False
        return True

    def _read(self, one: Pass, env: dict[int, Any]) -> list[Any]:
        """Run one reading pass, and return for each of its sums a float64 vector with one entry for each leaf.

        The three scaled sums of an array's squares (optcore.norms) are first taken as one plain sum in float64, whose
        range the squares of float32 numbers cannot leave. Only if the squares of a float64 leaf may have left it, the
        pass is run again with the three sums.
        """
        if not one.squares or self.runner is not Processors:
            return self._sums(one, env, False)
        found = self._sums(one, env, True)
        middles = [k for k, part, _ in one.squares if part == 1]
        if self.compute == "float64":
            length = np.array(self.lengths)
            if any(np.any(~((found[k] >= LEAST) & (found[k] <= MOST)) & (length > 0)) for k in middles):
                return self._sums(one, env, False)
            return found
        for k in middles:
            at = next(x for place, _, x in one.squares if place == k)
            parts = parted(np, found[k])
            for place, part, x in one.squares:
                if x == at:
                    found[place] = parts[part]
        return found

    def _sums(self, one: Pass, env: dict[int, Any], whole: bool) -> list[Any]:
        table, first = chunks(self.lengths, self.runner.block)
        partials = np.empty((len(table), len(one.reduce)))
        self._pass(self.program.passes.index(one), env, table, partials, whole)
        found = []
        for k, (_, op, _) in enumerate(one.reduce):
            total = np.full(len(self.lengths), 0.0 if op == "sum" else -np.inf)
            if len(first):
                total[first[:, 0]] = REDUCTIONS[op].reduceat(partials[:, k], first[:, 1])
            found.append(total)
        return found

    def _pass(self, stage: int, env: Mapping[int, Any], table: Any, partials: Any, whole: bool = False) -> None:
        one = self.program.passes[stage]
        if not len(table) or not (one.reduce or one.write):
            return
        inputs = tuple(self.dtypes[name] for name in one.inputs)
        outputs = tuple(self.dtypes[name] for name, _ in one.write)
        columns = [self.pointers[name] for name in one.inputs] + [self.targets[name] for name, _ in one.write]
        if self.chance is not None and one.write:
            outputs = tuple(f"{d}:stochastic" if n == "p" else d for d, (n, _) in zip(outputs, one.write, strict=True))
            columns += list(self.chance.T)
        pointers = np.column_stack(columns) if columns else np.empty((len(self.lengths), 0), np.uint64)
        pointers = np.ascontiguousarray(pointers, np.uint64)
        rows = np.empty((len(env[one.row[0]]) if one.row else 1, max(len(one.row), 1)), np.dtype(self.compute))
        for k, i in enumerate(one.row):
            rows[:, k] = env[i]
        self.runner.run(
            self.program, stage, inputs, outputs, self.compute, table, pointers, self.row_of, rows, partials,
            work=sum(self.lengths), threads=self.threads, **({"whole": True} if whole else {}),
        )  # fmt: skip


class _Totals(Handler):
    """A handler that combines totals over the leaves of all batches, in float64."""

    def total(self, parts: Sequence[Total]) -> Sequence[Any]:
        values = np.concatenate([np.asarray(part.value, dtype=np.float64) for part in parts])
        return [np.max(values) if parts[0].how == "max" else np.sum(values)] * len(parts)


def together(batches: Sequence[Batch]) -> list[Mapping[int, Any]]:
    """Run batches side by side, with totals over the leaves of all of them."""
    return interpret([batch.run() for batch in batches], _Totals())
