"""The threads that share a pass; each draws the next chunk from one counter until none is left."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

__all__ = ["available", "run"]

ALONE = 1 << 17  # bytes-and-arithmetic of this many elements cost less than waking a thread

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0


def available() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _forget() -> None:
    """A forked child has none of its parent's threads, and maybe a lock that one of them held."""
    global _pool, _size, _lock
    _pool, _size, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _helpers(n: int) -> ThreadPoolExecutor:
    global _pool, _size
    with _lock:
        if _pool is None or _size < n:
            _pool, _size = ThreadPoolExecutor(n, thread_name_prefix="optcore"), n  # the old one ends when idle
        return _pool


def run(function: Any, work: int, chunks: Any, *addresses: int, threads: int) -> None:
    """Call ``function(counter, n, chunks, ...)`` on several threads at once, this one among them.

    ``work`` is the number of elements. Whatever the number of threads, each chunk is done once and by the same
    instructions.
    """
    n = len(chunks)
    counter = np.zeros(1, np.int64)
    given = (counter.ctypes.data, n, chunks.ctypes.data, *addresses)
    waiting: list[Future[Any]] = []
    extra = min(threads, n) - 1
    if extra > 0 and work >= ALONE:
        try:
            helpers = _helpers(extra)
            waiting = [helpers.submit(function, *given) for _ in range(extra)]
        except RuntimeError:  # the interpreter is shutting down: this thread does the rest alone
            pass
    try:
        function(*given)
    finally:  # the arrays must outlive every thread that reads them
        for each in waiting:
            each.result()
