"""What a running law asks of its driver, by ``yield``.

A law is a function of one leaf. Where it needs more than its leaf it yields a request and receives
the answer; the driver runs all leaves in lock-step and answers them together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from optcore.typing import Array

__all__ = ["Due", "Max"]


@dataclass(frozen=True)
class Max:
    """Yielded in place of an array: combine the leaves' values by maximum instead of by sum."""

    value: Array


@dataclass(frozen=True)
class Due:
    """Work done only when due: the answer is ``then(state)`` if ``condition`` holds, else ``state``."""

    condition: Any
    then: Callable[[Any], Any]
    state: Any
