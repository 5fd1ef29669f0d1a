"""The options of a Keras optimizer, given at construction or by attributes: read, checked, written as configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any

from optcore.adapters.native import Native
from optcore.adapters.native.numbers import RECIPES, from_text, to_text
from optcore.backends.numpy import backend as host
from optcore.backends.numpy import np
from optcore.backends.optimizer import begin
from optcore.clipping import clip_by_norm
from optcore.hyper import unknown
from optcore.recipe import OPTIONS, Recipe
from optcore.schedule import Schedule

if TYPE_CHECKING:
    from optcore.adapters.keras.optimizer import KerasOptimizer

__all__ = ["BASE", "check_base", "decoded", "encoded", "recipe_of", "same_state", "settle", "text_of"]

WHO = "optcore.adapters.keras"
THRESHOLDS = ("clipnorm", "clipvalue", "global_clipnorm")
CARRIED = (*THRESHOLDS, "gradient_accumulation_steps")
"""Options by which Keras changes each gradient, which are of no use where the recipe gathers several."""
BASE = (
    *THRESHOLDS, "use_ema", "ema_momentum", "ema_overwrite_frequency", "loss_scale_factor",
    "gradient_accumulation_steps", "name",
)  # fmt: skip
"""The keywords of Keras' base class, which it carries out itself."""
BUILT = ("use_ema", "gradient_accumulation_steps")
"""Those that decide which variables there are."""

text_of, recipe_of = RECIPES.write, RECIPES.read
"""The JSON text of a recipe, by which it is found again, and the recipe of a text."""


def encoded(value: Any) -> Any:
    """A schedule, or a list with one, as a configuration can keep it."""
    if isinstance(value, tuple | list):
        return type(value)(map(encoded, value))
    return {"optcore": to_text(value)} if isinstance(value, Schedule) else value


def decoded(value: Any) -> Any:
    """The value that :func:`encoded` has written."""
    if isinstance(value, tuple | list):
        return type(value)(map(decoded, value))
    if isinstance(value, dict) and set(value) == {"optcore"}:
        return from_text(value["optcore"])
    return value


def check_base(recipe: Recipe, base: Mapping[str, Any]) -> None:
    """Check the keywords of Keras' base class, alone and against the recipe.

    Raises TypeError or ValueError, naming the keyword.
    """
    given = {name: value for name, value in base.items() if value is not None}
    for name in THRESHOLDS:
        if name in given:
            replace(clip_by_norm.hypers["max_norm"], name=name).check(WHO, given[name])
    several = [name for name in THRESHOLDS if name in given]
    if len(several) > 1:
        raise ValueError(f"{WHO}: {several[0]} and {several[1]} are given; Keras clips by one of them, give one")
    for name, least in (("ema_overwrite_frequency", 1), ("gradient_accumulation_steps", 2)):
        value = given.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{WHO}: {name}={value!r} is no count; give None or a whole number of at least {least}")
    number(given, "ema_momentum", 0.0, 1.0)
    number(given, "loss_scale_factor", 2.0**-126, 2.0**127)
    if not isinstance(given.get("use_ema", False), bool):
        raise TypeError(
            f"{WHO}: use_ema={given['use_ema']!r} is of type {type(given['use_ema']).__name__}; give a bool"
        )
    if recipe.gathers:
        for name in CARRIED:
            if name in given:
                raise ValueError(
                    f"{WHO}: {name}={given[name]!r} is for each gradient, and the recipe gathers "
                    f"several (accumulate={recipe.accumulate!r}); give clipping to the recipe, as clip=..."
                )
    if recipe.average is not None:
        for name, value in (("use_ema", True), ("ema_momentum", recipe.average)):
            if given.get(name, value) != value:
                raise ValueError(
                    f"{WHO}: {name}={given[name]!r} is against the recipe's average={recipe.average!r}; leave it out"
                )


def number(given: Mapping[str, Any], name: str, low: float, high: float) -> None:
    """Check a number of Keras' own, where it is given."""
    value = given.get(name, low)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{WHO}: {name}={value!r} is of type {type(value).__name__}; give a number")
    if not low <= value <= high:
        raise ValueError(f"{WHO}: {name}={value!r} is out of range; give a number in [{low:g}, {high:g}]")


def settle(optimizer: KerasOptimizer, name: str, value: Any) -> None:
    """Check what an attribute is set to: it acts from the next step on, or is refused by name.

    Raises
    ------
    TypeError, ValueError
        For a value that construction would not take.
    AttributeError
        For what was settled when the optimizer was built, and for a number of the recipe under another name.
    RuntimeError
        Where a train step was compiled, which keeps what it was compiled with.

    """
    own, recipe = optimizer._own, optimizer._own.plan.recipe
    if name in BASE:
        fresh(optimizer, name, value)
        check_base(recipe, {**{k: getattr(optimizer, k, None) for k in BASE}, **_averaged(recipe), name: value})
        if name in BUILT and optimizer.built and value != getattr(optimizer, name):
            raise AttributeError(
                f"{WHO}: {name}={value!r} decides which variables the optimizer keeps, and it has been built; give it "
                "to the constructor"
            )
    elif name == "weight_decay":
        fresh(optimizer, name, value)
        if "recipe" in own.options:
            changed = recipe_of(own.options["recipe"]).replace(weight_decay=0.0 if value is None else value)
            optimizer._set(recipe=text_of(changed))
        else:
            optimizer._set(weight_decay=value)
    elif name == "recipe":
        raise AttributeError(f"{WHO}: recipe is what the optimizer is; make another one with from_recipe")
    elif not hasattr(optimizer, name) and name in {*recipe.values, *OPTIONS, "clip"}:
        words = [k for k in (*own.options, "learning_rate", "weight_decay", *BASE) if k not in ("recipe", "like")]
        raise AttributeError(
            f"{unknown(f'{WHO}.{type(optimizer).__name__}', 'attribute', name, words)}; nothing is set"
        )


def _averaged(recipe: Recipe) -> dict[str, Any]:
    return {} if recipe.average is None else {"use_ema": True, "ema_momentum": recipe.average}


def fresh(optimizer: KerasOptimizer, name: str, value: Any) -> None:
    """Raise RuntimeError for a change where a train step was compiled without it."""
    known = {**optimizer._own.options, **{k: getattr(optimizer, k) for k in ("weight_decay", *BASE) if k != "name"}}
    if optimizer._own.compiled and name != "name" and not (name in known and known[name] == value):
        raise RuntimeError(
            f"{WHO}: {name}={value!r} would do nothing, since a train step has been compiled, which keeps what it was "
            "compiled with. Compile the model with another optimizer, made by type(optimizer).from_config of "
            "get_config() with the change, built on the same variables, and given the values of optimizer.variables by "
            "set_weights; or give a schedule of the number from the beginning"
        )


def same_state(optimizer: KerasOptimizer, plan: Native, words: str) -> None:
    """Raise AttributeError where the state of another plan would have another form or another start.

    Both are started on small arrays with the numbers of axes that the variables have.
    """
    old = optimizer._own.plan
    for v in optimizer._trainable_variables:
        p = np.cos(np.arange(64.0) ** 2)[:, None]
        most = 48 if len(v.shape) < 3 else 6
        shape = tuple(min(n, most) for n in v.shape)
        p = np.resize(p, shape)
        found = []
        for each in (old, plan):
            mine = each.numbers_of(v.path, tuple(v.shape), "float64")
            state = begin(each.recipe.replace(**mine) if mine else each.recipe, host, [p], [v.path])
            rule = each.recipe.rule
            found.append(([f.name for f in rule.fields], [*state.shared, *rule.unpack(state.leaves[0])]))
        (names, before), (others, after) = found
        if names != others or not all(_equal(a, b) for a, b in zip(before, after, strict=True)):
            raise AttributeError(
                f"{WHO}: {words} is what the state beside each variable was started with, and it has been built; give "
                "it to the constructor"
            )


def _equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a, b, equal_nan=True))
