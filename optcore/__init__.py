"""optcore: every update rule written once, native everywhere.

``optcore.<rule>`` is a rule (``optcore.adam``), ``optcore.<combinator>`` a rule that takes rules
(``optcore.cautious``); both are found in ``optcore/rules/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optcore.compose import chain
from optcore.recipe import Recipe
from optcore.registry import register

__all__ = ["Recipe", "chain", "register"]
__version__ = "0.1.0"

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...

else:

    def __getattr__(name: str) -> Any:
        """Look a rule, clipping law or combinator up by name; what the library has of it stays in this module."""
        import importlib

        from optcore import registry

        if name in {"adapters", "backends", "clipping", "recipes", "rules", "schedules", "testing"}:
            return importlib.import_module(f"optcore.{name}")
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            found = registry.find(name)
        except ValueError as error:
            raise AttributeError(str(error)) from None
        if name not in registry.own():  # one's own can be forgotten
            globals()[name] = found
        return found

    def __dir__() -> list[str]:
        from optcore import registry

        known = {**registry.rules(), **registry.clipping(), **registry.combinators()}
        return [*globals(), "adapters", "backends", "clipping", "recipes", "rules", "schedules", "testing", *known]
