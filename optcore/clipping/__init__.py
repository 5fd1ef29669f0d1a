"""Every clipping law, found by being in a file of this folder: ``optcore.clipping.clip_by_norm``.

The functions beside them are no laws: ``clipped`` applies one to a tree, ``per_example_...`` make one gradient of many.
They run on arrays, so what runs laws provides them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optcore.registry import attributes
from optcore.rule import Primitive
from optcore.running import runner

FUNCTIONS = (
    "clipped", "held", "measured", "per_example_global_norm_clip", "per_example_layer_norm_clip", "per_example_mean",
    "total_norm",
)  # fmt: skip
__all__ = [*FUNCTIONS]

if TYPE_CHECKING:

    def __getattr__(name: str) -> Primitive: ...

else:
    _law, _laws = attributes(__name__, "rule", "clipping law")

    def __getattr__(name: str) -> Any:
        """Give a function of trees or a law, which stays in this module from then on."""
        if name in FUNCTIONS:
            found = globals()[name] = runner().functions[name]
            return found
        return _law(name)

    def __dir__() -> list[str]:
        return [*FUNCTIONS, *_laws()]
