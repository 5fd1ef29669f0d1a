"""Checks of parameters, gradients and rules against each other, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optcore.backends.base import COMPUTE, Backend
from optcore.backends.choice import of
from optcore.backends.given import check_array
from optcore.backends.shards import check_gradient, refuse_piece
from optcore.hyper import REQUIRED
from optcore.rule import Rule

__all__ = ["check", "fits", "written"]


def check(who: str, params: Sequence[Any], grads: Sequence[Any], paths: Sequence[str]) -> Backend:
    """Check parameters against gradients before anything is written, and return their common backend.

    Raises TypeError for integer parameters, mismatched dtypes and arrays of two libraries, and ValueError
    for mismatched shapes; each message names the leaf by its path.
    """
    first: Backend | None = None
    for p, g, path in zip(params, grads, paths, strict=True):
        backend = of(p)
        first = first or backend
        for x, what in ((p, "parameter"), (g, "gradient")):
            if x is not None and of(x) is not first:
                raise TypeError(
                    f"{who}: the {what} {path!r} is an array of {of(x).package}, others are of {first.package}; "
                    "give arrays of one library"
                )
            if x is not None:
                check_array(who, f"the {what} {path!r}", first, x)
        kind = backend.dtype(p)
        if kind not in COMPUTE:
            raise TypeError(f"{who}: parameter {path!r} is of dtype {kind}; only floating-point arrays can be trained")
        if g is not None:
            check_gradient(who, backend, p, g, path)
        if g is not None and backend.dtype(g) != kind:
            raise TypeError(
                f"{who}: the gradient of {path!r} is of dtype {backend.dtype(g)}, the parameter of {kind}; "
                "cast one to the other's"
            )
        if g is not None and tuple(g.shape) != tuple(p.shape):
            raise ValueError(
                f"{who}: the gradient of {path!r} has shape {tuple(g.shape)}, the parameter {tuple(p.shape)}; "
                "they must be equal"
            )
    if first is None:
        raise ValueError(f"{who}: there is no parameter; give at least one array")
    return first


def fits(rule: Rule, backend: Backend, p: Any, path: str) -> None:
    """Raise if the rule does not take this leaf.

    It is a ValueError for a piece of a leaf and for a wrong number of axes, a TypeError for a DTensor placed as
    ``Partial``, whose sum is not taken yet. A rule with shared fields computes totals over all leaves, so it cannot
    share a tree with a second rule: the message then advises an optimizer for the other leaves.
    """
    backend.shards(p)
    cut = backend.piece(p)
    if cut:
        refuse_piece(rule, cut, path)
    if rule.ndim is not None and p.ndim != rule.ndim:
        other = f"another rule, as in optcore.matrices({written(rule)}, optcore.adam)"
        if any(f.shared for f in rule.fields):
            other = "an optimizer of their own"
        raise ValueError(
            f"{rule.name}: the parameter {path!r} has shape {tuple(p.shape)}; the rule takes arrays of {rule.ndim} "
            f"axes. Give other leaves to {other}"
        )


def written(rule: Rule) -> str:
    """Return the call that makes a rule, such as ``optcore.lora(optcore.sgd, optcore.adam)``.

    It holds the hyper-parameters that have no default and no others.
    """
    parts = [written(part) for part in getattr(rule, "parts", ())]
    own = getattr(rule, "law", None) or getattr(getattr(rule, "combinator", None), "law", None)
    ours = own is None or own.fn.__module__.partition(".")[0] == "optcore"
    bound = getattr(rule, "bound", {})
    parts += [f"{k}={v!r}" for k, v in bound.items() if rule.hypers[k].default is REQUIRED]
    return f"{'optcore.' if ours else ''}{rule.name}" + (f"({', '.join(parts)})" if parts else "")
