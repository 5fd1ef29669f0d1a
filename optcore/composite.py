"""The base of rules made of rules: it collects the hyper-parameters, learning rates and decays of their parts."""

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
"""The numbers that each part has for itself in a combinator that runs whole steps of several rules."""


class Composite(Rule):
    """The base of a chain and of a combined rule, which have the hyper-parameters of all their parts.

    A part's hyper-parameter keeps its name if no other part has one of that name; else it is called ``part.name``.
    The whole has one learning rate, one decay and one place where it enters. In a chain these come from the link that
    owns the rate, else from the link to which they were given, else from the last link that declares them; in a
    combinator they come from its first rule. In a combinator that runs whole steps of several rules, the other rules
    have numbers of their own, such as ``part.lr``: a number given to one of them is its own, and a number given to the
    whole holds for those that were given none.
    """

    parts: tuple[Rule, ...]
    bound: Mapping[str, Any]
    apart: bool = False  #: True if the rules after the first have learning rates and decays of their own

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
        """Return, for each of the template's numbers (rate, decay, its place), the part that decides it for the whole.

        A part to which the number was given comes first.
        """
        ordered = self._ordered()
        heard = {name: part for part in ordered for name in TEMPLATE if name in part.template}
        for part in ordered:  # the part that declares a decay also declares the place where it enters
            if "weight_decay" in part.template or "weight_decay" in part.said:
                heard["decay"] = part
        heard.update(self._owner())
        return heard | {name: part for part in ordered for name in part.said}

    def _ordered(self) -> Sequence[Rule]:
        """Return the parts that may decide a number of the whole; the last one that has it does."""
        return self.parts[:1] if self.apart else self.parts[::-1]

    def _owner(self) -> Mapping[str, Rule]:
        """Return the part that decides the learning rate because it owns it, under the key "lr"; empty without one."""
        return {}

    def _within(self) -> Mapping[str, Any]:
        """Return the numbers that were given to parts and hold for the whole; they win over all declared defaults."""
        return self.parts[0].said

    def _keeps(self, i: int, name: str) -> bool:
        """Tell whether part i has a number of its own under this name, even if the whole has one of that name."""
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
        """Return the values of part i, under the names that the part has for them."""
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
        for part in self.parts:  # the error for a missing number then names the part
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
    """Return the name of each part, with its position appended if several parts have the same name."""
    total = Counter(part.name for part in parts)
    return [f"{part.name}{i}" if total[part.name] > 1 else part.name for i, part in enumerate(parts)]
