"""Every clipping law, found by being in a file of this folder: ``optcore.clipping.clip_by_norm``.

The functions beside them are no laws: ``clipped`` applies one to a tree, ``per_example_...`` make one gradient of many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optcore.clipping.per_example import (
    per_example_global_norm_clip,
    per_example_layer_norm_clip,
    per_example_mean,
)
from optcore.clipping.trees import clipped, held, measured, total_norm
from optcore.registry import attributes
from optcore.rule import Primitive, Rule

__all__ = [
    "clipped",
    "held",
    "measured",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "per_example_mean",
    "total_norm",
]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Primitive: ...

else:
    __getattr__, __dir__ = attributes(__name__, Rule, "clipping law")
