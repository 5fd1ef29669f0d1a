"""NumPy arrays, read-only ones included: no law writes into what it is given."""

from __future__ import annotations

from typing import Any

import array_api_compat.numpy

from optcore.backends.base import Backend

__all__ = ["backend", "np"]

np: Any = array_api_compat.numpy
"""NumPy as an Array API namespace, with everything else it has."""


class NumpyBackend(Backend):
    """NumPy; bfloat16 arrays are those of ml_dtypes."""

    name = package = extra = "numpy"

    def cast(self, x: Any, dtype: str) -> Any:
        if self.dtype(x) == dtype:
            return x
        if dtype == "bfloat16":
            import ml_dtypes

            return x.astype(ml_dtypes.bfloat16)
        return x.astype(dtype)

    def array(self, values: Any, dtype: str) -> Any:
        return self.cast(np.asarray(values), dtype)


backend = NumpyBackend(np)
