"""The laws that are found by their names: the library's, by looking into its folders, and those of other packages.

A law of one's own is made known by :func:`register`, or by an entry point of the package that holds it::

    [project.entry-points."optcore.laws"]
    mine = "mypackage.rules:mine"

Entry points are read once, when a name is not found without them or all names are asked for.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import warnings
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from optcore.described import Described, Species
from optcore.hyper import unknown

if TYPE_CHECKING:
    from optcore.compose import Combinator
    from optcore.rule import Rule
    from optcore.schedule import Schedule

__all__ = [
    "applied", "attributes", "clipping", "combinators", "find", "forget", "held", "listen", "members", "named", "own",
    "register", "rules", "schedule", "schedules",
]  # fmt: skip

GROUP = "optcore.laws"
"""The entry points by which an installed package makes its laws known."""
FOLDERS: tuple[tuple[str, Species], ...] = (
    ("optcore.rules", "rule"),
    ("optcore.clipping", "rule"),
    ("optcore.rules", "combinator"),
    ("optcore.schedules", "schedule"),
)
"""The packages that hold the library's laws, each with the kind of law that it is searched for."""
Law = TypeVar("Law")

_kept: dict[Any, tuple[list[list[str]], dict[str, Any]]] = {}
_own: dict[str, Any] = {}
_listeners: list[Callable[[Any, bool], None]] = []
_broken: list[str] = []
_lock = RLock()
_read = False


def members(package: str, kind: Species) -> dict[str, Any]:
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
            if isinstance(value, Described) and value.species == kind and value.name == name:
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
    return _listed("optcore.rules", "rule")


def clipping() -> dict[str, Rule]:
    """Every clipping law by name."""
    return _listed("optcore.clipping", "rule")


def combinators() -> dict[str, Combinator]:
    """Every combinator by name."""
    return _listed("optcore.rules", "combinator")


def schedules() -> dict[str, Schedule]:
    """Every schedule by name."""
    return _listed("optcore.schedules", "schedule")


def own() -> dict[str, Any]:
    """Every law that was registered, of whichever kind, by name."""
    return dict(_own)


def held() -> dict[str, Any]:
    """Every law of the library itself, of whichever kind, by name."""
    return {name: law for folder in FOLDERS for name, law in members(*folder).items()}


def applied(each: Combinator) -> Rule:
    """A combinator around rules that it fits: Adam, and Muon for the matrices of one that takes two rules."""
    adam: Rule = find("adam")
    return each(adam) if len(each.takes) == 1 else each(find("muon"), adam)


def find(name: str) -> Any:
    """The rule, clipping law or combinator of this name; ValueError with the nearest names otherwise."""
    return _sought("optcore", "rule", name, FOLDERS[:3])


def schedule(name: str, who: str = "optcore") -> Schedule:
    """The schedule of this name; ValueError, in the words of ``who``, with the nearest names otherwise."""
    return _sought(who, "schedule", name, FOLDERS[3:])  # type: ignore[no-any-return]


def named(text: str) -> Any:
    """The law of a name, of any kind, or the one that stands in a module, as ``"mypackage.rules:mine"``.

    Raises ValueError that says what is not there: the name, the module or its attribute, or a law in that place.
    """
    if ":" not in text:
        return _sought("optcore", "law", text, FOLDERS)
    where, _, attribute = text.partition(":")
    try:
        law: Any = importlib.import_module(where)
    except Exception as error:  # whatever the module does when it is imported
        words = f"optcore: {text}: the module {where!r} cannot be imported, {type(error).__name__}: {error}"
        raise ValueError(f"{words}; give package.module:attribute, with the package on Python's path") from error
    for part in attribute.split("."):
        if not hasattr(law, part):
            raise ValueError(unknown(f"optcore: {text}", "attribute", part, (n for n in dir(law) if n[:1] != "_")))
        law = getattr(law, part)
    if not isinstance(law, Described):
        raise ValueError(
            f"optcore: {text} is of type {type(law).__name__}; give a rule, a clipping law, a combinator or a schedule"
        )
    return law


def register(law: Law) -> Law:
    """Make a law of one's own known by its name, as one of the library's is; gives it back, so that it decorates.

    From then on ``optcore.<name>`` (of a schedule ``optcore.schedules.<name>``), recipes and their JSON text, every
    adapter and its checkpoints and the command line's listing know it::

        @optcore.register
        @rule(MineState)
        def mine(xp, p, g, s, t, *, beta: Decay = 0.9): ...

    Raises
    ------
    TypeError
        For what is no law, or a rule that is made of others.
    ValueError
        For a bound law, and for a name that another law or the library has. Registering one law twice is no error.

    """
    who = "optcore.register"
    if not isinstance(law, Described):
        raise TypeError(
            f"{who}: {law!r} is of type {type(law).__name__}; give a rule, a clipping law, a combinator or a schedule"
        )
    if not hasattr(law, "law"):
        raise TypeError(f"{who}: {law!r} is made of other rules; register those, and keep the whole as a Recipe")
    name = law.name
    if getattr(law, "bound", None):
        raise ValueError(f"{who}: {law!r} is bound; give {name} itself, without numbers")
    known = _own.get(name)
    if known is law:
        return law
    if not name.isidentifier() or name.startswith("_"):
        raise ValueError(f"{who}: {name!r} is no public name; write the law as a function with one, as my_rule")
    if known is not None:
        raise ValueError(
            f"{who}: {name} is the name of another law, of the module {known.law.fn.__module__}; rename one, or free "
            f"the name with optcore.registry.forget({name!r})"
        )
    words = {_fold(word): other for other, each in {**held(), **_own}.items() for word in _names_of(each)}
    words |= {_fold(word): f"optcore.{word}" for word in _words()}
    for word in _names_of(law):
        if _fold(word) in words:
            raise ValueError(f"{who}: {word} is taken, by {words[_fold(word)]}; give {name} another name or title")
    _own[name] = law
    try:
        for listener in _listeners:
            listener(law, True)
    except ValueError:
        del _own[name]
        raise
    return law


def forget(name: str) -> None:
    """Free the name of a law of one's own, as where a notebook's cell defines it anew; ValueError for no such law.

    What was made of it keeps it; what is looked up by its name from now on does not find it.
    """
    if name not in _own:
        raise ValueError(unknown("optcore.registry.forget", "law of your own", name, _own))
    law = _own.pop(name)
    for listener in _listeners:
        listener(law, False)


def listen(listener: Callable[[Any, bool], None]) -> None:
    """Call ``listener(law, True)`` when a law is registered from now on, and ``(law, False)`` when it is forgotten."""
    _listeners.append(listener)


def attributes(package: str, kind: Species, word: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Module-level ``__getattr__`` and ``__dir__`` that show a package's objects as its attributes.

    What was found in its folder stays in the package, so that Python finds it by itself from then on; a law of one's
    own does not, since it can be forgotten.
    """

    def get(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            found = _sought(package, word, name, [(package, kind)])
        except ValueError as error:
            raise AttributeError(str(error)) from None
        if name not in _own:
            setattr(sys.modules[package], name, found)
        return found

    return get, lambda: list(_listed(package, kind))


def _listed(package: str, kind: Species) -> dict[str, Any]:
    """The laws of a folder, with those of one's own that would stand there."""
    found = members(package, kind)
    _install()
    for words in _broken:
        warnings.warn(f"optcore: {words}; its law is missing from the list", RuntimeWarning, stacklevel=3)
    own = {name: law for name, law in _own.items() if _place(law) == (package, kind)}
    return dict(sorted({**found, **own}.items())) if own else found


def _sought(who: str, word: str, name: str, folders: Any) -> Any:
    if not isinstance(name, str):
        raise TypeError(f"{who}: {name!r} is of type {type(name).__name__}; give the name of a {word}")
    places = set(folders)
    for _ in range(2):
        if name in _own and _place(_own[name]) in places:
            return _own[name]
        known: dict[str, Any] = {}
        for folder in folders:
            known |= members(*folder)
            if name in known:
                return known[name]
        if _read:
            break
        _install()
    own = [n for n, law in _own.items() if _place(law) in places]
    more = "; one of your own is known once it is registered, with optcore.register"
    missing = "".join(f". Laws may be missing, since {words}" for words in _broken)
    raise ValueError(unknown(who, word, name, [*known, *own], more) + missing)


def _place(law: Any) -> tuple[str, Species]:
    """The folder in which a law would stand, were it the library's."""
    package = {"rule": "rules", "combinator": "rules", "schedule": "schedules"}[law.species]
    return f"optcore.{'clipping' if getattr(law, 'clips', False) else package}", law.species


def _install() -> None:
    """Register what installed packages have entry points for, once; what cannot be is told where it is missed."""
    global _read
    with _lock:
        if _read:
            return
        _read = True  # at once: a module that is loaded here may register its laws by itself
        from importlib.metadata import entry_points  # takes longer to import than all of this

        for entry in entry_points(group=GROUP):
            package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
            try:
                law = entry.load()
                if getattr(law, "name", entry.name) != entry.name:
                    raise ValueError(f"the law's name is {law.name}; call the entry point so")
                register(law)
            except Exception as error:  # another's package: whatever it is, it is told with the package's name
                words = f"the entry point {entry.name} = {entry.value!r} of the package {package} cannot be read"
                _broken.append(f"{words}, {type(error).__name__}: {error}")


def _names_of(law: Any) -> tuple[str, str]:
    """The names that a law has: its own, and that of its class in PyTorch and Keras."""
    return law.name, getattr(law, "title", law.name)


def _fold(name: str) -> str:
    return name.replace("_", "").lower()


def _words() -> list[str]:
    """The names that are modules of optcore, or stand in it for something else than a law."""
    package = sys.modules["optcore"]
    return [*(info.name for info in pkgutil.iter_modules(package.__path__)), *package.__all__]
