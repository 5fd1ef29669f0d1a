"""Conversion between arrays as they are stored and as a law sees them: real, and in the dtype of computation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optcore.backends.base import COMPUTE, Backend
from optcore.rule import Rule

__all__ = ["into", "inward", "outward"]


def into(rule: Rule, backend: Backend, x: Any, dtype: str) -> Any:
    """Return a parameter or gradient as its law sees it: real, in the dtype of computation.

    A complex array becomes a pair of real ones; raise TypeError for a rule of rows, columns or matrices.
    """
    if not dtype.startswith("complex"):
        return backend.cast(x, COMPUTE[dtype])
    if rule.axes:
        raise TypeError(f"{rule.name}: a parameter is complex; rules of rows, columns and matrices take real ones")
    return backend.pair(x)


def outward(backend: Backend, arrays: Sequence[Any], p: Any, dtype: str) -> list[Any]:
    """Return the state's arrays as they are stored: complex again if the parameter is complex.

    That concerns arrays with the parameter's shape and a last axis of length 2; other arrays stay as they are.
    """
    if not dtype.startswith("complex"):
        return list(arrays)
    pair = (*p.shape, 2)
    return [x if x is None or tuple(x.shape) != pair else backend.unpair(x, dtype) for x in arrays]


def inward(backend: Backend, x: Any, dtype: str) -> Any:
    """Return an array of a stored state as its law sees it: real, in the dtype of computation; None stays None."""
    if x is None:
        return None
    return backend.pair(x) if backend.dtype(x).startswith("complex") else backend.cast(x, COMPUTE[dtype])
