"""The constructors of each library in terms of a recipe; no framework is imported here.

The modules of a library's folder declare each optimizer of that library, in the form of :mod:`declared`: its name,
parameters and defaults, found by being there. What a library does not have gets a constructor from the rule itself.
"""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from optcore import adapters, registry
from optcore.adapters.native.declared import FIRST, KEYWORD, Constructor, Dialect, Meaning, Native, maker
from optcore.adapters.native.translated import translated
from optcore.hyper import unknown
from optcore.rule import TEMPLATE

__all__ = ["LIBRARIES", "Constructor", "Native", "attributes", "constructor", "dialect", "names", "of_rule", "part_of"]

LIBRARIES = ("torch", "optax", "keras")


def part_of(library: str, name: str) -> ModuleType:
    """A module of a library's adapter, read without the package around it, which imports the library.

    PyTorch's ``AdamW(like="keras")`` needs Keras' constructors, and no Keras.
    """
    full = f"optcore.adapters.{library}.{name}"
    if full not in sys.modules:
        spec = PathFinder.find_spec(full, [f"{folder}/{library}" for folder in adapters.__path__])
        if spec is None or spec.loader is None:
            raise ModuleNotFoundError(f"optcore.adapters: {full} is not there; install optcore anew", name=full)
        module = sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[full]


def dialect(library: str) -> Dialect:
    """The words in which a library speaks where a constructor says nothing else."""
    found: Dialect = part_of(library, "constructors").declare
    return found


@cache
def _table(library: str) -> dict[str, Constructor]:
    package = part_of(library, "constructors")
    modules = [
        importlib.import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(package.__path__)
    ]
    found = {name: each for module in modules for name, each in vars(module).items() if isinstance(each, Constructor)}
    return {name: replace(each, name=name) for name, each in found.items()}


def _title(library: str, rule: Any) -> str:
    return str(rule.name if library == "optax" else rule.title)


def names(library: str) -> list[str]:
    """Every name that the library's adapter offers: the library's own and one for each rule."""
    known = [*registry.rules().values(), *registry.clipping().values()]
    own = {_fold(name) for name in _table(library)}
    return sorted({*_table(library), *(t for rule in known if _fold(t := _title(library, rule)) not in own)})


@cache
def constructor(library: str, name: str, like: str | None = None) -> Constructor:
    """The constructor of this name in the words of ``library``, with the numbers of ``like``.

    Raises ValueError with the nearest names for an unknown name or convention.
    """
    if like is not None and like not in (*LIBRARIES, "paper"):
        raise ValueError(unknown(f"optcore.adapters.{library}", "convention like=", like, [*LIBRARIES, "paper"]))
    if like in (None, library) and name in _table(library):
        return _table(library)[name]
    if like in LIBRARIES and like != library:
        other = next((each for title, each in _table(like).items() if _fold(title) == _fold(name)), None)
        if other and any(m.names == ("lr",) for m in other.meanings.values()):
            own = constructor(library, name).meanings if name in names(library) else {}
            return translated(name, own, dialect(library), other, dialect(like))
    rule: Any = _rule(library, name)
    if rule is None or (name not in _table(library) and _fold(name) in map(_fold, _table(library))):
        raise ValueError(unknown(f"optcore.adapters.{library}", "optimizer", name, names(library)))
    if like is not None and like != library:
        rule = rule.bind(like=like)
    elif library in rule.conventions:
        rule = rule.bind(like=library)
    return of_rule(library, rule)


def _rule(library: str, name: str) -> Any:
    """The rule behind a name in a library's spelling, or None; installed packages are asked for what is not ours."""
    for known in (registry.held, lambda: {**registry.rules(), **registry.clipping()}):
        for rule in known().values():
            if hasattr(rule, "title") and _fold(_title(library, rule)) == _fold(name):
                fits = name in (*_table(library), _title(library, rule))
                return rule if fits else None
    return None


def attributes(
    library: str, make: Callable[[str], Any], own: list[str]
) -> tuple[Callable[[str], Any], Callable[[], Any]]:
    """Module-level ``__getattr__`` and ``__dir__`` that show a library's constructors as attributes.

    What was made stays in the adapter's module: a class is one object for as long as the process runs, or until the
    law of one's own that it was made of is forgotten.
    """
    taken = {_fold(name): name for name in (*own, *_table(library))}

    def hidden(law: Any) -> str | None:
        """The words for a law that the adapter cannot show, since it has something else of that name."""
        other = law.species == "rule" and taken.get(_fold(_title(library, law)))
        words = f"{law.name}: optcore.adapters.{library} has another {other}; give the law another name or title"
        return words if other else None

    def changed(law: Any, known: bool) -> None:
        if known and (words := hidden(law)):
            raise ValueError(words)
        if law.species == "rule" and not known:
            vars(sys.modules[f"optcore.adapters.{library}"]).pop(_title(library, law), None)
            for cached in (constructor, make):
                getattr(cached, "cache_clear", lambda: None)()

    registry.listen(changed)
    for law in registry.own().values():
        if words := hidden(law):
            warnings.warn(words, RuntimeWarning, stacklevel=3)

    def get(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            made = make(name)
        except ValueError as error:
            raise AttributeError(str(error)) from None
        setattr(sys.modules[f"optcore.adapters.{library}"], name, made)
        return made

    return get, lambda: [*own, *names(library)]


def _fold(name: str) -> str:
    return name.replace("_", "").lower()


def of_rule(library: str, rule: Any) -> Constructor:
    """A constructor for a rule that the library does not have, in the library's general words.

    In optax a clipping law is a link: it has neither learning rate nor decay.
    """
    link = library == "optax" and getattr(rule, "clips", False)
    values, words = rule.values(), {m.names: word for word, m in dialect(library).meanings.items()}
    order = [name for name in values if name not in TEMPLATE]
    if not link:
        order = ["lr", *order, "weight_decay", *([] if "decay" in rule.owns else ["decay"]), "maximize"]
    parameters, meanings = [], {}
    for ours in order:
        names = next((n for n in words if len(n) > 1 and ours in n and set(n) <= set(order)), (ours,))
        word = words.get(names, ours)
        default = values[ours] if len(names) == 1 else tuple(values[name] for name in names)
        default = inspect.Parameter.empty if (library, ours) == ("optax", "lr") else default
        if word not in meanings:
            kind = KEYWORD if ours in ("decay", "maximize") else FIRST
            parameters.append(inspect.Parameter(word, kind, default=default))
            meanings[word] = Meaning(names)
    parameters.sort(key=lambda p: p.default is not p.empty)
    make = maker(rule, meanings, options={"lr": 1.0} if link else {}, link=link)
    return Constructor(
        _title(library, rule) if hasattr(rule, "title") else rule.name, rule.doc, tuple(parameters), make, meanings
    )
