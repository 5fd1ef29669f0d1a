"""The backend of CuPy arrays, which lie on a CUDA device."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from optcore.backends.base import Backend, missing

try:
    import cupy
except ImportError:
    raise missing("cupy", "cupy") from None

import array_api_compat.cupy as xp


class CupyBackend(Backend):
    """The backend of CuPy, with array-api-compat for its namespace."""

    name = package = extra = "cupy"
    devices = True

    def cast(self, x: Any, dtype: str) -> Any:
        return x.astype(dtype, copy=False)

    def address(self, x: Any) -> tuple[int, Any, bool] | None:
        from optcore.backends.fused.running.device import Order

        if not isinstance(x, cupy.ndarray) or not (x.flags.c_contiguous or x.flags.f_contiguous):
            return None
        runner = _device(x.device.id)
        return runner and (x.data.ptr, Order("C" if x.flags.c_contiguous else "F", runner), True)

    def empty_like(self, x: Any) -> Any:
        with x.device:
            return cupy.empty_like(x)

    def threads(self) -> int:
        return 1  # the device shares out the work

    def power_of_two(self, x: Any) -> Any:
        return (x.view(xp.int32) & 0x7F800000).view(xp.float32)

    def numpy(self, x: Any) -> Any:
        return cupy.asnumpy(x)


@lru_cache
def _device(index: int) -> Any:
    from optcore.backends.fused.running.device import Device

    return Device.at(lambda: CupyMemory(index))


class CupyMemory:
    """CuPy's memory and current stream on one CUDA device, by the protocol ``DeviceMemory``."""

    def __init__(self, index: int) -> None:
        self.device = cupy.cuda.Device(index)

    @property
    def capability(self) -> int:
        return int(self.device.compute_capability)

    def current(self) -> AbstractContextManager[Any]:
        device: AbstractContextManager[Any] = cupy.cuda.Device(self.device.id)
        return device

    def stream(self) -> int:
        return int(cupy.cuda.get_current_stream().ptr)

    def upload(self, values: Any) -> tuple[int, Any]:
        made = cupy.asarray(values)
        return made.data.ptr, made

    def empty(self, numbers: int) -> tuple[int, Any]:
        made = cupy.empty(numbers, dtype=cupy.float64)
        return made.data.ptr, made

    def download(self, owner: Any) -> Any:
        return cupy.asnumpy(owner)


backend = CupyBackend(xp)
