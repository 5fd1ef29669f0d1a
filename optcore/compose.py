"""Rules made of rules: a chain gives each link the direction of the one before, a combinator runs other rules."""

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
from optcore.composite import Composite, labels
from optcore.described import Described, positional
from optcore.hyper import keywords_of
from optcore.parts import Field, Part, fields_of, refuse_undrawn
from optcore.rule import EMPTY, RESERVED, TEMPLATE, DecayPlace, Law, Rule
from optcore.typing import Namespace

__all__ = ["Chain", "Combinator", "Combined", "Inner", "Wrapped", "chain", "combinator"]


def _renamed(names: Sequence[str], parts: Sequence[Rule], own: Sequence[Field] = ()) -> tuple[Field, ...]:
    count = Counter(f.name for f in own)
    count.update(f.name for part in parts for f in part.fields)
    inner = [
        f if count[f.name] == 1 else replace(f, name=f"{name}.{f.name}")
        for name, part in zip(names, parts, strict=True)
        for f in part.fields
    ]
    return (*own, *inner)


class Chain(Composite):
    """A rule made of links, applied in order at one leaf: each takes the direction of the one before as its gradient.

    All links see the same parameter p. ``lead`` is the number of links after which a coupled decay is added to the
    gradient; None stands for the number of clipping laws with which the chain begins, so that they do not clip it.
    """

    def __init__(self, parts: Sequence[Rule], bound: Mapping[str, Any] = EMPTY, lead: int | None = None) -> None:
        self.parts = tuple(parts)
        self.bound = MappingProxyType(dict(bound))
        self.name = "chain"
        owners = [part.name for part in self.parts if "lr" in part.owns]
        if len(owners) > 1:
            raise ValueError(f"chain: {' and '.join(owners)} both own the learning rate; keep one of them")
        if any("p" in part.owns for part in self.parts[:-1]):
            raise ValueError(f"chain: {owners[0]} returns the new parameter, so it must be the last link")
        self._refuse_unheard()
        self.doc = "Each link's direction is the next link's gradient: " + ", ".join(p.name for p in self.parts)
        self.kind = "leafwise" if any(p.kind == "leafwise" for p in self.parts) else "elementwise"
        self.axes = any(part.axes for part in self.parts)
        self.ndim = next((part.ndim for part in self.parts if part.ndim), None)
        self.fields = _renamed(labels(self.parts), self.parts)
        clips = [getattr(part, "clips", False) for part in self.parts]
        natural = 0 if all(clips) else clips.index(False)
        self.lead = natural if lead is None else lead
        self.led = None if self.lead == natural else self.lead  #: the lead if it was given, None for the chain's own
        self._expose()

    def _refuse_unheard(self) -> None:
        """Raise ValueError for a number that would have no effect.

        A chain has one learning rate, one weight decay and one place where the decay enters.
        """
        owner = next((part for part in self.parts if "lr" in part.owns), None)
        for name in TEMPLATE:
            saying = [part for part in self.parts if name in part.said]
            if len({part.said[name] for part in saying}) > 1:
                each = " and ".join(f"{part.name} {name}={part.said[name]!r}" for part in saying)
                raise ValueError(f"chain: a chain has one {name}, and {each} were given; give one of them to the chain")
            if name == "lr" and owner and saying and owner not in saying:
                raise ValueError(
                    f"chain: lr={saying[0].said['lr']!r} of {saying[0].name} has no effect, since {owner.name} owns "
                    "the learning rate; give it to the chain"
                )

    def _ordered(self) -> Sequence[Rule]:
        return self.parts

    def _owner(self) -> Mapping[str, Rule]:
        owner: dict[str, Rule] = {}
        owner.update(("lr", part) for part in self.parts if "lr" in part.owns)  # at most one link owns it
        return owner

    def _within(self) -> Mapping[str, Any]:
        return {name: value for part in self.parts for name, value in part.said.items()}

    def run(self, xp: Namespace, p: Any, g: Any, s: Any, t: Any, values: Mapping[str, Any]) -> Law:
        new = []
        for i, part in enumerate(self.parts):
            if i == self.lead and "coupled" in values:  # the template has put it there, since clips come before it
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
        return Chain, (self.parts, dict(self.bound), self.led)

    @property
    def key(self) -> tuple[Any, ...]:
        return (*super().key, self.led)

    def bind(self, **hyper: Any) -> Chain:
        return Chain(*self._rebound(hyper), self.led)

    def __repr__(self) -> str:
        own = "".join(f", {k}={v!r}" for k, v in self.bound.items())
        return f"chain({', '.join(map(repr, self.parts))}{own})"


def chain(*links: Rule) -> Rule:
    """Compose rules at the leaf, as in ``chain(clip_by_global_norm(max_norm=1.0), adam)``.

    Raises TypeError for a link that is no rule, and ValueError if two links own the learning rate.
    """
    for link in links:
        if not isinstance(link, Rule):
            raise TypeError(f"chain: {link!r} is of type {type(link).__name__}; every link must be a rule")
    if not links:
        raise ValueError("chain: no link was given; give at least one rule")
    flat = [part for link in links for part in (link.parts if isinstance(link, Chain) and not link.bound else (link,))]
    return flat[0] if len(flat) == 1 else Chain(flat)


class Wrapped(NamedTuple):
    """The state of a combinator that has none of its own: only that of its inner rule."""

    inner: Any


class Combined(Composite):
    """A combinator applied to rules, such as ``cautious(adam)``: a rule whose law runs the laws of its parts."""

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
        apart = combinator.steps and len(self.parts) > 1  # such a combinator gives each leaf to one of its rules
        inner = None if apart else next((part.ndim for part in self.parts if part.ndim), None)
        self.ndim = combinator.ndim or inner
        self.fields = _renamed(labels(self.parts), self.parts, combinator.fields)
        self.apart = apart
        for part in self.parts[1:]:
            for name in part.said if not self.apart else {"maximize"} & part.said.keys():
                raise ValueError(
                    f"{self.name}: {name}={part.said[name]!r} of {part.name} has no effect, since {self.name} has one "
                    f"{name} for all its rules; give it to {self.name}"
                )
        self._expose(combinator.hypers, combinator.template)
        taken = combinator.owns & self.owns
        if taken and not combinator.steps:
            owner = next(part.name for part in self.parts if taken & part.owns)
            raise ValueError(
                f"{self.name}: {owner} owns {' and '.join(sorted(taken))}, which {self.name} applies itself"
            )
        self.owns = combinator.owns if combinator.steps else self.parts[0].owns | combinator.owns
        self.title = "".join(p.capitalize() for p in [*self.name.split("_"), *(q.name for q in self.parts)])

    def written(self) -> Callable[..., Any] | None:
        return self.combinator.written()

    @property
    def misplaced(self) -> tuple[str, Any] | None:
        if not self.combinator.steps:
            return super().misplaced
        found = [part.misplaced for part in self.parts]
        if "decay" in self.bound and all("decay" in part.owns for part in self.parts):
            return self.parts[0].name, self.bound["decay"]
        return next((each for each in found if each), None)

    def run(self, xp: Namespace, p: Any, g: Any, s: Any, t: Any, values: Mapping[str, Any]) -> Law:
        inner = [Inner(part, self.inner(i, values)) for i, part in enumerate(self.parts)]
        result = self.combinator.law(values, *inner, xp, p, g, s, t)
        if isinstance(result, GeneratorType):
            result = yield from result
        return result

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
    """An inner rule with its numbers, in the form in which a combinator's law runs it."""

    part: Rule
    values: Mapping[str, Any]

    def __call__(self, xp: Namespace, p: Any, g: Any, s: Any, t: Any) -> Law:
        """Run the inner rule's law; the result is its direction and its new state."""
        return self.part.run(xp, p, g, s, t, self.values)

    def step(self, xp: Namespace, p: Any, g: Any, s: Any, t: Any) -> Law:
        """Run the inner rule's whole step with its learning rate and decay.

        The result is ``((new p, displacement), new state)``.
        """
        return leaf.update(self.part, xp, p, g, s, t, {**self.values, "maximize": False})


def _start(part: Rule, values: Mapping[str, Any], xp: Namespace, p: Any) -> Any:
    return part.start(xp, p, values)


class Combinator(Described):
    """A function from rules to a rule, as in ``cautious(adam)``; it takes as many rules as its law has inner laws."""

    species = "combinator"
    call = "Gives the rule around those given, with the keywords bound; the keywords of those given are its own too."

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
        for taken in RESERVED & set(self.hypers):
            raise TypeError(f"{self.name}: {taken} is a word of recipes; give the hyper-parameter another name")
        own = self.law.names
        self.owns = frozenset(k for k, n in (("lr", "lr"), ("decay", "weight_decay")) if n in own or steps)
        stated = {name: self.hypers[name].default for name in ("lr", "weight_decay") if name in own}
        self.template = stated | dict(template)
        if State._fields[len(self.fields) :] != self.takes:  # type: ignore[attr-defined]
            raise TypeError(f"{self.name}: the state must end in one field for each inner rule: {self.takes}")

    def __call__(self, *rules: Rule, **hyper: Any) -> Combined:
        for each in rules:
            if not isinstance(each, Rule):
                raise TypeError(f"{self.name}: {each!r} is of type {type(each).__name__}; give a rule, as in {self}")
        if len(rules) != len(self.takes):
            raise TypeError(f"{self.name}: {len(rules)} rules were given; it takes {len(self.takes)}, as in {self}")
        return Combined(self, rules).bind(**hyper)

    def arrays(self) -> list[inspect.Parameter]:
        return positional(*self.takes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _combinator, (self.law.fn.__module__, self.name)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(self.takes)})"


def _combinator(module: str, name: str) -> Combinator:
    """Return the combinator of this name from its module; a pickle stores these two names instead of the object."""
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

    Each parameter before ``xp`` is an inner law with its numbers bound. It is run by
    ``d, state = yield from inner(xp, p, g, s.inner, t)``, and its state is one of the last fields of the combinator's.
    A law that takes ``lr`` or ``weight_decay`` owns them, as a rule's does. The arguments ``lr`` and ``decay`` here are
    defaults that replace those of the first inner rule. With ``steps`` the law runs whole steps of the inner rules,
    which apply their own learning rate and decay: ``(new, step), state = yield from inner.step(xp, p, g, s.inner, t)``.
    It then returns the displacement to be subtracted from p.
    """
    stated = {k: v for k, v in (("lr", lr), ("decay", decay)) if v is not None}
    return lambda law: Combinator(law, State, kind, axes, ndim, steps, init, stated)
