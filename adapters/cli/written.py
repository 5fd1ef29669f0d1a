"""Laws written on the command line, as ``cosine:peak=1e-3,steps=1000`` or ``cautious(adam:lr=0.1)``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optcore import registry
from optcore.adapters.cli.names import OWN, foreign
from optcore.compose import Combinator, chain
from optcore.hyper import unknown
from optcore.rule import Rule
from optcore.schedule import Schedule

__all__ = ["read", "rules_of"]

KINDS: dict[str, tuple[type, ...]] = {
    "rule": (Rule, Combinator),
    "schedule": (Schedule,),
    "schedule or rule": (Rule, Combinator, Schedule),
}
"""The kinds of law that a text may stand for, and their classes."""


def read(text: str, kind: str = "schedule or rule", *, bare: bool = False) -> Any:
    """The schedule or rule that a text stands for, by the library's name or as ``package.module:name``.

    With ``bare`` a combinator that is only named is returned as it is, and a schedule may lack parameters. Otherwise a
    combinator and a chain have their rules in round brackets behind the name, ``lookahead(adam:lr=0.1):steps=5``. A
    parameter that is a schedule stands in brackets, ``then=(cosine:peak=1,steps=90)``, and so does a list:
    ``milestones=(30,60)``, ``points=(30:0.1,60:0.01)``. Raises ValueError, TypeError or ImportError, in words, for
    anything else.
    """
    known = _known()
    name, within, rest = _head(text, known)
    thing = _named(name, kind, known)
    if bare and isinstance(thing, Combinator) and within is None and not rest:
        return thing
    if thing is chain or isinstance(thing, Combinator):
        if within is None:
            inner = ",".join(["adam:lr=0.1", "sgd"][: 2 if thing is chain else len(thing.takes)])
            raise ValueError(f"{text!r}: {name} is made of rules, which stand in brackets, as in {name}({inner})")
        thing = thing(*(read(part, "rule") for part in _rules(within)))
    elif within is not None:
        raise ValueError(f"{text!r}: {name} takes no rules in brackets; write its parameters as {name}:name=value")
    thing = thing.bind(**_parameters(text, rest))
    if isinstance(thing, Schedule) and not bare:
        thing(0)  # says which parameter is missing
    return thing


def _known() -> dict[str, Any]:
    """Everything that the library has, by name."""
    rules: dict[str, Any] = {**registry.rules(), **registry.clipping(), **registry.combinators()}
    return {**rules, **registry.schedules(), "chain": chain}


def _named(name: str, kind: str, known: dict[str, Any]) -> Any:
    """Return the law of a name; raise ValueError, with the nearest names, if it is not of the kind asked for."""
    own = ":" in name
    thing = foreign(name) if own else known.get(name)
    if isinstance(thing, KINDS[kind]) or (thing is chain and kind != "schedule"):
        return thing
    if own:
        raise ValueError(f"{name} is of type {type(thing).__name__}; give the name of a {kind}")
    if isinstance(thing, Schedule):
        raise ValueError(f"{name} is a schedule, and not a rule; see optcore schedules {name}")
    if thing is not None:
        raise ValueError(f"{name} is a rule, and not a schedule; see optcore rules {name}")
    fitting = [n for n, each in known.items() if isinstance(each, KINDS[kind])]
    raise ValueError(unknown("optcore", kind, name, fitting))


def _head(text: str, known: dict[str, Any]) -> tuple[str, str | None, str]:
    """The name, what stands in brackets behind it (None without brackets), and the parameters."""
    name = re.split("[:(]", text, maxsplit=1)[0]
    own = OWN.match(text)
    if own and name.strip() not in known and not text[own.end() :].lstrip().startswith("="):
        name = own[0]
    within, rest = None, text[len(name) :]
    if ")" in name:
        raise ValueError(f"{text!r}: the brackets do not match")
    if rest.startswith("("):
        depth = 0
        for at, letter in enumerate(rest):
            depth += (letter == "(") - (letter == ")")
            if depth == 0:
                within, rest = rest[1:at], rest[at + 1 :]
                break
        else:
            raise ValueError(f"{text!r}: the brackets do not match")
        if rest.strip() and not rest.startswith(":"):
            raise ValueError(f"{text!r}: {rest!r} behind the brackets is no parameter; write :name=value")
    return name.strip(), within, rest[1:]


def _rules(text: str) -> list[str]:
    """The texts of several rules; what follows a comma is a rule, or one more parameter as ``name=value``."""
    found: list[str] = []
    for part in _split(text):
        if found and re.match(r"\s*\w+\s*=", part):
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def _parameters(text: str, rest: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    parts = _split(rest)
    for i, part in enumerate(parts):
        key, sign, value = (each.strip() for each in part.partition("="))
        if not sign:
            raise ValueError(f"{text!r}: {part!r} is no parameter; write it as name=value")
        if value.partition(":")[0] in registry.schedules() and ":" in value:
            inner = ",".join([value, *parts[i + 1 :]])
            first = text[: len(text) - len(rest)] + "".join(f"{each}," for each in parts[:i])
            raise ValueError(f"{text!r}: the schedule in {key} needs brackets, as in {first}{key}=({inner})")
        if key in given:
            raise ValueError(f"{text!r}: {key} is given twice; keep one")
        given[key] = _value(value)
    return given


def _split(text: str) -> list[str]:
    """The parts between commas that are in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
        if depth < 0:
            break
    if depth:
        raise ValueError(f"{text!r}: the brackets do not match")
    return [part for part in parts if part.strip()]


def _value(text: str) -> Any:
    if text.startswith("(") and text.endswith(")"):
        inner = text[1:-1]
        if re.split("[:(]", inner, maxsplit=1)[0] in registry.schedules():
            return read(inner)
        return tuple(_value(part.strip()) for part in _split(inner))
    first, pair, second = text.partition(":")
    if pair:
        return _value(first), _value(second)
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def rules_of(texts: Sequence[str], every: Callable[[], Mapping[str, Rule]]) -> dict[str, Rule]:
    """The rules that texts stand for, by their texts; all of ``every()`` where there is none.

    A combinator without rules in brackets is proven and timed around those that it fits, as :func:`registry.applied`
    chooses them. Raises ValueError, in words, for what is no rule.
    """
    found = {}
    for text in texts:
        thing = read(text, "rule", bare=True)
        found[text] = registry.applied(thing) if isinstance(thing, Combinator) else thing
    return found or dict(every())
