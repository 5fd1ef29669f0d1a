"""Another library's constructor in the words of this one: ``AdamW(params, lr=1e-3, like="keras")`` in PyTorch.

``like=`` changes the law and its numbers, and never the words. A number has the word that this library's constructor of
the same name has for it. What that one has no number for keeps the other library's word.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from optcore.adapters.native.declared import FIRST, Constructor, Dialect, Meaning, Native

__all__ = ["translated"]


def translated(
    name: str, own: Mapping[str, Meaning], mine: Dialect, other: Constructor, theirs: Dialect
) -> Constructor:
    """``other`` in the words of ``own``, this library's constructor, or where that has none in its general words."""
    meanings = {word: m for word, m in other.meanings.items() if m.of == "law"}  # masks stay in their library
    places = _places(own, mine, meanings, theirs)
    rate = next(word for word, members in places.items() if meanings[members[0][0]].names == ("lr",))
    order = sorted(places, key=lambda word: (word != rate, len(places[word]) == 1))

    def make(**given: Any) -> Native:
        values: dict[str, Any] = {}
        members: dict[str, dict[int, Any]] = {}
        for word, parts in places.items():
            each = given[word] if len(parts) > 1 else (given[word],)
            if len(each) != len(parts):
                raise ValueError(f"{name}: {word}={each!r} has {len(each)} members; give {len(parts)}")
            for (their, at), value in zip(parts, each, strict=True):
                if at is None:
                    values[their] = value
                else:
                    members.setdefault(their, {})[at] = value
        values |= {their: tuple(x for _, x in sorted(found.items())) for their, found in members.items()}
        native = other.build(**values)
        return Native(native.recipe, of_leaf=native.of_leaf)

    parameters, stand = [], {}
    for word in order:
        found = [_default(other, their, at) for their, at in places[word]]
        default = found[0] if len(found) == 1 else tuple(found)
        default = 1e-3 if default is inspect.Parameter.empty and word == rate else default  # a class must have a rate
        parameters.append(inspect.Parameter(word, FIRST, default=default))
        their, at = places[word][0]
        names = tuple(name for w, _ in places[word] for name in meanings[w].names)
        stand[word] = meanings[their]._replace(names=names if at is None else (names[at],))
    return Constructor(name, other.doc, tuple(parameters), make, stand)


def _default(other: Constructor, their: str, at: int | None) -> Any:
    default = other.defaults[their]
    if at is not None:
        return default[at]
    return other.meanings[their].absent if default is None else default


Places = dict[str, list[tuple[str, int | None]]]


def _places(own: Mapping[str, Meaning], mine: Dialect, meanings: Mapping[str, Meaning], theirs: Dialect) -> Places:
    """Our words with the other library's, each with the place in it where that is one of several numbers."""
    places: Places = {}
    words = {(m.names, m.factor): word for word, m in {**mine.meanings, **own}.items() if m.of == "law"}
    alone = {m.names: word for word, m in meanings.items() if len(m.names) == 1 and m.factor == 1.0}
    for (names, _), word in words.items():
        if len(names) > 1 and all((n,) in alone for n in names):
            places[word] = [(alone.pop((n,)), None) for n in names]
    merged = {their for members in places.values() for their, _ in members}
    exact = {(m.names, m.factor): word for word, m in own.items() if m.of == "law"}
    for their, m in meanings.items():
        apart = [words.get(((n,), 1.0)) for n in m.names]
        if their in merged:
            continue
        if (m.names, m.factor) in exact:
            places[exact[m.names, m.factor]] = [(their, None)]
        elif their not in own and len(apart) > 1 and None not in apart:
            places |= {word: [(their, i)] for i, word in enumerate(apart) if word is not None}
        else:
            general = theirs.meanings.get(their, Meaning((their,))).names
            word = next((w for w, m in mine.meanings.items() if m.names == general), general[0])
            places[their if their in own or word in places else word] = [(their, None)]
    return places
