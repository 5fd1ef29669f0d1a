"""The schedules of each library under its own names and with its own parameters, as schedules of ours.

torch's take the group's learning rate first, where torch's own take the optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optcore.adapters.native import part_of

__all__ = ["table"]


def table(library: str) -> dict[str, Callable[..., Any]]:
    """The library's schedules by name."""
    module = part_of(library, "schedules")
    return {name: getattr(module, name) for name in module.__all__}
