"""How each library's own constructors read in terms of a recipe; no framework is imported here.

The modules of a library's folder hold one function for each optimizer of that library, with its name,
parameters and defaults, found by being there. What a library does not have gets a constructor from the rule itself.
"""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from optcore import adapters, registry
from optcore.hyper import REQUIRED, unknown
from optcore.recipe import Recipe
from optcore.rule import TEMPLATE, Rule
from optcore.slots import Slot, slots_of

__all__ = ["LIBRARIES", "Constructor", "Native", "attributes", "constructor", "names", "part_of"]

LIBRARIES = ("torch", "optax", "keras")

SPELLING: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "torch": {"lr": ("lr",), "betas": ("beta1", "beta2"), "eps": ("epsilon",), "alpha": ("rho",)},
    "optax": {
        "learning_rate": ("lr",),
        "b1": ("beta1",),
        "b2": ("beta2",),
        "eps": ("epsilon",),
        "eps_root": ("epsilon_root",),
        "decay": ("rho",),
        "mu_dtype": (),  # a dtype of jax.numpy: no word of another library
        "accumulator_dtype": (),
        "state_dtype": (),
        "trust_ratio_mask": (),
    },
    "keras": {"learning_rate": ("lr",), "beta_1": ("beta1",), "beta_2": ("beta2",)},
}
"""A library's words and ours, where they differ; ``betas`` is a pair."""

RATE = {"torch": "lr", "optax": "learning_rate", "keras": "learning_rate"}


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


@dataclass(frozen=True)
class Constructor:
    """A library's constructor: its parameters with defaults, and the recipe they stand for."""

    name: str
    doc: str
    parameters: tuple[inspect.Parameter, ...]
    build: Callable[..., Native]

    @cached_property
    def defaults(self) -> dict[str, Any]:
        return {p.name: p.default for p in self.parameters}


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


@cache
def _table(library: str) -> dict[str, Callable[..., Native]]:
    package = part_of(library, "constructors")
    found: dict[str, Callable[..., Native]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        found |= {name: getattr(module, name) for name in module.__all__}
    return found


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
        return _own(library, name)
    if like in LIBRARIES and like != library:
        folded = {_fold(other): other for other in _table(like)}
        if _fold(name) in folded and RATE[like] in _own(like, folded[_fold(name)]).defaults:
            return _translated(library, name, _own(like, folded[_fold(name)]), like)
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


@cache
def _own(library: str, name: str) -> Constructor:
    build = _table(library)[name]
    parameters = tuple(inspect.signature(build).parameters.values())
    return Constructor(name, inspect.getdoc(build) or "", parameters, build)


def of_rule(library: str, rule: Rule) -> Constructor:
    """A constructor for a rule that the library does not have, in the library's words.

    In optax a clipping law is a link: it has neither learning rate nor decay.
    """
    values = rule.values()
    link = library == "optax" and getattr(rule, "clips", False)
    pair = library == "torch" and {"beta1", "beta2"} <= set(values)
    spell = {ours[0]: theirs for theirs, ours in SPELLING[library].items() if len(ours) == 1}
    first = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters, words = [], {}
    order = [n for n in values if n not in TEMPLATE]
    place = [] if "decay" in rule.owns else ["decay"]
    order = order if link else ["lr", *order, "weight_decay", *place, "maximize"]
    for ours in order:
        if pair and ours in ("beta1", "beta2"):
            if ours == "beta1":
                parameters.append(inspect.Parameter("betas", first, default=(values["beta1"], values["beta2"])))
            continue
        theirs = spell.get(ours, ours)
        words[theirs] = ours
        default = values[ours] if values[ours] is not REQUIRED else inspect.Parameter.empty
        if ours == "lr" and library == "optax":
            default = inspect.Parameter.empty
        kind = inspect.Parameter.KEYWORD_ONLY if ours in ("decay", "maximize") else first
        parameters.append(inspect.Parameter(theirs, kind, default=default))
    required = [p for p in parameters if p.default is p.empty]
    parameters = [*required, *(p for p in parameters if p.default is not p.empty)]

    def build(**given: Any) -> Native:
        ours = {words[k]: v for k, v in given.items() if k != "betas"}
        if "betas" in given:
            ours["beta1"], ours["beta2"] = given["betas"]
        return Native(Recipe(rule, **({"lr": 1.0} if link else {}), **ours), link=link)

    return Constructor(
        _title(library, rule) if hasattr(rule, "title") else rule.name, rule.doc, tuple(parameters), build
    )


def _translated(library: str, name: str, other: Constructor, like: str) -> Constructor:
    """Another library's constructor in this library's words."""
    theirs_to_ours = {t: o[0] for t, o in SPELLING[like].items() if len(o) == 1 and t in other.defaults}
    ours_to_mine = {o[0]: m for m, o in SPELLING[library].items() if len(o) == 1}
    defaults: dict[str, Any] = {}
    for p in other.parameters:
        if p.name == "betas":
            defaults["beta1"], defaults["beta2"] = p.default
        elif p.name not in HINTS and SPELLING[like].get(p.name) != ():
            default = 0.0 if p.name == "weight_decay" and p.default is None else p.default
            defaults[theirs_to_ours.get(p.name, p.name)] = default
    mine: dict[str, Any] = {}
    if library == "torch" and {"beta1", "beta2"} <= set(defaults):
        mine["betas"] = (defaults.pop("beta1"), defaults.pop("beta2"))
    back = {ours_to_mine.get(k, k): k for k in defaults}  # only what this constructor has: alpha is not always rho
    mine |= {name: defaults[ours] for name, ours in back.items()}
    rate = RATE[library]
    if mine.get(rate, 0) is inspect.Parameter.empty and library != "optax":
        mine[rate] = 1e-3  # optax asks for a learning rate; a class must have one
    if rate in mine and mine[rate] is None:
        mine[rate] = 1.0  # optax.adafactor without a rate
    first = inspect.Parameter.POSITIONAL_OR_KEYWORD
    order = [rate, *(k for k in mine if k != rate)]
    parameters = tuple(inspect.Parameter(k, first, default=mine[k]) for k in order if k in mine)
    out = {ours: theirs for theirs, ours in theirs_to_ours.items()}

    def build(**given: Any) -> Native:
        ours = {back.get(k, k): v for k, v in given.items() if k != "betas"}
        if "betas" in given:
            ours["beta1"], ours["beta2"] = given["betas"]
        if "betas" in other.defaults:
            ours["betas"] = (ours.pop("beta1"), ours.pop("beta2"))
        native = other.build(**{out.get(k, k): v for k, v in ours.items()})
        return Native(native.recipe, of_leaf=native.of_leaf, mask=native.mask, dtypes=native.dtypes)

    return Constructor(name, other.doc, parameters, build)


HINTS = {
    "foreach", "fused", "capturable", "differentiable", "name", "clipnorm", "clipvalue", "global_clipnorm", "use_ema",
    "ema_momentum", "ema_overwrite_frequency", "loss_scale_factor", "gradient_accumulation_steps", "mask",
}  # fmt: skip
"""Parameters that say how to run, not what to compute; they stay with their library."""
