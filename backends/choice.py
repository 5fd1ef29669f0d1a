"""The choice of a backend: from the type of an array, or by name; nothing is wrapped and nothing is global."""

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
"""The package that defines an array's type, and the backend that knows it."""
FILES = {"fused": "fused.numpy"}
"""The modules of backends that do not bear their names."""
PROOFS = ("jitted",)
"""Other ways of running a library's arrays, which no array's type chooses."""


def names() -> tuple[str, ...]:
    """The names of all backends, whether installed or not."""
    return (*dict.fromkeys(MODULES.values()), *PROOFS)


@lru_cache
def named(name: str) -> Backend:
    """The backend of this name; ImportError with the pip command where its library is missing."""
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
    """The backend of an array, from its type; TypeError for anything else.

    Only libraries that the caller has already imported can be met here.
    """
    kind: Any = type(array)
    backend = _of_type(kind) if hasattr(array, "shape") else None
    if backend is None:
        raise TypeError(
            f"optcore: {type(array).__name__} is no known array; give an array of NumPy, PyTorch, JAX or CuPy"
        )
    return backend
