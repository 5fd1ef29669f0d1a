"""Laws of gradients alone: a reading pass for each round of totals, and one that writes.

There is no parameter, no state and no template here; what a leaf is known by is one array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from optcore.backends.base import COMPUTE, Backend
from optcore.backends.fused.emitter import SIZES
from optcore.backends.fused.graph import Trace, Unfusable, of_gradient
from optcore.backends.fused.memory import disjoint
from optcore.backends.fused.program import Program, program
from optcore.backends.fused.table import Batch, Processors, together

__all__ = ["sweep"]

bytes_of, dtype_of = attrgetter("nbytes"), attrgetter("dtype")


def sweep(
    law: Callable[..., Any], backend: Backend, leaves: Sequence[Any], given: Sequence[float], donate: bool
) -> tuple[list[Any] | None, Any] | None:
    """The new leaves and the number that a law makes of them, each None where it makes none.

    None where a leaf or the law cannot be run by a loop over memory. A leaf with gaps is run in a copy.
    With ``donate`` the leaves are written to, where no two of them share memory.
    """
    kinds = list(map(dtype_of, leaves))
    first = {kind: x for x, kind in zip(reversed(leaves), reversed(kinds), strict=True)}
    named = {kind: backend.dtype(x) for kind, x in first.items()}
    if any(name not in SIZES for name in named.values()):
        return None
    arrays, places = list(leaves), backend.addresses(leaves)
    if any(place is None for place in places):
        for i, place in enumerate(places):
            if place is None:
                arrays[i] = backend.copy(leaves[i])
                if type(arrays[i]) is not type(leaves[i]):
                    return None  # it may have arithmetic of its own
                places[i] = backend.address(arrays[i])
    if any(place is None or hasattr(place[1], "runner") for place in places):
        return None
    bytes_ = np.array(list(map(bytes_of, arrays)), np.int64)
    lengths = bytes_ // np.array([SIZES[named[kind]] for kind in kinds], np.int64)
    pointers = np.array([place[0] for place in places], np.uint64)  # type: ignore[index]
    if not lengths.any() or np.any((pointers == 0) & (lengths > 0)):
        return None  # nothing but empty leaves, or a tensor of zeros that has no memory
    try:
        found, traces = _traced(law, leaves, len(given))
    except Unfusable:
        return None
    programs = [program(each, [("g", each.state[0] is not None), ("number", False)]) for each in traces]
    if any("p" in one.inputs for each in programs for one in each.passes):
        return None
    made, targets = None, pointers
    if traces[0].state[0] is not None:
        made = _written(backend, leaves, arrays, places, donate and disjoint([(pointers, bytes_)], []))
        if made is not arrays:
            at = backend.addresses(made)
            if any(new is None or new[1] != old[1] for new, old in zip(at, places, strict=True)):  # type: ignore[index]
                return None
            targets = np.array([place[0] for place in at], np.uint64)  # type: ignore[index]
    batches = _batches(programs, traces, found, [named[k] for k in kinds], (pointers, targets, lengths), given, backend)
    with np.errstate(all="ignore"):
        scalars = together(batches)
    if made is not None:
        backend.written([x for x, old in zip(made, leaves, strict=True) if x is old])
    node = traces[0].state[1]
    if node is None:
        return made, None
    widest = max(range(len(batches)), key=lambda k: batches[k].compute == "float64")
    each = batches[widest].program.state[1]
    return made, backend.array(scalars[widest][each][0], batches[widest].compute)  # type: ignore[index]


def _traced(law: Callable[..., Any], leaves: Sequence[Any], given: int) -> tuple[list[int], list[Trace]]:
    """For each leaf the number of its trace: one for all, unless the law looks at shapes."""
    traces: list[Trace] = [of_gradient(law, tuple(leaves[0].shape), given)]
    if not (traces[0].graph.shaped or traces[0].graph.ranked):
        return [0] * len(leaves), traces
    seen = {tuple(leaves[0].shape): 0}
    found = []
    for x in leaves:
        shape = tuple(x.shape)
        if shape not in seen:
            seen[shape] = len(traces)
            traces.append(of_gradient(law, shape, given))
        found.append(seen[shape])
    return found, traces


def _written(
    backend: Backend, leaves: Sequence[Any], arrays: list[Any], places: Sequence[Any], donated: bool
) -> list[Any]:
    """The arrays that a pass writes to: the leaves given where it may, and copies that are our own already."""
    if donated and all(place[2] for place in places):
        return arrays
    return [
        x if x is not old or (donated and place[2]) else backend.empty_like(x)
        for x, old, place in zip(arrays, leaves, places, strict=True)
    ]


def _batches(
    programs: Sequence[Program], traces: Sequence[Trace], found: Sequence[int], dtypes: Sequence[str],
    table: tuple[Any, Any, Any], given: Sequence[float], backend: Backend,
) -> list[Batch]:  # fmt: skip
    """The work, ready to run: a batch for each program and dtype."""
    groups: dict[Any, list[int]] = {}
    for i, (k, dtype) in enumerate(zip(found, dtypes, strict=True)):
        groups.setdefault((id(programs[k]), dtype), []).append(i)
    batches = []
    for (_, dtype), members in groups.items():
        own = sorted({found[i] for i in members})
        row = {k: n for n, k in enumerate(own)}
        constants = np.array([traces[k].graph.constants for k in own], np.float64).reshape(len(own), -1)
        pointers, targets, lengths = (column[members] for column in table)
        shared = {f"given{n}": x for n, x in enumerate(given)}
        batches.append(
            Batch(programs[own[0]], COMPUTE[dtype], {"g": dtype}, {"g": pointers}, {"g": targets},
                  tuple(lengths.tolist()), constants, np.array([row[found[i]] for i in members], np.int64), shared, {},
                  backend.threads(), runner=Processors)
        )  # fmt: skip
    return batches
