"""The backend of NumPy arrays. Read-only arrays work too, since no law writes into the arrays it is given."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import array_api_compat.numpy

from optcore.backends.base import Backend

__all__ = ["backend", "np"]

np: Any = array_api_compat.numpy
"""NumPy as an Array API namespace, which holds the rest of NumPy's functions as well."""


@lru_cache(maxsize=64)
def _name(dtype: Any) -> str:
    """Return the name of a dtype from a cache, since NumPy takes longer to spell it than to add ten numbers."""
    return str(dtype)


class NumpyBackend(Backend):
    """The backend of NumPy; its bfloat16 arrays have the dtype of ml_dtypes."""

    name = package = extra = "numpy"

    def dtype(self, x: Any) -> str:
        return _name(x.dtype)

    def fault(self, x: Any) -> str | None:
        if type(x) is not np.ndarray and isinstance(x, np.matrix):
            return "is a matrix of NumPy, whose product is another one; give numpy.asarray of it"
        if not x.dtype.isnative:
            native = "x.astype(x.dtype.newbyteorder('='))"
            return f"is of dtype {x.dtype}, in another byte order than this machine's; give {native}"
        return None

    def cast(self, x: Any, dtype: str) -> Any:
        if self.dtype(x) == dtype:
            return x
        if dtype == "bfloat16":
            import ml_dtypes

            return x.astype(ml_dtypes.bfloat16)
        return x.astype(dtype)

    def whole(self, x: Any) -> Any:
        return np.asarray(x)

    def address(self, x: Any) -> tuple[int, Any, bool] | None:
        if type(x) not in (np.ndarray, np.memmap):  # np.matrix and masked arrays give their operators another meaning
            return None
        flags = x.flags
        if not (flags.aligned and x.dtype.isnative and (flags.c_contiguous or flags.f_contiguous)):
            return None
        data, read_only = x.__array_interface__["data"]
        return data, "C" if flags.c_contiguous else "F", not read_only

    def power_of_two(self, x: Any) -> Any:
        return (np.asarray(x).view(np.int32) & np.int32(0x7F800000)).view(np.float32)

    def array(self, values: Any, dtype: str) -> Any:
        return self.cast(np.asarray(values), dtype)


backend = NumpyBackend(np)
