"""Rules made of rules: a chain feeds each link the previous direction, a combinator wraps a law."""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import GeneratorType, MappingProxyType
from typing import Any, Literal, NamedTuple

from optcore import leaf
from optcore.hyper import Hyper, check_all, keywords_of
from optcore.parts import Field, Part, fields_of, refuse_undrawn
from optcore.rule import EMPTY, TEMPLATE, DecayPlace, Law, Rule
from optcore.typing import Namespace

__all__ = ["Chain", "Combinator", "Combined", "Inner", "Wrapped", "chain", "combinator"]


class Composite(Rule):
    """What a chain and a combined rule share: parts whose hyper-parameters show under one roof.

    A part's hyper-parameter keeps its name where no other part has it, else it is ``part.name``. Learning
    rate, decay and its place belong to the whole: a chain hears the link that owns the rate, else its last link
    that states them, a combinator its first rule.
    """

    parts: tuple[Rule, ...]
    bound: Mapping[str, Any]

    def _expose(self, own: Mapping[str, Hyper] = EMPTY) -> None:
        names = _labels(self.parts)
        count = Counter(h for part in self.parts for h in part.hypers if h not in TEMPLATE)
        count.update(own.keys())
        self.routes: dict[str, tuple[int, str]] = {}
        hypers: dict[str, Hyper] = dict(TEMPLATE)
        self.template = {}
        for i, part in enumerate(self.parts):
            for name, hyper in part.hypers.items():
                if name not in TEMPLATE:
                    exposed = name if count[name] == 1 else f"{names[i]}.{name}"
                    self.routes[exposed] = i, name
                    hypers[exposed] = hyper
        ordered = self.parts if isinstance(self, Chain) else self.parts[::-1]
        for part in ordered:
            stated = self._stated(part)
            for name in TEMPLATE:
                if name in stated:
                    hypers[name] = replace(part.hypers[name], default=stated[name])
                    self.template[name] = stated[name]
        for part in self.parts:  # a link that owns the rate is the one that has a rate
            if "lr" in part.owns and isinstance(self, Chain):
                self.template["lr"] = part.values()["lr"]
                hypers["lr"] = replace(part.hypers["lr"], default=self.template["lr"])
        for part in ordered:  # who states a decay says where it enters, unless a place was bound
            stated = self._stated(part)
            if "weight_decay" in stated and not any("decay" in _bound(each) for each in self.parts):
                self.template["decay"] = part.values()["decay"]
                hypers["decay"] = replace(part.hypers["decay"], default=self.template["decay"])
        self.hypers = MappingProxyType({**hypers, **own})
        self.owns = frozenset().union(*(part.owns for part in self.parts))
        self.repairs = any(part.repairs for part in self.parts)
        exposed_as = {route: exposed for exposed, route in self.routes.items()}
        self.names = MappingProxyType({})
        for i, part in enumerate(self.parts):
            for pattern, given in part.names.items():
                outward = {exposed_as[i, name]: value for name, value in given.items()}
                self.names = MappingProxyType({**self.names, pattern: {**self.names.get(pattern, {}), **outward}})
        self._inward = tuple(
            tuple((exposed, name) for exposed, (j, name) in self.routes.items() if j == i)
            for i in range(len(self.parts))
        )

    @staticmethod
    def _stated(part: Rule) -> dict[str, Any]:
        """What a part says of learning rate and decay, by its declaration or its binding."""
        return {k: v for k, v in part.values().items() if k in part.template or k in _bound(part)}

    def inner(self, i: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of part i, under its own names."""
        given = {name: values[exposed] for exposed, name in self._inward[i]}
        return {**given, **{name: values[name] for name in TEMPLATE}}

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
        found |= {exposed: inner[i][name] for exposed, (i, name) in self.routes.items()}
        return found | dict(self.bound)

    @property
    def structure(self) -> tuple[Any, ...]:
        return (self.name, *(part.structure for part in self.parts))

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.name, self.parts, tuple(sorted(self.bound.items())))


def _bound(part: Rule) -> Mapping[str, Any]:
    return getattr(part, "bound", EMPTY)


def _labels(parts: Sequence[Rule]) -> list[str]:
    total = Counter(part.name for part in parts)
    return [f"{part.name}{i}" if total[part.name] > 1 else part.name for i, part in enumerate(parts)]


def _renamed(labels: Sequence[str], parts: Sequence[Rule], own: Sequence[Field] = ()) -> tuple[Field, ...]:
    count = Counter(f.name for f in own)
    count.update(f.name for part in parts for f in part.fields)
    inner = [
        f if count[f.name] == 1 else replace(f, name=f"{label}.{f.name}")
        for label, part in zip(labels, parts, strict=True)
        for f in part.fields
    ]
    return (*own, *inner)


class Chain(Composite):
    """Links applied in order at one leaf, each to the direction of the one before; all see the same p."""

    def __init__(self, parts: Sequence[Rule], bound: Mapping[str, Any] = EMPTY) -> None:
        self.parts = tuple(parts)
        self.bound = MappingProxyType(dict(bound))
        self.name = "chain"
        owners = [part.name for part in self.parts if "lr" in part.owns]
        if len(owners) > 1:
            raise ValueError(f"chain: {' and '.join(owners)} both own the learning rate; keep one of them")
        if any("p" in part.owns for part in self.parts[:-1]):
            raise ValueError(f"chain: {owners[0]} returns the new parameter, so it must be the last link")
        self.doc = "Each link's direction is the next link's gradient: " + ", ".join(p.name for p in self.parts)
        self.kind = "leafwise" if any(p.kind == "leafwise" for p in self.parts) else "elementwise"
        self.axes = any(part.axes for part in self.parts)
        self.ndim = next((part.ndim for part in self.parts if part.ndim), None)
        self.fields = _renamed(_labels(self.parts), self.parts)
        clips = [getattr(part, "family", None) == "clipping" for part in self.parts]
        self.lead = 0 if all(clips) else clips.index(False)
        self._expose()

    def run(self, xp: Namespace, p: Any, g: Any, s: Any, t: Any, values: Mapping[str, Any]) -> Law:
        new = []
        for i, part in enumerate(self.parts):
            if i == self.lead and "coupled" in values:  # put there by the template: decay is not clipped
                g = g + values["coupled"] * p
            g, state = yield from part.run(xp, p, g, s[i], t, self.inner(i, values))
            new.append(state)
        return g, tuple(new)

    def start(self, xp: Namespace, p: Any, values: Mapping[str, Any]) -> Any:
        return tuple(part.start(xp, p, self.inner(i, values)) for i, part in enumerate(self.parts))

    def unpack(self, state: Any) -> list[Any]:
        return [x for part, s in zip(self.parts, state, strict=True) for x in part.unpack(s)]

    def pack(self, arrays: Sequence[Any]) -> Any:
        packed, at = [], 0
        for part in self.parts:
            packed.append(part.pack(arrays[at : at + len(part.fields)]))
            at += len(part.fields)
        return tuple(packed)

    def __reduce__(self) -> tuple[Any, ...]:
        return Chain, (self.parts, dict(self.bound))

    def bind(self, **hyper: Any) -> Chain:
        return Chain(*self._rebound(hyper))

    def __repr__(self) -> str:
        own = "".join(f", {k}={v!r}" for k, v in self.bound.items())
        return f"chain({', '.join(map(repr, self.parts))}{own})"


def chain(*links: Rule) -> Rule:
    """Compose rules at the leaf: ``chain(clip_by_global_norm(max_norm=1.0), adam)``.

    Raises TypeError for a link that is no rule, ValueError when two links own the learning rate.
    """
    for link in links:
        if not isinstance(link, Rule):
            raise TypeError(f"chain: {link!r} is of type {type(link).__name__}; every link must be a rule")
    if not links:
        raise ValueError("chain: no link was given; give at least one rule")
    flat = [part for link in links for part in (link.parts if isinstance(link, Chain) and not link.bound else (link,))]
    return flat[0] if len(flat) == 1 else Chain(flat)


class Wrapped(NamedTuple):
    """The state of a combinator without memory of its own."""

    inner: Any


class Combined(Composite):
    """A combinator applied to rules: its law runs theirs."""

    def __init__(self, combinator: Combinator, parts: Sequence[Rule], bound: Mapping[str, Any] = EMPTY) -> None:
        self.combinator = combinator
        self.parts = tuple(parts)
        self.bound = MappingProxyType(dict(bound))
        self.name = combinator.name
        self.doc = combinator.doc
        for part in self.parts:
            if "p" in part.owns:
                raise ValueError(f"{self.name}: {part.name} returns the new parameter, not a direction to work on")
        leafwise = combinator.kind == "leafwise" or any(p.kind == "leafwise" for p in self.parts)
        self.kind = "leafwise" if leafwise else "elementwise"
        self.axes = combinator.axes or any(part.axes for part in self.parts)
        inner = None if combinator.initial else next((part.ndim for part in self.parts if part.ndim), None)
        self.ndim = combinator.ndim or inner
        self.fields = _renamed(_labels(self.parts), self.parts, combinator.fields)
        self._expose(combinator.hypers)
        for name, value in combinator.template.items():
            self.hypers = MappingProxyType({**self.hypers, name: replace(self.hypers[name], default=value)})
            self.template = {**self.template, name: value}
        for name in TEMPLATE.keys() & _bound(self.parts[0]).keys():  # what was bound within is not overruled
            value = self.parts[0].values()[name]
            self.hypers = MappingProxyType({**self.hypers, name: replace(self.hypers[name], default=value)})
        taken = combinator.owns & self.owns
        if taken and not combinator.steps:
            owner = next(part.name for part in self.parts if taken & part.owns)
            raise ValueError(
                f"{self.name}: {owner} owns {' and '.join(sorted(taken))}, which {self.name} applies itself"
            )
        self.owns = combinator.owns if combinator.steps else self.parts[0].owns | combinator.owns
        self.title = "".join(p.capitalize() for p in [*self.name.split("_"), *(q.name for q in self.parts)])

    def run(self, xp: Namespace, p: Any, g: Any, s: Any, t: Any, values: Mapping[str, Any]) -> Law:
        inner = [Inner(part, self.inner(i, values)) for i, part in enumerate(self.parts)]
        result = self.combinator.law(values, *inner, xp, p, g, s, t)
        if isinstance(result, GeneratorType):
            result = yield from result
        return result  # type: ignore[no-any-return]

    def start(self, xp: Namespace, p: Any, values: Mapping[str, Any]) -> Any:
        starts = [partial(_start, part, self.inner(i, values)) for i, part in enumerate(self.parts)]
        if self.combinator.initial:
            return self.combinator.initial(values, *starts, xp, p)
        own = [xp.zeros_like(p) for _ in self.combinator.fields]
        return self.combinator.State(*own, *(start(xp, p) for start in starts))

    def unpack(self, state: Any) -> list[Any]:
        n = len(self.combinator.fields)
        found = list(state[:n])
        for part, s in zip(self.parts, state[n:], strict=True):
            found += [None] * len(part.fields) if s is None else part.unpack(s)
        return found

    def pack(self, arrays: Sequence[Any]) -> Any:
        at = len(self.combinator.fields)
        packed: list[Any] = list(arrays[:at])
        for part in self.parts:
            mine = arrays[at : at + len(part.fields)]
            at += len(mine)
            packed.append(None if mine and all(x is None for x in mine) else part.pack(mine))
        return self.combinator.State(*packed)

    def __reduce__(self) -> tuple[Any, ...]:
        return Combined, (self.combinator, self.parts, dict(self.bound))

    def bind(self, **hyper: Any) -> Combined:
        return Combined(self.combinator, *self._rebound(hyper))

    def __repr__(self) -> str:
        own = "".join(f", {k}={v!r}" for k, v in self.bound.items())
        return f"{self.name}({', '.join(map(repr, self.parts))}{own})"


@dataclass(frozen=True)
class Inner:
    """A rule with its numbers, as a combinator's law runs it."""

    part: Rule
    values: Mapping[str, Any]

    def __call__(self, xp: Namespace, p: Any, g: Any, s: Any, t: Any) -> Law:
        """Run the law: gives its direction and its new state."""
        return self.part.run(xp, p, g, s, t, self.values)

    def step(self, xp: Namespace, p: Any, g: Any, s: Any, t: Any) -> Law:
        """Run the whole step with learning rate and decay: gives (new p, displacement) and the new state."""
        return leaf.update(self.part, xp, p, g, s, t, {**self.values, "maximize": False})


def _start(part: Rule, values: Mapping[str, Any], xp: Namespace, p: Any) -> Any:
    return part.start(xp, p, values)


class Combinator:
    """A rule that takes rules: ``cautious(adam)``; call it with as many as its law names."""

    def __init__(
        self,
        law: Callable[..., Any],
        State: type,
        kind: Literal["elementwise", "leafwise"],
        axes: bool,
        ndim: int | None,
        steps: bool,
        init: Callable[..., Any] | None,
        template: Mapping[str, Any],
    ) -> None:
        positional = [p.name for p in inspect.signature(law).parameters.values() if p.kind is not p.KEYWORD_ONLY]
        self.takes = tuple(positional[: positional.index("xp")])
        self.name = law.__name__
        self.doc = inspect.getdoc(law) or ""
        self.law = Part(law)
        self.State = State
        self.kind, self.axes, self.ndim, self.steps = kind, axes, ndim, steps
        self.initial = Part(init) if init else None
        self.fields = tuple(f for f in fields_of(State, law) if f.name not in self.takes)
        refuse_undrawn(self.name, self.fields, init)
        self.hypers = keywords_of(law, init)
        own = self.law.names
        self.owns = frozenset(k for k, n in (("lr", "lr"), ("decay", "weight_decay")) if n in own or steps)
        self.template = {**template, **({"lr": self.hypers["lr"].default} if "lr" in own else {})}
        if State._fields[len(self.fields) :] != self.takes:  # type: ignore[attr-defined]
            raise TypeError(f"{self.name}: the state must end in one field for each inner rule: {self.takes}")

    def __call__(self, *rules: Rule, **hyper: Any) -> Combined:
        for each in rules:
            if not isinstance(each, Rule):
                raise TypeError(f"{self.name}: {each!r} is of type {type(each).__name__}; give a rule, as in {self}")
        if len(rules) != len(self.takes):
            raise TypeError(f"{self.name}: {len(rules)} rules were given; it takes {len(self.takes)}, as in {self}")
        return Combined(self, rules).bind(**hyper)

    def __reduce__(self) -> tuple[Any, ...]:
        return _combinator, (self.law.fn.__module__, self.name)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(self.takes)})"


def _combinator(module: str, name: str) -> Combinator:
    """The combinator that stands in a module under its name: what a pickle keeps."""
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def combinator(
    State: type = Wrapped,
    *,
    kind: Literal["elementwise", "leafwise"] = "elementwise",
    axes: bool = False,
    ndim: int | None = None,
    steps: bool = False,
    init: Callable[..., Any] | None = None,
    lr: float | None = None,
    decay: DecayPlace | None = None,
) -> Callable[[Callable[..., Any]], Combinator]:
    """Turn a law ``(inner, xp, p, g, s, t, *, hyper...)`` that runs other laws into a combinator.

    Each leading parameter before ``xp`` is an inner law with its numbers bound, run by
    ``d, state = yield from inner(xp, p, g, s.inner, t)``; the state's last fields are theirs. A law that takes
    ``lr`` or ``weight_decay`` owns them, as a rule's does; ``lr`` and ``decay`` are defaults in place of the
    first inner rule's. With ``steps`` it runs whole steps of the inner rules instead, learning rate and decay applied
    by them: ``(new, step), state = yield from inner.step(xp, p, g, s.inner, t)``, and gives what to subtract from p.
    """
    stated = {k: v for k, v in (("lr", lr), ("decay", decay)) if v is not None}
    return lambda law: Combinator(law, State, kind, axes, ndim, steps, init, stated)
