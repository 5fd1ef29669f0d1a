"""The one concept: a rule maps a gradient to a direction on one array.

A law is written as the paper's equations and decorated with :func:`rule`. Everything else (eager
and compiled execution, native optimizer objects, documentation, proofs) is derived from it.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import GeneratorType, MappingProxyType
from typing import Any, Literal, TypeAlias

from optcore import registry
from optcore.described import Described, positional
from optcore.hyper import REQUIRED, Hyper, check_all, keywords_of, unknown
from optcore.parts import Field, NoState, Part, Refresh, fields_of, refuse_positional, refuse_undrawn
from optcore.requests import Due, Law
from optcore.running import runner
from optcore.typing import Namespace, NonNegative

__all__ = ["Conventions", "DecayPlace", "Field", "Law", "NoState", "Primitive", "Refresh", "Rule", "rule"]

DecayPlace: TypeAlias = Literal["coupled", "with", "before", "after", "proximal"]
Owned: TypeAlias = Literal["lr", "decay", "p"]
Conventions: TypeAlias = Mapping[str, Mapping[str, Any]]
"""For each library the numbers and switches with which a rule meets it."""
Names: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Switches of leaves by regular expressions on their paths."""
EMPTY: Mapping[str, Any] = MappingProxyType({})


def _template(
    *, lr: NonNegative = 1.0, weight_decay: NonNegative = 0.0, decay: DecayPlace = "with", maximize: bool = False
) -> None:
    """The keywords of the leaf template, which applies learning rate and decay around every rule."""


TEMPLATE = keywords_of(_template)
RESERVED = {
    "rule", "clip", "no_decay", "freeze", "leaves", "lr_factor", "accumulate", "average", "on_nonfinite",
    "state_dtype", "rounding", "seed", "name", "of", "chain", "lead", "like",
}  # fmt: skip
"""The options of a recipe and the words of its JSON text, which has hyper-parameters beside them."""


class Rule(Described, ABC):
    """A law with bound hyper-parameters; immutable, compared by value.

    Called with keywords only it binds them; called with arrays it takes one step::

        s = optcore.lion.init(p)
        p, s = optcore.lion(p, g, s, t=1, lr=1e-4, weight_decay=0.1)
    """

    name: str
    doc: str
    owns: frozenset[str]
    kind: Literal["elementwise", "leafwise"]
    axes: bool
    ndim: int | None
    repairs: bool
    fields: tuple[Field, ...]
    hypers: Mapping[str, Hyper]
    template: Mapping[str, Any]
    bound: Mapping[str, Any]
    names: Names = EMPTY
    """Switches of leaves by regular expressions on their paths, of several the last one's."""

    species = "rule"
    call = "One step: gives the new parameter and the new state. With keywords alone: gives the rule with them bound."

    # What differs between a law, a chain and a combinator.

    @abstractmethod
    def run(self, xp: Namespace, p: Any, g: Any, s: Any, t: Any, values: Mapping[str, Any]) -> Law:
        """Start the law on one leaf; ``values`` holds a number for every name in ``hypers``."""

    lead: int = 0
    """The number of clipping laws that a chain begins with; a coupled decay joins the gradient after them."""

    @abstractmethod
    def start(self, xp: Namespace, p: Any, values: Mapping[str, Any]) -> Any:
        """The state before the first step, made from ``zeros_like`` and functions of p only."""

    @abstractmethod
    def unpack(self, state: Any) -> list[Any]:
        """The state's arrays in the order of ``fields``; None where this leaf has no such array."""

    @abstractmethod
    def pack(self, arrays: Sequence[Any]) -> Any:
        """The inverse of :meth:`unpack`."""

    @abstractmethod
    def bind(self, **hyper: Any) -> Rule:
        """The same rule with these hyper-parameters; raises for unknown names and bad values."""

    @abstractmethod
    def values(self) -> dict[str, Any]:
        """Every hyper-parameter with its bound value or default."""

    @property
    @abstractmethod
    def structure(self) -> tuple[Any, ...]:
        """The laws without their numbers: leaves of rules of one structure run in one pass."""

    @property
    @abstractmethod
    def key(self) -> tuple[Any, ...]:
        """The value by which rules are compared; it can be hashed if the bound values can."""

    # What all have in common.

    @property
    def said(self) -> Mapping[str, Any]:
        """The learning rate, decay, place and direction that were bound, here or within, and act."""
        return {name: value for name, value in self.bound.items() if name in TEMPLATE}

    @property
    def rates(self) -> tuple[str, ...]:
        """The names of learning rates that some of its rules have for themselves, beside the whole's ``lr``."""
        return ()

    @property
    def misplaced(self) -> tuple[str, Any] | None:
        """A rule that puts its decay where its own law has it, and the place that was bound in vain; None else."""
        return (self.name, self.said["decay"]) if "decay" in self.owns and "decay" in self.said else None

    def __call__(self, *arrays: Any, t: Any = None, **hyper: Any) -> Any:
        bound = self.bind(**hyper)
        if not arrays:
            return bound
        if len(arrays) != 3 or t is None:
            raise TypeError(f"{self.name}: give p, g, s and t=, as in {self.name}(p, g, s, t=1, lr=0.1)")
        return runner().step(bound, *arrays, t)

    def init(self, p: Any) -> Any:
        """The state for parameter ``p`` before its first step."""
        return runner().init(self, p)

    def complete(self) -> dict[str, Any]:
        """:meth:`values`, after a check that every hyper-parameter without a default is given."""
        values = self.values()
        for name, value in values.items():
            if value is REQUIRED:
                raise TypeError(f"{self.name}: {name} has no default; give {self.hypers[name].range}")
        if found := self.misplaced:
            raise ValueError(
                f"{self.name}: decay={found[1]!r} has no effect, since {found[0]} puts its decay where its own law has "
                "it; leave decay out"
            )
        return values

    def arrays(self) -> list[inspect.Parameter]:
        return [*positional("p", "g", "s"), inspect.Parameter("t", inspect.Parameter.KEYWORD_ONLY)]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __deepcopy__(self, memo: Any) -> Rule:
        return self


def _named(module: str, name: str, bound: Mapping[str, Any]) -> Primitive:
    """The rule of a name, bound: what a pickle keeps. A rule of one's own is found in the module of its law."""
    found = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, Primitive):
        found = registry.find(name)  # one that was registered and stands in no module
    return found.bind(**bound)


@dataclass(frozen=True, eq=False, repr=False)
class Primitive(Rule):
    """A rule that is one law."""

    name: str
    module: str  #: where it stands under its name, for pickle
    title: str
    family: str
    doc: str
    State: type
    owns: frozenset[str]
    kind: Literal["elementwise", "leafwise"]
    axes: bool
    ndim: int | None
    repairs: bool
    clips: bool
    law: Part
    initial: Part | None
    refresh: Refresh | None
    refreshers: tuple[Part, ...]
    fields: tuple[Field, ...]
    hypers: Mapping[str, Hyper]
    template: Mapping[str, Any]
    conventions: Conventions
    names: Names = field(default_factory=lambda: EMPTY)
    bound: Mapping[str, Any] = field(default_factory=lambda: EMPTY)

    def run(self, xp: Namespace, p: Any, g: Any, s: Any, t: Any, values: Mapping[str, Any]) -> Law:
        if self.refresh:
            first, later = self.refreshers
            since = t - self.refresh.at
            s = yield Due(since == 0, lambda s: first(values, xp, p, g, s, t), s)
            due = (since > 0) & (since % values[self.refresh.every] == 0)
            s = yield Due(due, lambda s: later(values, xp, p, g, s, t), s)
        result = self.law(values, xp, p, g, s, t)
        if isinstance(result, GeneratorType):
            result = yield from result
        return result

    def start(self, xp: Namespace, p: Any, values: Mapping[str, Any]) -> Any:
        if self.initial:
            return self.initial(values, xp, p)
        zero = xp.zeros_like(p)
        return self.State(*(xp.sum(zero) if f.shared else xp.zeros_like(p) for f in self.fields))

    def unpack(self, state: Any) -> list[Any]:
        own = tuple(f.name for f in self.fields)
        if len(state) != len(own) or getattr(state, "_fields", own) != own:
            raise TypeError(
                f"{self.name}: a state of type {type(state).__name__} was made by another rule; "
                f"give {self.name}.init(p)"
            )
        return list(state)

    def pack(self, arrays: Sequence[Any]) -> Any:
        return self.State(*arrays)

    def bind(self, *, like: str | None = None, **hyper: Any) -> Primitive:
        if like is not None and like not in self.conventions:
            raise ValueError(unknown(self.name, "convention like=", like, self.conventions))
        convention = self.conventions[like] if like else {}
        checked = check_all(self.name, self.hypers, {**convention, **self.bound, **hyper})
        return replace(self, bound=MappingProxyType(checked))

    def variant(self, name: str, doc: str, *, title: str | None = None, **defaults: Any) -> Primitive:
        """The same law under another name, with other defaults: AdamW is Adam with a decay."""
        checked = check_all(name, self.hypers, defaults)
        hypers = {k: replace(h, default=checked.get(k, h.default)) for k, h in self.hypers.items()}
        template = {**self.template, **{k: checked[k] for k in TEMPLATE if k in checked}}
        conventions = {
            k: {n: d for n, d in {**v, **checked}.items() if n not in TEMPLATE} for k, v in self.conventions.items()
        }
        return replace(
            self,
            name=name,
            module=sys._getframe(1).f_globals.get("__name__", self.module),
            title=title or _title(name),
            doc=doc,
            hypers=MappingProxyType(hypers),
            template=template,
            conventions=conventions,
        )

    def values(self) -> dict[str, Any]:
        return {**{name: h.default for name, h in self.hypers.items()}, **self.bound}

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (self.module, self.name, dict(self.bound))

    @property
    def structure(self) -> tuple[Any, ...]:
        return (self.law.fn,)

    @property
    def key(self) -> tuple[Any, ...]:
        return (self.name, self.law.fn, tuple(sorted(self.bound.items())))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.bound.items())})"


def rule(
    State: type = NoState,
    *,
    owns: Owned | None = None,
    kind: Literal["elementwise", "leafwise"] = "elementwise",
    axes: bool = False,
    ndim: int | None = None,
    repairs: bool = False,
    clips: bool = False,
    init: Callable[..., Any] | None = None,
    refresh: Refresh | tuple[Callable[..., Any], str] | None = None,
    lr: float | None = None,
    decay: DecayPlace | None = None,
    like: Conventions = EMPTY,
    names: Names = EMPTY,
    title: str | None = None,
    family: str | None = None,
) -> Callable[[Callable[..., Any]], Primitive]:
    """Turn a law ``(xp, p, g, s, t, *, hyper...) -> (d, s)`` into a rule.

    Parameters
    ----------
    State
        NamedTuple of arrays. A field's ``#:`` comment gives its meaning and ``unit [g^2]``; a field
        annotated ``Shared`` is one value for the whole tree, one annotated ``Noise`` fresh normal numbers,
        one annotated ``Drawn`` normal numbers at the start, of the deviation that ``init`` gives.
    owns
        What d contains beyond a direction: ``"lr"`` makes d the displacement, ``"decay"`` puts the decay
        into it (and the learning rate, where the law takes ``lr``), ``"p"`` makes d the new parameter.
    kind
        ``"elementwise"`` laws may run on any partition of memory; ``"leafwise"`` ones need the whole array.
    axes
        Whether the law tells axes apart (rows, columns, matrices); norms of the whole leaf do not.
    ndim
        The number of axes a leaf must have, where the law takes only such; other leaves are refused.
    repairs
        Whether the source's law goes on from a NaN in the gradient; all others let it reach the parameter.
    clips
        Whether the law conditions a gradient on its way to a rule, as clipping does: what comes out is a gradient
        still. A coupled decay joins behind such laws at the head of a chain, and optax has a link of them.
    init
        ``init(xp, p, *, hyper...) -> State``; by default every field starts at zero.
    refresh
        :class:`Refresh`, or ``(fn, "interval")`` for work that is due at t = 1, 1 + interval, ...
    lr, decay
        The source's default learning rate, and where decay enters by default.
    like
        The numbers and switches with which another library is met: ``{"keras": {"epsilon": 1e-7}}``.
    names
        Switches of the law for leaves whose path a regular expression finds: ``{"bias$": {"use": "offset"}}``, of
        several the last one's. They stand in for a default alone: what is bound to something else, or given by a
        recipe's ``leaves``, wins. A leaf without a name has the default.
    title
        The class name in PyTorch and Keras, where it is not the name in CamelCase.
    family
        What kind of law it is, for the catalogue alone: it changes no number.

    """
    if isinstance(refresh, tuple):
        refresh = Refresh(*refresh)

    def decorate(law: Callable[..., Any]) -> Primitive:
        refuse_positional(law)
        functions = [law, init, *((refresh.fn, refresh.first) if refresh else ())]
        hypers = {**TEMPLATE, **keywords_of(*functions)}
        template = {k: v for k, v in (("lr", lr), ("decay", decay)) if v is not None}
        hypers |= {k: replace(hypers[k], default=v) for k, v in template.items()}
        template |= {k: hypers[k].default for k in ("lr", "weight_decay") if k in keywords_of(law)}
        name = law.__name__
        own = keywords_of(law)
        for taken in RESERVED & set(hypers):
            raise TypeError(f"{name}: {taken} is a word of recipes; give the hyper-parameter another name")
        owned = {"lr": "lr" in own or owns == "p", "decay": "weight_decay" in own, "p": owns == "p"}
        said = {None: (), "lr": ("lr",), "decay": ("decay",), "p": ("lr", "p")}[owns]
        if any(owned[part] is not (part in said) for part in owned if not (part == "lr" and owns == "decay")):
            takes = " and ".join(k for k in ("lr", "weight_decay") if k in own) or "neither lr nor weight_decay"
            raise TypeError(f"{name}: owns={owns!r} but the law takes {takes}; a law takes what it owns")
        for library, convention in like.items():
            check_all(f"{name}(like={library!r})", hypers, convention)
        for pattern, given in names.items():
            re.compile(pattern)
            check_all(
                f"{name}(names={pattern!r})", {k: h for k, h in hypers.items() if k not in TEMPLATE and h.static}, given
            )
        fields = fields_of(State, law)
        refuse_undrawn(name, fields, init)
        if owns == "p" and decay is None:
            template["decay"] = "before"
            hypers["decay"] = replace(hypers["decay"], default="before")
        return Primitive(
            name=name,
            module=law.__module__,
            title=title or _title(name),
            family=family or ("clipping" if clips else "own"),
            doc=inspect.getdoc(law) or "",
            State=State,
            owns=frozenset(part for part, mine in owned.items() if mine),
            kind=kind,
            axes=axes,
            ndim=ndim,
            repairs=repairs,
            clips=clips,
            law=Part(law),
            initial=Part(init) if init else None,
            refresh=refresh,
            refreshers=(Part(refresh.first or refresh.fn), Part(refresh.fn)) if refresh else (),
            fields=fields,
            hypers=MappingProxyType(hypers),
            template=template,
            conventions=like,
            names=MappingProxyType(dict(names)),
        )

    return decorate


def _title(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
