"""The check that arrays which are written in place share no memory with other arrays of the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["disjoint"]


def disjoint(written: Sequence[tuple[Any, Any]], read: Sequence[tuple[Any, Any]]) -> bool:
    """Tell whether no written array overlaps another array, written or read.

    Each pair holds two NumPy arrays of equal length: the addresses of some arrays, and their sizes in bytes.
    """
    starts = np.concatenate([a.astype(np.int64) for a, _ in written])
    stops = starts + np.concatenate([n for _, n in written])
    kept = stops > starts
    order = np.argsort(starts[kept], kind="stable")
    starts, stops = starts[kept][order], stops[kept][order]
    if not len(starts):
        return True
    if np.any(stops[:-1] > starts[1:]):
        return False
    for addresses, lengths in read:
        first = addresses.astype(np.int64)
        first, last = first[lengths > 0], (first + lengths)[lengths > 0]
        before = np.searchsorted(starts, last, side="left") - 1  # the last written array that begins before this ends
        if np.any((before >= 0) & (stops[np.maximum(before, 0)] > first)):
            return False
    return True
