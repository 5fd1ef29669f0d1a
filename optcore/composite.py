"""The base of rules made of rules: the hyper-parameters, rates and decays of their parts under one roof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from optcore.hyper import Hyper, check_all
from optcore.rule import EMPTY, TEMPLATE, Rule

__all__ = ["Composite", "labels"]

APART = ("lr", "weight_decay", "decay")
"""Numbers that each of several rules has for itself where a combinator runs whole steps of them."""


class Composite(Rule):
    """The base of a chain and a combined rule: parts whose hyper-parameters show under one roof.

    A part's hyper-parameter keeps its name where no other part has it, else it is ``part.name``. Learning
    rate, decay and its place belong to the whole: a chain hears the link that owns the rate, else the link that was
    given them, else its last link that states them; a combinator hears its first rule. Where a combinator runs whole
    steps of several rules the others have their own, as ``part.lr``: what was given to one of them is its own, and
    what was given to the whole is for those that were given none.
    """

    parts: tuple[Rule, ...]
    bound: Mapping[str, Any]
    apart: bool = False  #: whether the rules after the first have learning rates and decays of their own

    def _expose(self, own: Mapping[str, Hyper] = EMPTY, stated: Mapping[str, Any] = EMPTY) -> None:
        """Collect the hyper-parameters of the parts; ``own`` and ``stated`` are those that a combinator declares."""
        names = labels(self.parts)
        count = Counter(h for part in self.parts for h in part.hypers if h not in TEMPLATE)
        count.update(own.keys())
        self.routes: dict[str, tuple[int, str]] = {}
        hypers: dict[str, Hyper] = dict(TEMPLATE)
        for i, part in enumerate(self.parts):
            for name, hyper in part.hypers.items():
                mine = self.apart and i > 0 and name in APART
                if mine or name not in TEMPLATE:
                    exposed = name if count[name] == 1 else f"{names[i]}.{name}"
                    self.routes[exposed] = i, name
                    hypers[exposed] = replace(hyper, default=part.values()[name]) if mine else hyper
        heard = self._heard()
        hypers |= {name: part.hypers[name] for name, part in heard.items()} | dict(own)
        self.template = {name: part.values()[name] for name, part in heard.items() if name not in own}
        self.template |= {**stated, **self._within()}
        for name, value in self.template.items():
            hypers[name] = replace(hypers[name], default=value)
        self.hypers = MappingProxyType(hypers)
        self.owns = frozenset().union(*(part.owns for part in self.parts))
        self.repairs = any(part.repairs for part in self.parts)
        exposed_as = {route: exposed for exposed, route in self.routes.items()}
        self.names = MappingProxyType({})
        for i, part in enumerate(self.parts):
            for pattern, given in part.names.items():
                outward = {exposed_as[i, name]: value for name, value in given.items()}
                self.names = MappingProxyType({**self.names, pattern: {**self.names.get(pattern, {}), **outward}})
        self._inward = tuple(
            tuple((exposed, name) for exposed, (j, name) in self.routes.items() if j == i and self._keeps(i, name))
            for i in range(len(self.parts))
        )

    def _heard(self) -> dict[str, Rule]:
        """The part that speaks for the whole, for each of learning rate, decay and its place; a binding comes first."""
        ordered = self._ordered()
        heard = {name: part for part in ordered for name in TEMPLATE if name in part.template}
        for part in ordered:  # who states a decay says where it enters
            if "weight_decay" in part.template or "weight_decay" in part.said:
                heard["decay"] = part
        heard.update(self._owner())
        return heard | {name: part for part in ordered for name in part.said}

    def _ordered(self) -> Sequence[Rule]:
        """The parts that may speak for the whole, of which the last is heard."""
        return self.parts[:1] if self.apart else self.parts[::-1]

    def _owner(self) -> Mapping[str, Rule]:
        """The part whose rate is the whole's by what it owns."""
        return {}

    def _within(self) -> Mapping[str, Any]:
        """The numbers bound within that are for the whole, which no declaration overrules."""
        return self.parts[0].said

    def _keeps(self, i: int, name: str) -> bool:
        """Tell whether part i has its own number under a name, where the whole has one of that name too."""
        return name not in TEMPLATE or name in self.parts[i].said or name not in self.bound

    @property
    def said(self) -> Mapping[str, Any]:
        return {**self._within(), **super().said}

    @property
    def rates(self) -> tuple[str, ...]:
        own = {(i, name) for i, part in enumerate(self.parts) for name in part.rates}
        kept = {(i, "lr") for i in range(len(self.parts)) if self._keeps(i, "lr")}
        return tuple(exposed for exposed, route in self.routes.items() if route in own | kept)

    def inner(self, i: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of part i, under its own names."""
        whole = {name: values[name] for name in TEMPLATE}
        return whole | {name: values[exposed] for exposed, name in self._inward[i]}

    def _rebound(self, hyper: Mapping[str, Any]) -> tuple[list[Rule], dict[str, Any]]:
        checked = check_all(self.name, self.hypers, hyper)
        parts, own = list(self.parts), dict(self.bound)
        for name, value in checked.items():
            if name in self.routes:
                i, inner = self.routes[name]
                parts[i] = parts[i].bind(**{inner: value})
            else:
                own[name] = value
        return parts, own

    def complete(self) -> dict[str, Any]:
        for part in self.parts:  # each names itself where a number of it is missing
            part.complete()
        return super().complete()

    def values(self) -> dict[str, Any]:
        found = {name: hyper.default for name, hyper in self.hypers.items()}
        inner = [part.values() for part in self.parts]
        found |= self.bound
        kept = {e: (i, name) for e, (i, name) in self.routes.items() if self._keeps(i, name)}
        found |= {e: found[name] for e, (_, name) in self.routes.items() if e not in kept}
        return found | {e: inner[i][name] for e, (i, name) in kept.items()}

    @property
    def structure(self) -> tuple[Any, ...]:
        return (self.name, self.lead, self._inward, *(part.structure for part in self.parts))

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.name, self.parts, tuple(sorted(self.bound.items())))


def labels(parts: Sequence[Rule]) -> list[str]:
    """The name of each part, with its place where several have one name."""
    total = Counter(part.name for part in parts)
    return [f"{part.name}{i}" if total[part.name] > 1 else part.name for i, part in enumerate(parts)]
