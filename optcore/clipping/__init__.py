"""Every clipping law, found by being in a file of this folder: ``optcore.clipping.clip_by_norm``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optcore.registry import attributes
from optcore.rule import Primitive, Rule

if TYPE_CHECKING:

    def __getattr__(name: str) -> Primitive: ...

else:
    __getattr__, __dir__ = attributes(__name__, Rule, "clipping law")
