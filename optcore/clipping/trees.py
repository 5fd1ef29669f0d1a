"""Clipping laws on a tree of gradients, where there is no optimizer for them to be a link of."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any

from optcore.norms import global_norm, global_peak, global_power, shrink
from optcore.rule import Law, Rule
from optcore.scalars import is_host
from optcore.typing import Scalar

__all__ = ["clipped", "held", "total_norm"]


def clipped(law: Rule, grads: Any, params: Any = None) -> Any:
    """What a law makes of a tree of gradients; nothing given is written to.

    ``params`` is for laws that compare the gradient with its parameter, such as adaptive_gradient_clip. A leaf of None
    stays None. Raises ValueError for such a law without them, and for a law that remembers what it has seen: it needs
    :class:`optcore.backends.Optimizer`, which keeps a state. Leaves are checked as an optimizer checks them.

    >>> clipped(optcore.clip_by_global_norm(max_norm=1.0), grads)
    """
    if law.fields:
        raise ValueError(f"clipped: {law.name} keeps {law.fields[0].name}; give it to a Recipe, whose optimizer does")
    from optcore.backends.drive import into, laid_out, numbers, reads_parameter

    values = law.complete()
    if params is None and reads_parameter(law):
        raise ValueError(f"clipped: {law.name} compares the gradients with their parameters; give params, too")

    def run(backend: Any, g: Any, p: Any, dtype: str) -> Law:
        g, p = into(law, backend, g, dtype), into(law, backend, p, dtype)
        at = laid_out(numbers(values, backend, 0), backend.native_layout)
        return law.run(backend.xp, p, g, law.start(backend.xp, p, at), 1, at)

    who, by_parts = f"clipped({law.name})", law.kind == "elementwise"
    return _run(who, run, grads, params, lambda found: found[0], by_parts=by_parts)


def total_norm(grads: Any, order: float = 2.0) -> Any:
    """The norm of a tree of gradients taken as one vector, in the widest precision that a leaf is computed in.

    A complex number counts with its modulus. Raises ValueError for an order that is not above 0, which makes no norm.
    """
    if not order > 0:
        raise ValueError(
            f"total_norm: order={order!r} is out of range; give a number above 0, math.inf for the largest"
        )
    found: list[Any] = []

    def run(backend: Any, g: Any, _: Any, dtype: str) -> Generator[Any, Any, Any]:
        xp = backend.xp
        g = _real(backend, xp.abs(g) if dtype.startswith("complex") else g)
        if order == 2:
            n = yield from global_norm(xp, g)
        elif order == math.inf:
            n = yield from global_peak(xp, g)
        else:
            n = yield from global_power(xp, g, order)
        found.append((backend.dtype(n), n))
        return None

    _run("total_norm", run, grads, None, lambda _: None, by_parts=True)
    return max(found, key=lambda pair: pair[0] == "float64")[1] if found else None


def held(grads: Any, norm: Any, max_norm: Scalar, epsilon: Scalar = 0.0) -> Any:
    """The gradients times ``min(1, max_norm / (norm + epsilon))``, for a norm that is known."""

    def run(backend: Any, g: Any, _: Any, dtype: str) -> Generator[Any, Any, Any]:
        yield from ()
        g = backend.pair(g) if dtype.startswith("complex") else _real(backend, g)
        zero = backend.xp.sum(backend.xp.zeros_like(g))
        n = zero + norm if is_host(norm) else backend.scalar(norm, g)
        return g * shrink(backend.xp, n, max_norm, epsilon)

    return _run("held", run, grads, None, lambda found: found, by_parts=True)


def _real(backend: Any, x: Any) -> Any:
    """A leaf in the precision it is computed in."""
    from optcore.backends.base import COMPUTE

    return backend.cast(x, COMPUTE[backend.dtype(x)])


def _run(
    who: str,
    law: Callable[[Any, Any, Any, str], Generator[Any, Any, Any]],
    grads: Any,
    params: Any,
    result: Callable[[Any], Any],
    *,
    by_parts: bool,
) -> Any:
    """Run a law on all leaves in lock-step, each in the precision its dtype is computed in.

    With ``by_parts`` it may be run on parts of a leaf, with its totals taken over all of them.
    """
    from optcore.backends.drive import check, solve
    from optcore.backends.shards import over_all
    from optcore.backends.trees import flatten, flatten_like

    leaves, paths, rebuild = flatten(grads)
    beside = leaves if params is None else flatten_like(who, params, paths)
    at = [i for i, g in enumerate(leaves) if g is not None]
    if not at:
        return grads
    backend = check(who, [beside[i] for i in at], [leaves[i] for i in at], [paths[i] for i in at])
    shards = {i: backend.shards(leaves[i]) for i in at}

    def one(i: int) -> Law:
        g, p, spread, dtype = leaves[i], beside[i], shards[i], backend.dtype(leaves[i])
        if spread is None:
            return law(backend, g, p, dtype)
        running = law(backend, spread.given(g, by_parts), spread.given(p, by_parts), dtype)
        return over_all(running, spread) if by_parts else running

    laws = [one(i) for i in at]
    out: list[Any] = [None] * len(leaves)
    for i, found in zip(at, solve(laws, backend), strict=True):
        x, dtype = result(found), backend.dtype(leaves[i])
        if x is not None:
            x = backend.unpair(x, dtype) if dtype.startswith("complex") else backend.cast(x, dtype)
            spread = shards[i]
            out[i] = x if spread is None else spread.kept(x, by_parts)
    return rebuild(out)
