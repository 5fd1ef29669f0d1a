"""Native Keras optimizers: ``optcore.adapters.keras.AdamW(learning_rate=1e-3, ...)``.

Every rule has a class here, under Keras' name and signature where Keras has the rule, on Keras' JAX,
torch and TensorFlow backends. :func:`from_recipe` builds the native object of a recipe.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from optcore.adapters import native
from optcore.adapters.keras.optimizer import KerasOptimizer, LearningRate, schedule
from optcore.adapters.keras.options import BASE, recipe_of, text_of
from optcore.adapters.keras.plateau import ReduceLROnPlateau
from optcore.adapters.native import Constructor, Native
from optcore.adapters.native.schedules import table
from optcore.backends.base import missing
from optcore.recipe import Recipe
from optcore.rule import Rule

try:
    import keras
except ImportError:
    raise missing("keras", "keras") from None

__all__ = ["LearningRate", "Optimizer", "ReduceLROnPlateau", "from_recipe", "from_rule", "schedule"]


Optimizer = KerasOptimizer
"""The base class, under the name that it has in Keras."""


def _class(constructor: Constructor) -> type[KerasOptimizer]:
    """The class of a constructor, with its signature and Keras' base keywords, registered by its name."""
    signature = _signature(constructor)

    def __init__(self: KerasOptimizer, *args: Any, **options: Any) -> None:
        like = options.pop("like", None)
        foreign = like not in (None, "keras")
        chosen = _signature(native.constructor("keras", constructor.name, like)) if foreign else signature
        bound = chosen.bind(*args, **options)
        bound.apply_defaults()
        given = dict(bound.arguments)
        base = dict(given.pop("kwargs", {}))
        unknown = [k for k in base if k not in BASE]
        if unknown:
            from optcore.hyper import unknown as words

            known = [*BASE, *constructor.defaults]
            raise TypeError(words(f"optcore.adapters.keras.{constructor.name}", "argument", unknown[0], known))
        rate = given.pop("learning_rate", 0.001)
        decay = given.get("weight_decay")
        KerasOptimizer.__init__(self, rate, decay, given | ({"like": like} if foreign else {}), base)

    def option(name: str) -> property:
        return property(lambda self: self._own.options[name], lambda self, value: self._set(**{name: value}))

    shown = {n: option(n) for n in constructor.defaults if n not in ("learning_rate", "weight_decay", "recipe")}
    cls = type(
        constructor.name,
        (KerasOptimizer,),
        {
            **shown,
            "__init__": __init__,
            "__signature__": signature,
            "__doc__": constructor.doc,
            "__module__": __name__,
            "_constructor": constructor,
        },
    )
    return keras.saving.register_keras_serializable(package="optcore")(cls)  # type: ignore[no-any-return]


def _signature(constructor: Constructor) -> inspect.Signature:
    base = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
    return inspect.Signature([*constructor.parameters, base])


def from_rule(rule: Rule) -> type[KerasOptimizer]:
    """The class of a rule of your own."""
    return _class(native.of_rule("keras", rule))


def _from_json(recipe: str, learning_rate: Any = None) -> Native:
    """The recipe of a JSON text; the rate is Keras' own and comes with each step."""
    del learning_rate
    return Native(recipe_of(recipe))


FromRecipe = _class(Constructor("FromRecipe", "", tuple(inspect.signature(_from_json).parameters.values()), _from_json))


def from_recipe(recipe: Recipe, **base: Any) -> KerasOptimizer:
    """The native optimizer of a recipe; patterns match ``variable.path``.

    ``base`` takes the keywords of Keras' base class. Where the recipe averages, ``fit`` ends with the average, as with
    Keras' use_ema.
    """
    return FromRecipe(recipe=text_of(recipe), learning_rate=recipe.values["lr"], **base)  # type: ignore[call-arg]


def _schedule_named(name: str) -> Callable[..., LearningRate]:
    """A schedule of Keras under its name and with its parameters."""
    build = table("keras")[name]

    @wraps(build)
    def make(*args: Any, **options: Any) -> LearningRate:
        return schedule(build(*args, **options))

    return make


@cache
def _named(name: str) -> Any:
    if name in table("keras"):
        return _schedule_named(name)
    return _class(native.constructor("keras", name))


globals().update(
    {name: _named(name) for name in native.names("keras")}
)  # loading a saved model looks its class up here
__getattr__, __dir__ = native.attributes(
    "keras", _named, [*__all__, *table("keras")]
)  # and rules that were added later


def _registered(law: Any, known: bool) -> None:
    """Make the class of a law when it is registered: a saved model does not ask for it by :func:`__getattr__`."""
    if known and law.species == "rule":
        globals()[law.title] = _named(law.title)


native.registry.listen(_registered)
