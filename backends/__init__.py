"""Where and how a law runs: chosen from the array itself, with nothing wrapped and nothing global.

``of(array)`` gives the backend, :class:`Optimizer` runs a recipe on a tree of arrays.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if __name__ != "optcore.backends":
    raise ImportError(f"{__name__} is a part of optcore; import it as optcore.backends")

from optcore.backends.base import Backend

if TYPE_CHECKING:
    from optcore.backends.optimizer import Optimizer as Optimizer
    from optcore.backends.optimizer import OptimizerState as OptimizerState

__all__ = ["Backend", "Optimizer", "OptimizerState", "named", "names", "of", "pure_init", "pure_step"]

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
"""The package that defines an array's type, and the module here that knows it."""
PROOFS = ("jitted",)
"""Other ways of running a library's arrays, which no array's type chooses."""


def names() -> tuple[str, ...]:
    """The names of all backends, whether installed or not."""
    return (*dict.fromkeys(MODULES.values()), *PROOFS)


@lru_cache
def named(name: str) -> Backend:
    """The backend of this name; ImportError with the pip command where its library is missing."""
    if name not in names():
        from optcore.hyper import unknown

        raise ValueError(unknown("optcore.backends", "backend", name, names()))
    backend: Backend = importlib.import_module(f"optcore.backends.{name}").backend
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


def pure_init(rule: Any, p: Any) -> Any:
    """The state of one leaf before its first step; what ``rule.init(p)`` calls."""
    from optcore.backends.drive import start

    return start(rule, of(p), p, rule.complete())


def pure_step(rule: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    """One step on one leaf, returning new arrays; what ``rule(p, g, s, t=...)`` calls."""
    from optcore.backends.drive import Leaf, advance, check, laid_out, numbers

    backend = check(rule.name, [p], [g], [rule.name])
    if isinstance(t, int | float) and t < 1:
        raise ValueError(f"{rule.name}: t={t!r} is no count of updates; the first one is t=1")
    values = laid_out(numbers(rule.complete(), backend, t - 1, rule.hypers), backend.native_layout)
    shared = [x for x, f in zip(rule.unpack(s), rule.fields, strict=True) if f.shared]
    ((moved, arrays),), _ = advance(rule, backend, [Leaf(p, g, s, t, values)], shared)
    return moved.p, rule.pack(arrays)


def __getattr__(name: str) -> Any:
    if name in ("Optimizer", "OptimizerState"):
        from optcore.backends import optimizer

        return getattr(optimizer, name)
    raise AttributeError(f"module 'optcore.backends' has no attribute {name!r}")
