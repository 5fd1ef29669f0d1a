"""Native optax transformations: ``optcore.adapters.optax.adamw(learning_rate=1e-3, ...)``.

Every rule has a function here, under optax's name and signature where optax has the rule.
:func:`from_recipe` builds the transformation of a recipe, :func:`schedule` the function of a schedule.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from optcore.adapters import native
from optcore.adapters.native import Constructor, Native, schedules
from optcore.backends.base import missing
from optcore.backends.drive import check, reads_parameter
from optcore.backends.optimizer import OptimizerState, advance_all, begin
from optcore.recipe import Recipe
from optcore.rule import Part, Rule
from optcore.schedule import Schedule

try:
    import jax
    import jax.numpy as jnp
    import optax
    from optax._src.base import NO_PARAMS_MSG
except ImportError:
    raise missing("jax and optax", "jax") from None

from optcore.backends.jax import backend

__all__ = ["State", "from_recipe", "from_rule", "restore", "schedule"]


class State(NamedTuple):
    """The state of a transformation; every field of the rule is a tree like the parameters."""

    count: Any  #: updates made, int32
    micro: Any  #: gradients gathered towards the next update, int32
    shared: dict[str, Any]  #: 0-d values for the whole tree
    leaves: dict[str, Any]  #: the rule's fields by optax's names
    gathered: Any  #: the mean of the gradients gathered, None where the recipe does not accumulate
    average: Any  #: the moving average of the parameters, None where the recipe keeps none


def transformation(plan: Native) -> optax.GradientTransformationExtraArgs:
    """The optax transformation of a native plan."""
    recipe, rule = plan.recipe, plan.recipe.rule
    if recipe.rounding != "nearest":
        raise ValueError(
            "optcore.adapters.optax: rounding='stochastic' is lost, since optax adds the updates itself and rounds to "
            "nearest; use optcore.backends.Optimizer, which returns the parameters"
        )
    names = [plan.state.get(f.name, f.name) for f in rule.fields]
    local = [i for i, f in enumerate(rule.fields) if not f.shared]
    common = [i for i, f in enumerate(rule.fields) if f.shared]

    def stored(i: int, x: Any) -> Any:
        dtype = plan.dtypes.get(rule.fields[i].name)
        return x if x is None or dtype is None else backend.cast(x, jnp.dtype(dtype).name)

    def fresh(p: Any, path: str) -> OptimizerState:
        extra = plan.numbers_of(path, tuple(p.shape), backend.dtype(p))
        return begin(recipe.replace(**extra) if extra else recipe, backend, [p], [path])

    def init(params: Any) -> State:
        def column(i: int) -> Any:
            return jax.tree_util.tree_map_with_path(
                lambda path, p: stored(i, rule.unpack(fresh(p, _name(path)).leaves[0])[i]), params
            )

        first = jax.tree.leaves(params)[:1]
        shared = fresh(first[0], "").shared if first and common else (jnp.zeros([]),) * len(common)
        return State(
            count=jnp.zeros([], jnp.int32),
            micro=jnp.zeros([], jnp.int32),
            shared={names[i]: x for i, x in zip(common, shared, strict=True)},
            leaves={names[i]: column(i) for i in local},
            gathered=jax.tree.map(jnp.zeros_like, params) if recipe.gathers else None,
            average=jax.tree.map(jnp.asarray, params) if recipe.average is not None else None,
        )

    def update(updates: Any, state: State, params: Any = None, **extra_args: Any) -> tuple[Any, State]:
        del extra_args
        pairs, treedef = jax.tree_util.tree_flatten_with_path(updates, is_leaf=lambda x: x is None)
        paths, grads = [_name(path) for path, _ in pairs], [g for _, g in pairs]
        if params is None:
            if recipe.average is not None or plan.mask is not None or _needs_params(rule):
                raise ValueError(NO_PARAMS_MSG)
            given = [None if g is None else jnp.zeros_like(g) for g in grads]
        else:
            given = treedef.flatten_up_to(params)
        present = [(p, g, path) for p, g, path in zip(given, grads, paths, strict=True) if g is not None]
        if present:
            check(rule.name, *zip(*present, strict=True))
            if any(backend.dtype(g).startswith("complex") for _, g, _ in present):
                raise TypeError(
                    f"optcore.adapters.optax: {rule.name} was given complex gradients, for which optax squares the "
                    "modulus and optcore each part; wrap it in optax.contrib.split_real_and_imaginary"
                )
        columns = {i: treedef.flatten_up_to(state.leaves[names[i]]) for i in local}
        leaves = [
            rule.pack([columns[i][k] if i in columns else None for i in range(len(names))]) for k in range(len(grads))
        ]
        decayed = _decayed(plan.mask, params, treedef) if plan.mask is not None else [True] * len(grads)
        numbers = [
            {
                **(plan.numbers_of(path, tuple(p.shape), backend.dtype(p)) if p is not None else {}),
                **({} if decays else {"weight_decay": 0.0}),
            }
            for path, p, decays in zip(paths, given, decayed, strict=True)
        ]
        before = OptimizerState(
            step=state.count,
            micro=state.micro,
            shared=tuple(state.shared[names[i]] for i in common),
            counts=(state.count,) * len(grads),
            leaves=tuple(leaves),
            gathered=tuple(treedef.flatten_up_to(state.gathered)) if recipe.gathers else (),
            average=tuple(treedef.flatten_up_to(state.average)) if recipe.average is not None else (),
        )
        moved, after = advance_all(recipe, backend, given, grads, paths, before, numbers)
        steps = [
            None if g is None else backend.cast(-m.step if plan.link else m.step, backend.dtype(g))
            for m, g in zip(moved, grads, strict=True)
        ]
        arrays = [rule.unpack(leaf) for leaf in after.leaves]
        new = State(
            count=jnp.where(after.step > state.count, optax.safe_increment(state.count), state.count),
            micro=jnp.asarray(after.micro, jnp.int32),
            shared={names[i]: x for i, x in zip(common, after.shared, strict=True)},
            leaves={names[i]: treedef.unflatten([stored(i, a[i]) for a in arrays]) for i in local},
            gathered=treedef.unflatten(after.gathered) if recipe.gathers else None,
            average=treedef.unflatten(after.average) if recipe.average is not None else None,
        )
        return treedef.unflatten(steps), new

    return optax.GradientTransformationExtraArgs(init, update)


def _name(path: Any) -> str:
    return str(jax.tree_util.keystr(path, simple=True, separator="/"))


def _needs_params(rule: Rule) -> bool:
    """Whether the law reads p; arrays and schedules stand for numbers within their bounds."""
    plain = {}
    for name, value in rule.values().items():
        if not isinstance(value, int | float | str | None):
            default = rule.hypers[name].default
            plain[name] = 1.0 if name == "weight_decay" else default if isinstance(default, float) else 0.5
    return reads_parameter(rule.bind(**plain) if plain else rule)


def _decayed(mask: Any, params: Any, treedef: Any) -> list[bool]:
    """Whether each leaf is decayed: optax's mask is a tree of booleans, perhaps of subtrees, or makes one."""
    tree = mask(params) if callable(mask) else mask
    whole = jax.tree.map(lambda keep, part: jax.tree.map(lambda _: keep, part), tree, params)
    return [bool(keep) for keep in treedef.flatten_up_to(whole)]


class _FromOptax(Schedule):
    """An optax schedule as ours: a function of an int32 count."""

    def at(self, xp: Any, e: Any) -> Any:
        del xp
        return self.law.fn(jnp.asarray(e, jnp.int32))


def _schedule(fn: Callable[..., Any]) -> Schedule:
    return _FromOptax(getattr(fn, "__name__", "schedule"), "", Part(lambda count: fn(count)), {}, None)


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
            "clip_value_fn", "state_dtype", "trust_ratio_mask",
        }  # fmt: skip
        given = {
            k: _schedule(v) if k not in keep and callable(v) and not isinstance(v, Schedule) else v
            for k, v in bound.arguments.items()
        }
        return transformation(chosen.build(**given))

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
    return transformation(Native(recipe))


def restore(template: Any, tree: Any) -> Any:
    """The state of ``template``'s structure with the arrays of a tree that a checkpoint gave back.

    Checkpoints return tuples as lists and NamedTuples as dictionaries; the order of arrays is kept.
    Raises ValueError where their number differs.
    """
    _, treedef = jax.tree.flatten(template)
    arrays = jax.tree.leaves(_fields(template, tree))
    if len(arrays) != treedef.num_leaves:
        raise ValueError(f"restore: {len(arrays)} arrays were given, the state holds {treedef.num_leaves}")
    return treedef.unflatten(arrays)


def _fields(template: Any, tree: Any) -> Any:
    """A dictionary in the order of the NamedTuple that it was."""
    if hasattr(template, "_fields") and isinstance(tree, Mapping):
        return [_fields(getattr(template, name), tree.get(name)) for name in template._fields]
    if isinstance(template, dict):
        return {key: _fields(value, tree[key]) for key, value in template.items()}
    if isinstance(template, list | tuple):
        items = list(tree.values()) if isinstance(tree, Mapping) else tree
        return [_fields(a, b) for a, b in zip(template, items, strict=True)]
    return tree


def schedule(law: Schedule) -> Callable[[Any], jax.Array]:
    """The schedule as optax wants one: a function from the count to an array, in jax's floating dtype."""
    return lambda count: jnp.asarray(law(jnp.asarray(count)))


@lru_cache
def _named(name: str) -> Any:
    if name in schedules.table("optax"):
        return schedules.table("optax")[name]
    return _function(native.constructor("optax", name))


__getattr__, __dir__ = native.attributes("optax", _named, [*__all__, *schedules.table("optax")])
