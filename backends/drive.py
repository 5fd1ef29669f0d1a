"""The driver: starts the state of a leaf, and moves all leaves of a rule by one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from optcore.backends import fused
from optcore.backends.base import COMPUTE, Backend
from optcore.backends.checks import fits
from optcore.backends.convert import into, outward
from optcore.backends.eager import Eager
from optcore.backends.fused import engines
from optcore.backends.given import check_array
from optcore.backends.leaf import Leaf, Moved
from optcore.backends.probe import asks_totals
from optcore.backends.rounding import keys, normal
from optcore.backends.shards import back, here
from optcore.backends.values import numbers
from optcore.rule import Rule

__all__ = ["advance", "start"]


def start(rule: Rule, backend: Backend, p: Any, values: Mapping[str, Any], *, seed: int = 0, path: str = "") -> Any:
    """The state of one leaf before its first step; what is drawn hangs on the seed and the leaf's path."""
    fits(rule, backend, p, path)
    check_array(rule.name, "the parameter", backend, p)
    dtype = backend.dtype(p)
    if dtype not in COMPUTE:
        raise TypeError(f"{rule.name}: the parameter is of dtype {dtype}; only floating-point arrays can be trained")
    shards, by_parts = backend.shards(p), rule.kind == "elementwise"
    mine = p if shards is None else shards.given(p, by_parts)
    seen = into(rule, backend, mine, dtype)
    state = rule.start(backend.xp, seen, numbers(values, backend, 0))
    arrays: list[Any] = []
    for f, x in zip(rule.fields, rule.unpack(state), strict=True):
        if f.drawn and x is not None:
            x = x * normal(backend, x, backend.dtype(x), keys(backend, seed, f"{path}/{f.name}", 0))
        # each its own: one that stood twice could be neither donated nor written in place
        twice = x is not None and (x is seen or any(x is y for y in arrays))
        arrays.append(backend.copy(x) if twice else x)
    arrays = outward(backend, arrays, mine, dtype)
    if shards is not None:
        arrays = [x if f.shared else shards.kept(x, by_parts) for f, x in zip(rule.fields, arrays, strict=True)]
    return rule.pack(arrays)


Done: TypeAlias = list[tuple[Moved, list[Any]]]


def advance(
    rule: Rule,
    backend: Backend,
    leaves: Sequence[Leaf],
    shared: Sequence[Any],
    *,
    fuse: bool = False,
    donate: bool = False,
) -> tuple[Done, list[Any]]:
    """Move every leaf by one step: where each came to with its state's arrays, and the new shared fields.

    With ``fuse`` what can be is run in one pass over memory, which forms no displacement; with ``donate`` that
    pass writes into the parameters and states given. What no engine takes is run operation by operation.
    """
    shards = [backend.shards(leaf.p) for leaf in leaves]
    if any(shards) and rule.kind == "elementwise" and not (asks_totals(rule) or any(leaf.chance for leaf in leaves)):
        parts_here = [here(rule, *pair, True) for pair in zip(leaves, shards, strict=True)]
        done, new = advance(rule, backend, parts_here, shared, fuse=fuse, donate=donate)
        return [back(rule, *each) for each in zip(leaves, parts_here, shards, done, strict=True)], new
    fuse = fuse or backend.fuses
    chosen = engines.chosen(rule, backend, leaves, shared, donate=donate) if fuse else []
    taken = {i for engine in chosen for i in engine.taken}
    rest = Eager(rule, backend, shared, parts=fuse and fused.usable())
    rest.take({i: leaf for i, leaf in enumerate(leaves) if i not in taken})
    every = [rest, *chosen]
    for engine in every:  # whatever raises has written nothing
        engine.compute()
    found: dict[int, tuple[Moved, list[Any]]] = {}
    for engine in every:
        moved, new = engine.run()
        found |= moved
        shared = new if engine.taken and new else shared
    return [found[i] for i in range(len(leaves))], list(shared)
