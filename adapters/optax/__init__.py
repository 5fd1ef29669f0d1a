"""Native optax transformations: ``optcore.adapters.optax.adamw(learning_rate=1e-3, ...)``.

Every rule has a function here, under optax's name and signature where optax has the rule.
:func:`from_recipe` builds the transformation of a recipe, :func:`schedule` the function of a schedule.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from optcore.adapters import native
from optcore.adapters.native import Constructor, Native
from optcore.adapters.native.schedules import table
from optcore.adapters.optax.checkpoint import restore
from optcore.adapters.optax.hessian import estimated, takes_estimates
from optcore.adapters.optax.plateau import reduce_on_plateau
from optcore.adapters.optax.private import (
    differentially_private_aggregate,
    dpsgd,
    per_example_global_norm_clip,
    per_example_layer_norm_clip,
)
from optcore.adapters.optax.transformation import State, as_schedule, transformation
from optcore.backends.base import missing
from optcore.recipe import Recipe
from optcore.rule import Rule
from optcore.schedule import Schedule

try:
    import jax
    import jax.numpy as jnp
    import optax
except ImportError:
    raise missing("jax and optax", "jax") from None

__all__ = [
    "State", "differentially_private_aggregate", "dpsgd", "from_recipe", "from_rule", "per_example_global_norm_clip",
    "per_example_layer_norm_clip", "reduce_on_plateau", "restore", "schedule",
]  # fmt: skip


def _function(constructor: Constructor) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """The optax function of a constructor, with its signature."""
    signature = _signature(constructor)

    def make(*args: Any, like: str | None = None, **options: Any) -> optax.GradientTransformationExtraArgs:
        chosen = native.constructor("optax", constructor.name, like) if like not in (None, "optax") else constructor
        bound = _signature(chosen).bind(*args, **options)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            default = chosen.defaults.get(name)
            if isinstance(default, int) and not isinstance(default, bool) and isinstance(value, jax.Array):
                raise TypeError(
                    f"optcore.adapters.optax.{constructor.name}: {name} chooses a law and must be a Python number, "
                    f"not an array; pass static_args=('{name}',) to optax.inject_hyperparams"
                )
        keep = {
            "mask", "weight_decay_mask", "mu_dtype", "accumulator_dtype", "dtype_momentum",
            "clip_value_fn", "state_dtype", "trust_ratio_mask", "hessian_diagonal_fn",
        }  # fmt: skip
        given = {k: v if k in keep else as_schedule(v) for k, v in bound.arguments.items()}
        return _transformation(chosen.build(**given))

    make.__name__ = make.__qualname__ = constructor.name
    make.__doc__ = constructor.doc
    make.__module__ = __name__
    make.__signature__ = signature  # type: ignore[attr-defined]
    make.__annotations__ = {"learning_rate": optax.ScalarOrSchedule, "return": optax.GradientTransformationExtraArgs}
    return make


def _signature(constructor: Constructor) -> inspect.Signature:
    parameters = [
        p.replace(annotation=optax.ScalarOrSchedule if p.name == "learning_rate" else p.empty)
        for p in constructor.parameters
    ]
    return inspect.Signature(parameters)


def from_rule(rule: Rule) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """The function of a rule of your own."""
    return _function(native.of_rule("optax", rule))


def from_recipe(recipe: Recipe) -> optax.GradientTransformationExtraArgs:
    """The transformation of a recipe; patterns match the path of a leaf, as ``encoder/0/kernel``."""
    return _transformation(Native(recipe))


def _transformation(plan: Native) -> optax.GradientTransformationExtraArgs:
    tx = transformation(plan)
    return estimated(plan, tx) if takes_estimates(plan.recipe.rule) else tx


def schedule(law: Schedule) -> Callable[[Any], jax.Array]:
    """The schedule as optax wants one: a function from the count to an array, in jax's floating dtype."""
    return lambda count: jnp.asarray(law(jnp.asarray(count)))


@cache
def _named(name: str) -> Any:
    if name in table("optax"):
        return table("optax")[name]
    return _function(native.constructor("optax", name))


__getattr__, __dir__ = native.attributes("optax", _named, [*__all__, *table("optax")])
