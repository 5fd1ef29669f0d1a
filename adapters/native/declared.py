"""The form in which a constructor is declared: the library's signature, with what its words stand for beside them.

A signature is written as Python writes one. Where Python has a type, it has the hyper-parameter of ours that the word
stands for: ``lr=1.0, rho: beta = 0.9`` says that torch calls our ``beta`` by the name ``rho``.

- ``betas: (beta1, beta2)`` is one word for a pair of numbers,
- ``l2_regularization_strength: l2 / 2`` says that the word's number is half of ours, ``-exponent`` that it is its
  negative,
- ``learning_rate: lr or 1.0`` says what None stands for,
- ``mu_dtype: dtype[m]`` is the dtype in which a field of the state is kept, ``mask`` the choice of decayed leaves,
  ``estimator`` an estimator of the Hessian, and ``decoupled`` whether the decay stays out of the law.

A word without such a note has the meaning that its :class:`Dialect` gives it, or is our name too.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from optcore.adapters.native.numbers import times
from optcore.recipe import Recipe
from optcore.rule import TEMPLATE, Rule
from optcore.slots import Slot, slots_of

__all__ = ["Constructor", "Dialect", "Meaning", "Native", "Signature", "maker"]


@dataclass(frozen=True)
class Native:
    """A recipe, and what a library calls the parts of it.

    ``state`` maps our fields to the library's names; ``of_leaf(path, shape, dtype)`` gives numbers that
    differ from leaf to leaf; ``mask`` is the caller's choice of decayed leaves, in the library's form;
    ``dtypes`` names fields that are kept in a dtype of their own; ``blocks`` is the order in which Keras makes
    variables, which is its file format: block after block, in each the fields of one parameter together; ``sparse``
    says that a gradient may be sparse, which the law sees with zeros for what it does not store; ``link`` that it
    changes gradients on their way to a rule, so that optax has the direction for its update, and not a descent;
    ``estimator`` is the caller's estimator of the Hessian, in the library's form.
    """

    recipe: Recipe
    state: Mapping[str, str] = field(default_factory=dict)
    of_leaf: Callable[[str, tuple[int, ...], str], Mapping[str, Any]] | None = None
    mask: Any = None
    dtypes: Mapping[str, Any] = field(default_factory=dict)
    blocks: tuple[tuple[str, ...], ...] | None = None
    sparse: bool = False
    link: bool = False
    estimator: Any = None

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The arrays of the state, with the library's names."""
        return slots_of(self.recipe.rule, self.state)

    def numbers_of(self, path: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        """The numbers that the library's constructor gives a leaf for itself; those of the recipe come after."""
        return dict(self.of_leaf(path, shape, dtype)) if self.of_leaf else {}


class Meaning(NamedTuple):
    """The meaning of a library's word: numbers of ours, or an entry that its adapter reads beside the recipe."""

    names: tuple[str, ...]
    factor: float = 1.0  #: our number is the word's times this
    absent: Any = None  #: our number where the word is None
    of: str = "law"  #: "law" for a number of the rule or recipe, a field of Native, or "run"

    def read(self, word: str, value: Any) -> Iterable[tuple[str, Any]]:
        """Our numbers in a value of the word."""
        if len(self.names) > 1:
            if len(value) != len(self.names):
                raise ValueError(f"{word}={value!r} has {len(value)} members; give {len(self.names)}")
            return zip(self.names, value, strict=True)
        value = self.absent if value is None else value
        return [(self.names[0], value if self.factor == 1.0 else times(self.factor, value))]


@dataclass(frozen=True)
class Constructor:
    """A library's constructor: its parameters with defaults, what they stand for, and the recipe they make."""

    name: str
    doc: str
    parameters: tuple[inspect.Parameter, ...]
    make: Callable[..., Native]
    meanings: Mapping[str, Meaning] = field(default_factory=dict, compare=False)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        return {p.name: p.default for p in self.parameters}

    def build(self, **given: Any) -> Native:
        """The recipe of these arguments; TypeError for one that is unknown or missing."""
        values = {**self.defaults, **given}
        if len(values) != len(self.defaults) or any(v is inspect.Parameter.empty for v in values.values()):
            try:
                inspect.Signature(self.parameters).bind(**given)
            except TypeError as error:
                raise TypeError(f"{self.name}: {error}") from None
        return self.make(**values)


def maker(
    law: Callable[..., Any], meanings: Mapping[str, Meaning], place: str | None = None, **fields: Any
) -> Callable[..., Native]:
    """A function from the values of a library's words to a recipe.

    The law is a rule, or a function of the words that it decides on and of all other hyper-parameters by our names.
    It returns a rule, or a Native where it decides on more than that.
    """
    decides = () if isinstance(law, Rule) else tuple(w for w in inspect.signature(law).parameters if w in meanings)
    acting = [(w, m) for w, m in meanings.items() if w not in decides or RECIPE & set(m.names)]
    fixed = fields.pop("options", {})

    def make(**values: Any) -> Native:
        numbers, options, beside = {w: values[w] for w in decides}, dict(fixed), {}
        for word, meaning in acting:
            if meaning.of == "law":
                for name, number in meaning.read(word, values[word]):
                    (options if name in RECIPE else numbers)[name] = number
            elif meaning.of != "run":
                value = values[word]
                beside[meaning.of] = dict.fromkeys(meaning.names, value) if meaning.names else value
        found = law(**numbers)
        rule = found.recipe.rule if isinstance(found, Native) else found
        decay = "before" if options.pop("decoupled", False) else place
        if decay and "decay" not in rule.owns:
            options["decay"] = decay
        if isinstance(found, Native):
            return replace(found, recipe=found.recipe.replace(**options), **beside)
        return Native(Recipe(rule, **options), **fields, **beside)

    return make


RECIPE = {*TEMPLATE, "layout", "decoupled"}
"""Meanings that reach the recipe, whether the law decides on them or not."""
FIRST, KEYWORD = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class Signature:
    """A library's signature, with what its words stand for; it becomes a constructor with its law."""

    dialect: Dialect
    parameters: tuple[inspect.Parameter, ...]
    meanings: Mapping[str, Meaning]

    def of(
        self, law: Callable[..., Any], doc: str, state: Mapping[str, str] | None = None, *,
        decay: str | None = None, refuse: Callable[[Mapping[str, Any]], None] | None = None,
        unsupported: Mapping[str, str] | None = None, **fields: Any,
    ) -> Constructor:  # fmt: skip
        """The constructor of a law: its fields under the library's names, and other fields of :class:`Native`.

        ``unsupported`` words have their default alone, and a text for who gives them another value.
        """
        unsupported, defaults = unsupported or {}, {p.name: p.default for p in self.parameters}
        meanings = {word: Meaning((), of="run") if word in unsupported else m for word, m in self.meanings.items()}
        mine, refuse = self.dialect, refuse or self.dialect.refuse
        place = decay or (mine.decay if any(m.names == ("weight_decay",) for m in self.meanings.values()) else None)
        fields = {"state": mine.state if state is None else state, **fields}
        options = {"state_dtype": "param", **({"lr": 1.0} if fields.get("link") else {})}
        make = maker(law, meanings, place, options=options, **fields)

        def checked(**values: Any) -> Native:
            refuse(values)
            for word, text in unsupported.items():
                if values[word] is not defaults[word]:
                    raise NotImplementedError(text)
            return make(**values)

        return Constructor("", doc, self.parameters, checked, meanings)

    def law(
        self, state: Mapping[str, str] | None = None, **options: Any
    ) -> Callable[[Callable[..., Any]], Constructor]:
        """Decorate a function that decides on the law, and whose docstring is the constructor's."""
        return lambda law: self.of(law, inspect.getdoc(law) or "", state, **options)


class Dialect:
    """The words of a library, unless a signature has others; called with a signature, it reads that.

    Parameters
    ----------
    words
        The library's words for numbers that we call by another name, in the form of a signature.
    state
        The library's names for the fields of most states.
    run
        Words that say how to run, not what to compute.
    decay
        Where the decay enters in most of its constructors.
    refuse
        What the library refuses, in its own texts.

    """

    def __init__(
        self, words: str, state: Mapping[str, str], *, run: tuple[str, ...] = (), decay: str | None = None,
        refuse: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.state, self.run, self.decay, self.refuse = state, run, decay, refuse
        self.meanings: Mapping[str, Meaning] = {}
        self.meanings = self(words).meanings

    def __call__(self, text: str, **known: Any) -> Signature:
        """The signature in a text; ``known`` are defaults that it has by name."""
        function = ast.parse(f"def _({text}): ...").body[0]
        assert isinstance(function, ast.FunctionDef)
        a = function.args
        defaults: list[ast.expr | None] = [*[None] * (len(a.args) - len(a.defaults)), *a.defaults, *a.kw_defaults]
        parameters, meanings = [], {}
        for arg, x in zip([*a.args, *a.kwonlyargs], defaults, strict=True):
            default = inspect.Parameter.empty if x is None else known.get(ast.unparse(x), x)
            default = ast.literal_eval(default) if isinstance(default, ast.expr) else default
            parameters.append(inspect.Parameter(arg.arg, FIRST if arg in a.args else KEYWORD, default=default))
            if arg.annotation is None and arg.arg in self.meanings:
                meanings[arg.arg] = self.meanings[arg.arg]
            elif arg.arg in self.run:
                meanings[arg.arg] = Meaning((), of="run")
            else:
                meanings[arg.arg] = _meaning(arg.annotation or ast.Name(arg.arg))
        return Signature(self, tuple(parameters), meanings)


def _meaning(note: ast.expr) -> Meaning:
    """Return the meaning that the annotation of a word gives it."""
    match note:
        case ast.Name(id="mask" | "estimator" as name):
            return Meaning((), of=name)
        case ast.Tuple(elts=parts):
            return Meaning(tuple(map(ast.unparse, parts)))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _meaning(inner)._replace(factor=-1.0)
        case ast.BinOp(left=inner, op=ast.Div(), right=ast.Constant(value=by)):
            return _meaning(inner)._replace(factor=by)
        case ast.BoolOp(op=ast.Or(), values=[inner, ast.Constant(value=absent)]):
            return _meaning(inner)._replace(absent=absent)
        case ast.Subscript(slice=fields):
            return Meaning(tuple(ast.unparse(fields).strip("()").split(", ")), of="dtypes")
    return Meaning((ast.unparse(note),))
