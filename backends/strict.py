"""The backend of array-api-strict, a NumPy that raises on everything outside the standard; the proofs use it."""

from __future__ import annotations

from typing import Any

from optcore.backends.base import Backend, missing

try:
    import array_api_strict as xp
except ImportError:
    raise missing("array-api-strict", "proof") from None


class StrictBackend(Backend):
    """The backend of array-api-strict with its virtual devices: a value made on the wrong device raises."""

    name = extra = "strict"
    package = "array_api_strict"

    def scalar(self, value: Any, like: Any) -> Any:
        return xp.asarray(value, dtype=like.dtype, device=like.device)

    def power_of_two(self, x: Any) -> Any:
        from optcore.backends.numpy import backend as on_numpy

        return self.xp.asarray(on_numpy.power_of_two(self.numpy(x)), device=x.device)

    def numpy(self, x: Any) -> Any:
        from optcore.backends.numpy import np

        return np.asarray(x.to_device(xp.Device("CPU_DEVICE"))._array)


backend = StrictBackend(xp)
