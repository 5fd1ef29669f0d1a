"""The transformation of a plan: optax' trees and state, and the way to the driver and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from optcore.adapters.native import Native
from optcore.backends.base import missing
from optcore.backends.checks import check
from optcore.backends.leaves import marks, numbers_at, wide
from optcore.backends.optimizer import OptimizerState, advance_all, begin
from optcore.backends.probe import reads_parameter
from optcore.backends.values import numbers
from optcore.parts import Part
from optcore.rule import Rule
from optcore.schedule import Schedule

try:
    import jax
    import jax.numpy as jnp
    import optax
    from optax._src.base import NO_PARAMS_MSG
except ImportError:
    raise missing("jax and optax", "jax") from None

from optcore.backends.jax import backend

__all__ = ["State", "as_schedule", "transformation"]


class State(NamedTuple):
    """The state of a transformation; every field of the rule is a tree like the parameters."""

    count: Any  #: updates made, int32
    micro: Any  #: gradients gathered towards the next update, int32
    shared: dict[str, Any]  #: values for the whole tree
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
    names = [slot.name for slot in plan.slots]
    local = [i for i, f in enumerate(rule.fields) if not f.shared]
    common = [i for i, f in enumerate(rule.fields) if f.shared]

    def stored(i: int, x: Any) -> Any:
        dtype = plan.dtypes.get(rule.fields[i].name)
        return x if x is None or dtype is None else backend.cast(x, jnp.dtype(dtype).name)

    def fresh(p: Any, path: str) -> OptimizerState:
        extra = plan.numbers_of(path, tuple(p.shape), backend.dtype(p))
        return begin(recipe.replace(**extra) if extra else recipe, backend, [p], [path])

    def own(path: str, p: Any, count: Any, values: dict[str, Any], *, decays: bool) -> dict[str, Any]:
        if p is None:
            return values
        mark = marks(recipe, path, "in_out")
        mark = mark._replace(decays=mark.decays and decays)
        extra = plan.numbers_of(path, tuple(p.shape), backend.dtype(p))
        return numbers_at(rule, values, mark, backend, count, extra)

    def sums(params: Any, make: Any) -> Any:
        return jax.tree.map(lambda p: make(backend.cast(jnp.asarray(p), wide(backend.dtype(p)))), params)

    def init(params: Any) -> State:
        def column(i: int) -> Any:
            return jax.tree_util.tree_map_with_path(
                lambda path, p: stored(i, rule.unpack(fresh(p, _name(path)).leaves[0])[i]), params
            )

        leaves = sorted(jax.tree.leaves(params), key=lambda p: jnp.asarray(p).dtype != jnp.float64)
        first = leaves[:1]  # what is shared has the widest precision of a leaf
        shared = fresh(first[0], "").shared if first and common else (jnp.zeros([], jnp.float32),) * len(common)
        return State(
            count=jnp.zeros([], jnp.int32),
            micro=jnp.zeros([], jnp.int32),
            shared={names[i]: x for i, x in zip(common, shared, strict=True)},
            leaves={names[i]: column(i) for i in local},
            gathered=sums(params, jnp.zeros_like) if recipe.gathers else None,
            average=sums(params, jnp.asarray) if recipe.average is not None else None,
        )

    def update(updates: Any, state: State, params: Any = None, **extra_args: Any) -> tuple[Any, State]:
        del extra_args
        if params is None:
            if recipe.average is not None or plan.mask is not None or _needs_params(rule):
                raise ValueError(NO_PARAMS_MSG)
            pairs, treedef = jax.tree_util.tree_flatten_with_path(updates, is_leaf=lambda x: x is None)
            paths, grads = [_name(path) for path, _ in pairs], [g for _, g in pairs]
            like = treedef.flatten_up_to(state.gathered) if recipe.gathers else grads
            given = [None if x is None else jnp.zeros_like(x) for x in like]
        else:
            pairs, treedef = jax.tree_util.tree_flatten_with_path(params)  # a parameter of None is no leaf
            paths, given = [_name(path) for path, _ in pairs], [p for _, p in pairs]
            grads = _gradients(rule.name, updates, treedef, paths)
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
        before = OptimizerState(
            step=state.count,
            micro=state.micro,
            shared=tuple(state.shared[names[i]] for i in common),
            counts=(state.count,) * len(grads),
            leaves=tuple(leaves),
            gathered=tuple(treedef.flatten_up_to(state.gathered)) if recipe.gathers else (),
            average=tuple(treedef.flatten_up_to(state.average)) if recipe.average is not None else (),
        )
        values = numbers(rule.complete(), backend, state.count, rule.hypers)
        leafwise = zip(paths, given, decayed, strict=True)
        each = [own(path, p, state.count, values, decays=decays) for path, p, decays in leafwise]
        moved, after = advance_all(recipe, backend, given, grads, paths, before, each)
        steps = [
            _zeros(g) if m.step is None else backend.cast(-m.step if plan.link else m.step, backend.dtype(m.p))
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


def _zeros(g: Any) -> Any:
    """The update of a leaf that does not move: None for a gradient of None."""
    return None if g is None else jnp.zeros_like(g)


def _gradients(who: str, updates: Any, treedef: Any, paths: list[str]) -> list[Any]:
    """The gradient of each parameter, None where there is none; ValueError names what has no parameter."""
    known = set(paths)
    for path, _ in jax.tree_util.tree_flatten_with_path(updates)[0]:
        if _name(path) not in known:
            raise ValueError(
                f"optcore.adapters.optax: {who} was given a gradient of {_name(path)!r}, where the parameters have no "
                "array; give gradients of the parameters' structure, with None where there is none"
            )
    return list(treedef.flatten_up_to(updates))


def _needs_params(rule: Rule) -> bool:
    """Tell whether the law reads p; arrays and schedules are replaced by numbers within their bounds."""
    plain = {}
    for name, value in rule.values().items():
        if not isinstance(value, int | float | str | None):
            default = rule.hypers[name].default
            plain[name] = 1.0 if name == "weight_decay" else default if isinstance(default, float) else 0.5
    return reads_parameter(rule.bind(**plain) if plain else rule)


def _decayed(mask: Any, params: Any, treedef: Any) -> list[bool]:
    """Return True for each leaf with decay: optax' mask is a tree of booleans for leaves or subtrees, or makes one."""
    tree = mask(params) if callable(mask) else mask
    whole = jax.tree.map(lambda keep, part: jax.tree.map(lambda _: keep, part), tree, params)
    return [bool(keep) for keep in treedef.flatten_up_to(whole)]


class _FromOptax(Schedule):
    """An optax schedule as ours: a function of an int32 count."""

    def at(self, xp: Any, e: Any) -> Any:
        del xp
        return self.law.fn(jnp.asarray(e, jnp.int32))


def as_schedule(value: Any) -> Any:
    """An optax schedule as ours; anything else, ours too, as it is."""
    if not callable(value) or isinstance(value, Schedule):
        return value
    return _from_optax(value)


def _from_optax(fn: Callable[..., Any]) -> Schedule:
    return _FromOptax(getattr(fn, "__name__", "schedule"), "", Part(lambda count: fn(count)), {}, None)
