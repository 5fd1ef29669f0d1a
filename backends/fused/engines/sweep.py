"""Laws of gradients alone: a reading pass for each round of totals, and one that writes.

There is no parameter, no state and no template here; what a leaf is known by is one array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeAlias

import numpy as np

from optcore.backends.base import COMPUTE, Backend
from optcore.backends.fused.printers.emitter import SIZES
from optcore.backends.fused.running.memory import disjoint
from optcore.backends.fused.running.table import Batch, Processors, together
from optcore.backends.fused.trace.graph import Trace, Unfusable, of_gradient
from optcore.backends.fused.trace.program import Program, program

__all__ = ["sweep"]

bytes_of, dtype_of = attrgetter("nbytes"), attrgetter("dtype")


def sweep(
    law: Callable[..., Any], backend: Backend, leaves: Sequence[Any], given: Sequence[float], donate: bool
) -> tuple[Sequence[Any] | None, Any] | None:
    """The new leaves and the number that a law makes of them, each None where it makes none.

    None where a leaf or the law cannot be run by a loop over memory. A leaf with gaps is run in a copy.
    With ``donate`` the leaves are written to, where no two of them share memory.
    """
    kinds = list(map(dtype_of, leaves))
    named = {kind: backend.dtype(leaves[kinds.index(kind)]) for kind in dict.fromkeys(kinds)}
    if any(name not in SIZES for name in named.values()):
        return None
    placed = _places(backend, leaves)
    if placed is None:
        return None
    arrays, addresses, orders, writable = placed
    sizes = {kind: SIZES[name] for kind, name in named.items()}
    bytes_ = np.array(list(map(bytes_of, arrays)), np.int64)
    lengths = bytes_ // np.array(list(map(sizes.__getitem__, kinds)), np.int64)
    pointers = np.array(addresses, np.uint64)
    if not lengths.any() or np.any((pointers == 0) & (lengths > 0)):
        return None  # nothing but empty leaves, or a tensor of zeros that has no memory
    try:
        found, traces = _traced(law, leaves, len(given))
    except Unfusable:
        return None
    new, number = traces[0][0].state
    made: Sequence[Any] | None = None
    targets = pointers
    if new is not None:
        free = donate and disjoint([(pointers, bytes_)], [])
        made = _targets(backend, leaves, arrays, writable, free)
        if made is not arrays:
            again = [backend.address(x) for x in made]
            if any(place is None or place[1] != order for place, order in zip(again, orders, strict=True)):
                return None
            targets = np.array([place[0] for place in again if place], np.uint64)
    batches = _batches(traces, found, list(map(named.__getitem__, kinds)), pointers, targets, lengths, given,
                       backend.threads())  # fmt: skip
    with np.errstate(all="ignore"):
        scalars = together(batches)
    if made is not None:
        backend.written([x for x, old in zip(made, leaves, strict=True) if x is old])
    if number is None:
        return made, None
    widest = max(range(len(batches)), key=lambda k: batches[k].compute == "float64")
    each: Any = batches[widest].program.state[1]
    return made, backend.array(scalars[widest][each][0], batches[widest].compute)


Places: TypeAlias = tuple[Sequence[Any], list[int], Sequence[Any], Sequence[bool]]
"""Arrays, where they lie, the order of their elements, and whether they may be written."""


def _places(backend: Backend, leaves: Sequence[Any]) -> Places | None:
    """The leaves, or copies without gaps of what has any; None where one of them is no plain array in memory."""
    addresses = backend.addresses(leaves)
    if addresses is not None:
        return leaves, addresses, ["C"] * len(leaves), [True] * len(leaves)
    arrays, places = list(leaves), []
    for i, x in enumerate(leaves):
        place = backend.address(x)
        if place is None and backend.shards(x) is not None:
            return None  # most of it lies in other processes
        if place is None:
            arrays[i] = _whole(backend, x)
            place = backend.address(arrays[i]) if type(arrays[i]) is type(x) else None  # or has arithmetic of its own
        if place is None or hasattr(place[1], "runner"):
            return None
        places.append(place)
    addresses, orders, writable = map(list, zip(*places, strict=True))
    return arrays, addresses, orders, writable


def _whole(backend: Backend, x: Any) -> Any:
    """A copy without gaps, row by row where it would keep an order that no pass knows."""
    x, reshape = backend.copy(x), backend.xp.reshape
    return x if backend.address(x) is not None else reshape(reshape(x, (-1,)), tuple(x.shape))


def _targets(
    backend: Backend, leaves: Sequence[Any], arrays: Sequence[Any], writable: Sequence[bool], free: bool
) -> Sequence[Any]:
    """The arrays that a pass writes to: the leaves given where they are free, and copies, which are our own."""
    if free and all(writable):
        return arrays
    return [
        x if x is not old or (free and may) else backend.empty_like(x)
        for x, old, may in zip(arrays, leaves, writable, strict=True)
    ]


Traced: TypeAlias = tuple[Trace, Program]


def _program(law: Callable[..., Any], shape: tuple[int, ...], given: int) -> Traced:
    trace = of_gradient(law, shape, given)
    found = program(trace, [("g", trace.state[0] is not None), ("number", False)])
    if any("p" in one.inputs for one in found.passes):
        raise Unfusable("a law that reads the parameter")
    return trace, found


@lru_cache(maxsize=64)
def _of_any_shape(law: Callable[..., Any], given: int) -> Traced | None:
    """The trace of a law that looks at no shape, None for one that does."""
    found = _program(law, (1,), given)
    return None if found[0].graph.shaped or found[0].graph.ranked else found


def _traced(law: Callable[..., Any], leaves: Sequence[Any], given: int) -> tuple[list[int], list[Traced]]:
    """For each leaf the number of its trace: one for all, unless the law looks at shapes."""
    one = _of_any_shape(law, given)
    if one is not None:
        return [0] * len(leaves), [one]
    shapes = [tuple(x.shape) for x in leaves]
    numbers = {shape: k for k, shape in enumerate(dict.fromkeys(shapes))}
    return [numbers[shape] for shape in shapes], [_program(law, shape, given) for shape in numbers]


def _batches(
    traces: Sequence[Traced], found: Sequence[int], dtypes: Sequence[str], pointers: Any, targets: Any, lengths: Any,
    given: Sequence[float], threads: int,
) -> list[Batch]:  # fmt: skip
    """The work, ready to run: a batch for each program and dtype."""
    pairs = list(zip(found, dtypes, strict=True))
    names = dict.fromkeys((id(traces[k][1]), dtype) for k, dtype in dict.fromkeys(pairs))
    shared = {f"given{n}": x for n, x in enumerate(given)}
    batches = []
    for key in names:
        at: Any = slice(None)
        if len(names) > 1:
            at = [i for i, (k, dtype) in enumerate(pairs) if (id(traces[k][1]), dtype) == key]
        own = list(dict.fromkeys(found[i] for i in at) if len(names) > 1 else dict.fromkeys(found))
        row = np.zeros(len(traces), np.int64)
        row[own] = np.arange(len(own))
        constants = np.array([traces[k][0].graph.constants for k in own], np.float64).reshape(len(own), -1)
        dtype, places = key[1], {"g": pointers[at]}
        goals = places if targets is pointers else {"g": targets[at]}
        batches.append(
            Batch(traces[own[0]][1], COMPUTE[dtype], {"g": dtype}, places, goals, tuple(lengths[at].tolist()),
                  constants, row[found][at], shared, {}, threads, runner=Processors)
        )  # fmt: skip
    return batches
