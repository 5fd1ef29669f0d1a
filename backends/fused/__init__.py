"""Laws in one pass over memory: traced to a graph, printed as a loop, run by an engine over all leaves at once.

``trace`` writes a law down, ``printers`` print it, ``running`` compiles and runs it where the arrays lie, ``engines``
sort out which leaves can be run so. What no engine takes is run operation by operation, which is always right.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache

__all__ = ["usable"]


@lru_cache
def usable() -> bool:
    """Tell whether llvmlite, the ``[fast]`` extra, is installed."""
    return importlib.util.find_spec("llvmlite") is not None
