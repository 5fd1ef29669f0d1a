"""CuPy arrays on a CUDA device."""

from __future__ import annotations

from typing import Any

from optcore.backends.base import Backend, missing

try:
    import cupy
except ImportError:
    raise missing("cupy", "cupy") from None

import array_api_compat.cupy as xp


class CupyBackend(Backend):
    """CuPy through array-api-compat."""

    name = package = extra = "cupy"

    def cast(self, x: Any, dtype: str) -> Any:
        return x.astype(dtype, copy=False)

    def numpy(self, x: Any) -> Any:
        return cupy.asnumpy(x)


backend = CupyBackend(xp)
