"""Passes on a CUDA device: the array library gives memory and its current stream, the CUDA driver launches kernels.

The driver is called directly, so that one implementation serves CuPy arrays and torch tensors, and the compiler of
neither is needed. A kernel is launched on the library's current stream after the copies of its tables, and memory is
returned to the library's stream-ordered pool. So only the reading of sums waits for the device.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from optcore.backends.fused.printers.cuda import THREADS, text
from optcore.backends.fused.running import nvrtc
from optcore.backends.fused.trace.program import Program

__all__ = ["Device", "DeviceMemory", "Order", "driver"]


class DeviceMemory(Protocol):
    """The protocol by which an array library gives memory and a stream on one of its devices.

    ``upload`` and ``empty`` return a pair: the address, and the object that keeps the memory alive.
    """

    @property
    def capability(self) -> int: ...
    def current(self) -> AbstractContextManager[Any]: ...
    def stream(self) -> int: ...
    def upload(self, values: Any) -> tuple[int, Any]: ...
    def empty(self, numbers: int) -> tuple[int, Any]: ...
    def download(self, owner: Any) -> Any: ...


class Order(NamedTuple):
    """The memory order of an array on a device, together with the device that runs passes over it."""

    order: Any
    runner: Device


@lru_cache(maxsize=1)
def driver() -> Any:
    """Return the CUDA driver library, or None if this machine has none."""
    try:
        found = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return prototyped(found)


def prototyped(found: Any) -> Any:
    """Declare the argument types of the driver's functions, as cuda.h has them, and return the library."""
    pointer, unsigned = ctypes.c_void_p, ctypes.c_uint
    found.cuModuleLoadData.argtypes = (pointer, ctypes.c_char_p)
    found.cuModuleGetFunction.argtypes = (pointer, pointer, ctypes.c_char_p)
    found.cuLaunchKernel.argtypes = (pointer, *[unsigned] * 7, pointer, pointer, pointer)
    found.cuDriverGetVersion.argtypes = (pointer,)
    found.cuGetErrorName.argtypes = (ctypes.c_int, pointer)
    return found


def call(name: str, *args: Any) -> None:
    """Call a function of the driver; raise RuntimeError with the driver's own name of the error if it fails."""
    code = getattr(driver(), name)(*args)
    if code:
        words = ctypes.c_char_p()
        driver().cuGetErrorName(code, ctypes.byref(words))
        raise RuntimeError(f"optcore: {name} says {(words.value or b'?').decode()} ({code})")


class Device:
    """A CUDA device that runs passes over the arrays that one library has on it."""

    chunk = block = 1 << 12  #: the elements of a thread block; fewer than a processor's chunk, since many run at once
    LARGEST = 1 << 30  #: the most blocks of one launch
    CAPACITY = 64  #: the number of chunk tables that are kept on the device

    def __init__(self, memory: DeviceMemory) -> None:
        self.memory = memory
        self.kernels: dict[Any, Any] = {}
        self.tables: OrderedDict[tuple[int, int], tuple[Any, int, Any]] = OrderedDict()
        self.lock = threading.RLock()

    @classmethod
    def at(cls, memory: Callable[[], DeviceMemory]) -> Device | None:
        """Return the device of this memory; None if kernels cannot run on it, so that the eager engine must be used."""
        if driver() is None or nvrtc.library() is None:
            return None
        newest = ctypes.c_int()
        call("cuDriverGetVersion", ctypes.byref(newest))
        if newest.value // 1000 < nvrtc.major():  # a driver runs nothing that a newer CUDA has compiled
            return None
        found = memory()
        return cls(found) if min(nvrtc.architectures()) <= found.capability else None

    def run(
        self, program: Program, stage: int, dtypes: tuple[str, ...], outputs: tuple[str, ...], compute: str, table: Any,
        pointers: Any, row_of: Any, rows: Any, partials: Any, *, work: int, threads: int,
    ) -> None:  # fmt: skip
        """Run pass number ``stage`` of a program; its partial sums are in ``partials`` afterwards."""
        del work, threads  # the device shares out the work
        with self.memory.current(), self.lock:
            chunks = self._kept(table)
            start, held = self._together(pointers, row_of, rows)
            target, sums = (0, None) if partials is None else self.memory.empty(partials.size)
            kernel = self._kernel(program, stage, dtypes, outputs, compute)
            self._launch(kernel, len(table), chunks, *start, target)
            if partials is not None:
                partials[...] = self.memory.download(sums).reshape(partials.shape)
            del held

    def _together(self, *arrays: Any) -> tuple[list[int], Any]:
        """Copy host arrays to the device at once; return their addresses, and the owner of that memory."""
        offsets, size = [], 0
        for x in arrays:
            offsets.append(size)
            size += -(-x.nbytes // 16) * 16
        packed = np.empty(max(size, 16), np.uint8)
        for at, x in zip(offsets, arrays, strict=True):
            packed[at : at + x.nbytes] = x.reshape(-1).view(np.uint8)
        address, owner = self.memory.upload(packed)
        return [address + at for at in offsets], owner

    def _kept(self, table: Any) -> int:
        """Return the address of a chunk table on the device.

        Each stream keeps a copy of its own, since another stream would not wait until the copying is done.
        """
        key = id(table), self.memory.stream()
        found = self.tables.get(key)
        if found is None:
            found = self.tables[key] = (table, *self.memory.upload(table.reshape(-1).view(np.uint8)))
            if len(self.tables) > self.CAPACITY:
                self.tables.popitem(last=False)
        self.tables.move_to_end(key)
        return found[1]

    def _kernel(
        self, program: Program, stage: int, dtypes: tuple[str, ...], outputs: tuple[str, ...], compute: str
    ) -> Any:
        key = (program.key, stage, dtypes, outputs, compute)
        found = self.kernels.get(key)
        if found is None:
            source = text(program, program.passes[stage], dtypes, outputs, compute)
            image, module, found = nvrtc.compiled(source, self.memory.capability), ctypes.c_void_p(), ctypes.c_void_p()
            call("cuModuleLoadData", ctypes.byref(module), image)
            call("cuModuleGetFunction", ctypes.byref(found), module, b"run")
            self.kernels[key] = found
        return found

    def _launch(self, kernel: Any, n: int, *addresses: int) -> None:
        values = [ctypes.c_longlong(n), *(ctypes.c_void_p(a) for a in addresses)]
        packed = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        blocks = min(n, self.LARGEST)
        call("cuLaunchKernel", kernel, blocks, 1, 1, THREADS, 1, 1, 0, self.memory.stream(), packed, None)
