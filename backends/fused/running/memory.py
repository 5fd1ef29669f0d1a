"""Which arrays may be written while others are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["disjoint"]


def disjoint(written: Sequence[tuple[Any, Any]], read: Sequence[tuple[Any, Any]]) -> bool:
    """Whether nothing that is written overlaps anything else; each pair holds addresses and lengths in bytes."""
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
        before = np.searchsorted(starts, last, side="left") - 1  # the last written one that begins before the end
        if np.any((before >= 0) & (stops[np.maximum(before, 0)] > first)):
            return False
    return True
