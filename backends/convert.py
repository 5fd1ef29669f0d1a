"""Arrays as a law sees them, real and in the dtype of computation, and as they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optcore.backends.base import COMPUTE, Backend
from optcore.rule import Rule

__all__ = ["into", "inward", "outward"]


def into(rule: Rule, backend: Backend, x: Any, dtype: str) -> Any:
    """An array as its law sees it: real, in the dtype of computation."""
    if not dtype.startswith("complex"):
        return backend.cast(x, COMPUTE[dtype])
    if rule.axes:
        raise TypeError(f"{rule.name}: a parameter is complex; rules of rows, columns and matrices take real ones")
    return backend.pair(x)


def outward(backend: Backend, arrays: Sequence[Any], p: Any, dtype: str) -> list[Any]:
    """State as it is kept: complex where the parameter is and the array has a number for each of its parts."""
    if not dtype.startswith("complex"):
        return list(arrays)
    pair = (*p.shape, 2)
    return [x if x is None or tuple(x.shape) != pair else backend.unpair(x, dtype) for x in arrays]


def inward(backend: Backend, x: Any, dtype: str) -> Any:
    """An array of a state as its law sees it."""
    if x is None:
        return None
    return backend.pair(x) if backend.dtype(x).startswith("complex") else backend.cast(x, COMPUTE[dtype])
