"""The backends, which run laws on arrays: each is chosen by the type of the array, without wrappers or global state.

``of(array)`` gives the backend, :class:`Optimizer` runs a recipe on a tree of arrays. Importing this package provides
rules, schedules and clipping laws with what runs them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if __name__ != "optcore.backends":
    raise ImportError(f"{__name__} is a part of optcore; import it as optcore.backends")

from optcore import running
from optcore.backends.base import Backend
from optcore.backends.choice import named, names, of

if TYPE_CHECKING:
    from optcore.backends.optimizer import Optimizer as Optimizer
    from optcore.backends.optimizer import OptimizerState as OptimizerState

__all__ = ["Backend", "Optimizer", "OptimizerState", "named", "names", "of", "pure_init", "pure_step"]

LATE = {
    "Optimizer": "optimizer", "OptimizerState": "optimizer", "pure_init": "pure", "pure_step": "pure",
}  # fmt: skip
"""Names that are imported when they are used, and their modules."""
FUNCTIONS = {
    "clipped": "clipping", "held": "clipping", "measured": "clipping", "total_norm": "clipping",
    "per_example_global_norm_clip": "per_example", "per_example_layer_norm_clip": "per_example",
    "per_example_mean": "per_example",
}  # fmt: skip
"""Functions of trees that are public in ``optcore.clipping``, and their modules."""


class _Functions(Mapping[str, Callable[..., Any]]):
    """The functions by name, each imported when it is asked for."""

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return getattr(importlib.import_module(f"optcore.backends.{FUNCTIONS[name]}"), name)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(FUNCTIONS)

    def __len__(self) -> int:
        return len(FUNCTIONS)


class _Runner:
    """The runner of :mod:`optcore.running`."""

    functions = _Functions()

    @property
    def storages(self) -> tuple[str, ...]:
        from optcore.backends.storage import kinds

        return kinds()

    @staticmethod
    def init(rule: Any, p: Any) -> Any:
        from optcore.backends.pure import pure_init

        return pure_init(rule, p)

    @staticmethod
    def step(rule: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        from optcore.backends.pure import pure_step

        return pure_step(rule, p, g, s, t)

    @staticmethod
    def place(x: Any) -> tuple[Any, Any]:
        backend = of(x)
        return backend.xp, backend.floating(x)


running.provide(_Runner())


def __getattr__(name: str) -> Any:
    if name in LATE:
        return getattr(importlib.import_module(f"optcore.backends.{LATE[name]}"), name)
    raise AttributeError(f"module 'optcore.backends' has no attribute {name!r}")
