"""All clipping laws, such as ``optcore.clipping.clip_by_norm``: each is found because it is in a file of this folder.

The module also has functions that are no laws: ``clipped`` applies a law to a tree of gradients, ``per_example_...``
turn the gradients of many examples into one. They run on arrays, so optcore.backends provides them.
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
        """Return a function on trees or a law; a function is kept in this module from then on."""
        if name in FUNCTIONS:
            found = globals()[name] = runner().functions[name]
            return found
        return _law(name)

    def __dir__() -> list[str]:
        return [*FUNCTIONS, *_laws()]
