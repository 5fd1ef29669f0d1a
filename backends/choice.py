"""The choice of a backend, from the type of an array or by name; no array is wrapped and there is no global backend."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

from optcore.backends.base import Backend
from optcore.hyper import unknown

__all__ = ["named", "names", "of"]

MODULES = {
    "numpy": "numpy",
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jax",
    "cupy": "cupy",
    "array_api_strict": "strict",
    "tensorflow": "keras",
    "keras": "keras",
    "llvmlite": "fused",
}
"""Maps the package that defines the type of an array to the name of the backend for its arrays."""
FILES = {"fused": "fused.numpy"}
"""Maps the backends whose module has another name to that module."""
PROOFS = ("jitted",)
"""Backends that are chosen by name only: they run the arrays of another backend in another way, for the proofs."""


def names() -> tuple[str, ...]:
    """Return the names of all backends, installed or not."""
    return (*dict.fromkeys(MODULES.values()), *PROOFS)


@lru_cache
def named(name: str) -> Backend:
    """Return the backend of this name.

    Raises ValueError for an unknown name, and ImportError with the pip command if its library is not installed.
    """
    if name not in names():
        raise ValueError(unknown("optcore.backends", "backend", name, names()))
    backend: Backend = importlib.import_module(f"optcore.backends.{FILES.get(name, name)}").backend
    return backend


@lru_cache(maxsize=256)
def _of_type(kind: type) -> Backend | None:
    for base in kind.__mro__:
        root = base.__module__.partition(".")[0]
        if root in MODULES:
            return named(MODULES[root])
    return None


def of(array: Any) -> Backend:
    """Return the backend of an array by its type; raise TypeError for anything that is no known array.

    No library is imported that the caller has not imported: an array exists only after its library was imported.
    """
    kind: Any = type(array)
    backend = _of_type(kind) if hasattr(array, "shape") else None
    if backend is None:
        raise TypeError(
            f"optcore: {type(array).__name__} is no known array; give an array of NumPy, PyTorch, JAX or CuPy"
        )
    return backend
