"""The place of what runs laws on arrays: the layer above puts it here, and the core never looks up."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Runner", "provide", "runner"]

PROVIDER = "optcore.backends"
"""The package that calls :func:`provide` when it is imported."""


class Runner(Protocol):
    """What rules, schedules and clipping laws need in order to be called with arrays."""

    @property
    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """Functions of trees of arrays that are made of laws, as ``clipped``, by their public names."""

    @property
    def storages(self) -> Sequence[str]:
        """The names of the ways to keep a state, for a recipe's ``state_dtype``."""

    def init(self, rule: Any, p: Any) -> Any:
        """The state of one leaf before its first step."""

    def step(self, rule: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        """One step of a bound rule on one leaf: new arrays for the parameter and the state."""

    def place(self, x: Any) -> tuple[Any, Any]:
        """The namespace of an array's library, and the array in a floating dtype."""


_provided: list[Runner] = []


def provide(runner: Runner) -> None:
    """Take the runner, in place of one that was provided before."""
    _provided[:] = [runner]


def runner() -> Runner:
    """The runner; its package is imported where nobody has done so yet."""
    if not _provided:
        importlib.import_module(PROVIDER)
    return _provided[0]
