"""NumPy arrays with every step run in one pass: what the proofs of the fused execution are made with."""

from __future__ import annotations

from optcore.backends.fused.running import compiled as compiled  # raises where llvmlite is missing
from optcore.backends.numpy import NumpyBackend, np

__all__ = ["backend"]


class FusedBackend(NumpyBackend):
    """:class:`NumpyBackend` where :func:`optcore.backends.drive.advance` needs no asking to fuse."""

    name, package, extra = "fused", "llvmlite", "fast"
    fuses = True


backend = FusedBackend(np)
