"""Laws on a tree of gradients without an optimizer: as fused passes over memory where possible, else leaf by leaf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optcore.backends import fused
from optcore.backends.answers import solve
from optcore.backends.base import COMPUTE, Backend
from optcore.backends.checks import check
from optcore.backends.choice import of
from optcore.backends.convert import into
from optcore.backends.shards import over_all
from optcore.backends.trees import flatten, flatten_like, unnamed
from optcore.requests import Law
from optcore.rule import Rule
from optcore.scalars import is_host

__all__ = ["Work", "run"]


@dataclass(frozen=True)
class Work:
    """A computation on each gradient of a tree.

    ``who`` is the name that error messages begin with. ``on(backend)`` returns a law ``(xp, p, g, *given)``, which
    returns the new gradient and a number for the whole tree, each None if the law does not compute it. ``given`` holds
    numbers or 0-d arrays, which the law receives in the dtype of its leaf. The law receives a complex gradient as a
    pair of real arrays or, with ``seen="modulus"``, as its modulus. ``rule`` is the rule that the law comes from, if
    there is one: it decides whether complex leaves are refused.
    """

    who: str
    on: Callable[[Backend], Callable[..., Law]]
    given: tuple[Any, ...] = ()
    seen: Literal["pair", "modulus"] = "pair"
    rule: Rule | None = None


def run(work: Work, grads: Any, params: Any = None, *, donate: bool = False) -> tuple[Any, Any]:
    """Return the tree of new gradients and the number of the whole tree, each None if the law does not compute it.

    A leaf of None stays None. With ``donate`` the gradients may be written to; the new tree holds the arrays that were.
    Raises what :func:`optcore.backends.checks.check` raises, before anything is computed.
    """
    paths: list[str] = []
    quick = unnamed(grads) if params is None else None
    leaves, rebuild = quick or (None, None)
    if leaves is None or rebuild is None:
        leaves, paths, rebuild = flatten(grads)
    beside = leaves if params is None else flatten_like(work.who, params, paths)
    at: Sequence[int] = range(len(leaves))
    mine, others = leaves, beside
    if any(g is None for g in leaves):
        at = [i for i in at if leaves[i] is not None]
        mine, others = [leaves[i] for i in at], [beside[i] for i in at]
    if not mine:
        return grads, None
    if quick is None:
        check(work.who, others, mine, [paths[i] for i in at])
    found = _fused(work, mine, donate)
    if found is None:
        if quick is not None:
            paths = flatten(grads)[1]
            check(work.who, others, mine, [paths[i] for i in at])
        found = _eager(work, mine, others)
    made, number = found
    if made is None:
        return None, number
    if mine is leaves:
        return rebuild(made), number
    out: list[Any] = [None] * len(leaves)
    for i, x in zip(at, made, strict=True):
        out[i] = x
    return rebuild(out), number


def _fused(work: Work, leaves: Sequence[Any], donate: bool) -> tuple[Sequence[Any] | None, Any] | None:
    """Do the work by fused passes over memory, and return its results; None if these leaves do not allow it."""
    backend = of(leaves[0])
    if not fused.usable() or backend.traces or (work.rule is not None and work.rule.axes):
        return None
    arrays = [x for x in work.given if not is_host(x)]
    if not backend.unwatched([*leaves, *arrays]) or any(backend.address(x) is None or x.shape for x in arrays):
        return None
    from optcore.backends.fused.engines.sweep import sweep

    given = [float(x if is_host(x) else backend.numpy(x)) for x in work.given]
    return sweep(work.on(backend), backend, leaves, given, donate)


def _eager(work: Work, leaves: Sequence[Any], params: Sequence[Any]) -> tuple[list[Any] | None, Any]:
    """Do the work operation by operation in the library's own namespace, for all leaves side by side.

    Each leaf is computed in the dtype of computation that belongs to its own.
    """
    backend = of(leaves[0])
    law, laws, dtypes = work.on(backend), [], []
    by_parts = work.rule is None or work.rule.kind == "elementwise"
    spread = [backend.shards(g) for g in leaves]
    for g, p, shards in zip(leaves, params, spread, strict=True):
        dtype = backend.dtype(g)
        here = (x if shards is None else shards.given(x, by_parts) for x in (g, p))
        g, p = (_seen(work, backend, x, dtype) for x in here)
        zero = [backend.xp.sum(backend.xp.zeros_like(g))] if work.given else []
        given = [zero[0] + x if is_host(x) else backend.scalar(x, g) for x in work.given]
        running = law(backend.xp, p, g, *given)
        laws.append(over_all(running, shards) if shards is not None and by_parts else running)
        dtypes.append(dtype)
    found = solve(laws, backend)
    widest = next((i for i, dtype in enumerate(dtypes) if COMPUTE[dtype] == "float64"), 0)
    number = found[widest][1]
    if found[0][0] is None:
        return None, number
    made = [
        backend.unpair(x, dtype) if dtype.startswith("complex") else backend.cast(x, dtype)
        for (x, _), dtype in zip(found, dtypes, strict=True)
    ]
    pairs = zip(made, spread, strict=True)
    return [x if shards is None else shards.kept(x, by_parts) for x, shards in pairs], number


def _seen(work: Work, backend: Backend, x: Any, dtype: str) -> Any:
    """Return a leaf as the law of this work receives it: real, and in the dtype of computation."""
    if work.rule is not None:
        return into(work.rule, backend, x, dtype)
    if dtype.startswith("complex"):
        if work.seen == "pair":
            return backend.pair(x)
        x = backend.xp.abs(x)
    return backend.cast(x, COMPUTE[dtype])
