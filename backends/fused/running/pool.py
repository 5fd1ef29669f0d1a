"""The pool of threads that share a pass: each draws the next chunk from one counter until none is left.

If torch has loaded GNU OpenMP, the threads of OpenMP are used: they wait in a loop for a while after each of torch's
own parallel regions, and a second set of threads would compete with them for the processors.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["available", "run"]

ALONE = 1 << 15
"""The number of elements below which one thread runs a pass alone, since waking another would take longer."""

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_size = 0
_forked = False


def available() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _forget() -> None:
    """Forget pool and lock in a forked child, which has none of its parent's threads and may see their lock held."""
    global _pool, _size, _lock, _forked
    _pool, _size, _lock, _forked = None, 0, threading.Lock(), True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@lru_cache(maxsize=2)
def _openmp(torch_is_there: bool) -> Any:
    """Return the function of GNU OpenMP that starts a team of threads; None if torch has loaded no GNU OpenMP."""
    if not torch_is_there or not os.path.exists("/proc/self/maps"):
        return None
    with open("/proc/self/maps") as maps:
        paths = {line.split(maxsplit=5)[-1].strip() for line in maps if "libgomp" in line}
    if len(paths) != 1:
        return None
    entry = ctypes.CDLL(paths.pop()).GOMP_parallel
    entry.argtypes, entry.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return entry


def _helpers(n: int) -> ThreadPoolExecutor:
    global _pool, _size
    with _lock:
        if _pool is None or _size < n:
            _pool, _size = ThreadPoolExecutor(n, thread_name_prefix="optcore"), n  # idle threads of the old one end
        return _pool


def run(kernel: Any, work: int, chunks: Any, *addresses: int, threads: int) -> None:
    """Run a kernel's chunks on several threads at once, the calling one among them; ``work`` counts their elements.

    Whatever the number of threads, each chunk is run once and by the same instructions, so results do not differ.
    """
    n = len(chunks)
    counter = np.zeros(1, np.int64)
    given = (counter.ctypes.data, n, chunks.ctypes.data, *addresses)
    extra = min(threads, n) - 1
    if extra <= 0 or work < ALONE:
        kernel.run(*given)
        return
    team = None if _forked else _openmp("torch" in sys.modules)  # a forked child must not touch its parent's team
    if team is not None:
        packed = (ctypes.c_uint64 * len(given))(*given)
        team(kernel.team, packed, extra + 1, 0)
        return
    waiting: list[Future[Any]] = []
    try:
        helpers = _helpers(extra)
        waiting += [helpers.submit(kernel.run, *given) for _ in range(extra)]
    except RuntimeError:  # the interpreter is shutting down: this thread does the rest alone
        pass
    try:
        kernel.run(*given)
    finally:
        _finish(waiting)


def _finish(waiting: list[Future[Any]]) -> None:
    """Wait for every thread, since the arrays must outlive the threads that read them; then raise an interrupt."""
    interrupted: KeyboardInterrupt | None = None
    while not all(each.done() for each in waiting):
        try:
            wait(waiting)
        except KeyboardInterrupt as interrupt:
            interrupted = interrupt
    if interrupted is not None:
        raise interrupted
    for each in waiting:
        each.result()
