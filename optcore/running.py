"""The runner of laws on arrays: optcore.backends provides it here, so that the core never imports from above itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Runner", "provide", "runner"]

PROVIDER = "optcore.backends"
"""The package that calls :func:`provide` when it is imported."""


class Runner(Protocol):
    """The protocol of a runner: the functions by which rules, schedules and clipping laws are called with arrays."""

    @property
    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """Functions on trees of arrays that run laws, such as ``clipped``, by their public names."""

    @property
    def storages(self) -> Sequence[str]:
        """The names of the ways to keep a state, for a recipe's ``state_dtype``."""

    def init(self, rule: Any, p: Any) -> Any:
        """Return the state of one leaf before its first step."""

    def step(self, rule: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        """Run one step of a bound rule on one leaf; return the new parameter and the new state, as new arrays."""

    def place(self, x: Any) -> tuple[Any, Any]:
        """Return the namespace of an array's library, and the array in a floating dtype."""


_provided: list[Runner] = []


def provide(runner: Runner) -> None:
    """Make this the runner, in place of one that was provided before."""
    _provided[:] = [runner]


def runner() -> Runner:
    """Return the runner; import the package that provides it if that has not been done yet."""
    if not _provided:
        importlib.import_module(PROVIDER)
    return _provided[0]
