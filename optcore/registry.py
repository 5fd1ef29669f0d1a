"""What the library holds, found by looking into its folders."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

from optcore.compose import Combinator
from optcore.hyper import unknown
from optcore.rule import Rule
from optcore.schedule import Schedule

__all__ = ["applied", "attributes", "combinators", "find", "rules", "schedules"]


_kept: dict[Any, tuple[list[list[str]], dict[str, Any]]] = {}


def members(package: str, kind: Any) -> dict[str, Any]:
    """Every object of a kind that stands in a module of the package under its own name, sorted.

    Modules are looked for once, and anew when a file of the folder came or went.
    """
    path = (sys.modules.get(package) or importlib.import_module(package)).__path__
    files = _files(path)
    kept = _kept.get((package, kind))
    if kept is not None and kept[0] == files:
        return dict(kept[1])
    modules = [importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(path)]
    found: dict[str, Any] = {}
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, kind) and value.name == name:
                if found.setdefault(name, value) is not value:
                    raise ValueError(f"optcore: {name} is defined twice, again in {module.__file__}; rename one")
    found = dict(sorted(found.items()))
    if not any(getattr(module.__spec__, "_initializing", False) for module in modules):  # one that asks is not ready
        _kept[package, kind] = files, found
    return dict(found)


def _files(path: Any) -> list[list[str]]:
    """The names in these folders, but for Python's own of bytecode; none for what is no folder, as in a zip file.

    A folder's time would be quicker to read, but two changes within one tick of the clock have the same.
    """
    return [[n for n in os.listdir(folder) if n != "__pycache__"] for folder in path if os.path.isdir(folder)]


def rules() -> dict[str, Rule]:
    """Every update rule by name."""
    return members("optcore.rules", Rule)


def clipping() -> dict[str, Rule]:
    """Every clipping law by name."""
    return members("optcore.clipping", Rule)


def combinators() -> dict[str, Combinator]:
    """Every combinator by name."""
    return members("optcore.rules", Combinator)


def applied(each: Combinator) -> Rule:
    """A combinator around rules that it fits: Adam, and Muon for the matrices of one that takes two rules."""
    known = rules()
    return each(known["adam"]) if len(each.takes) == 1 else each(known["muon"], known["adam"])


def schedules() -> dict[str, Schedule]:
    """Every schedule by name."""
    return members("optcore.schedules", Schedule)


def find(name: str) -> Any:
    """The rule, clipping law or combinator of this name; ValueError with the nearest names otherwise."""
    known: dict[str, Any] = {}
    for each in (rules, clipping, combinators):
        known |= each()
        if name in known:
            return known[name]
    raise ValueError(unknown("optcore", "rule", name, known))


def attributes(package: str, kind: type, word: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Module-level ``__getattr__`` and ``__dir__`` that show a package's objects as its attributes.

    What was found stays in the package, so that Python finds it by itself from then on.
    """

    def get(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        known = members(package, kind)
        if name not in known:
            raise AttributeError(unknown(package, word, name, known))
        setattr(sys.modules[package], name, known[name])
        return known[name]

    return get, lambda: list(members(package, kind))
