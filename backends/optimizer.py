"""A recipe on a tree of arrays, without any framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import optree

from optcore import leaf as template
from optcore.backends.base import COMPUTE, Backend
from optcore.backends.drive import Leaf, Moved, advance, check, fits, laid_out, numbers, start
from optcore.backends.rounding import SPACING, keys, normal
from optcore.backends.shards import refuse_piece
from optcore.backends.trees import flatten, flatten_like
from optcore.recipe import Recipe
from optcore.rule import Rule
from optcore.scalars import is_host
from optcore.schedule import resolve

__all__ = ["Optimizer", "OptimizerState", "advance_all", "begin", "of_leaf"]


class OptimizerState(NamedTuple):
    """The state of a tree: plain tuples of arrays in the order of the leaves."""

    step: Any  #: updates begun by the driver, a Python number at the start
    micro: Any  #: gradients gathered towards the next update
    shared: tuple[Any, ...]  #: the rule's shared fields, 0-d
    counts: tuple[Any, ...]  #: updates of each leaf; a leaf without a gradient keeps its count
    leaves: tuple[Any, ...]  #: the rule's state of each leaf
    gathered: tuple[Any, ...]  #: the mean of the gradients gathered, None for a leaf that had none yet
    average: tuple[Any, ...]  #: the moving average of the parameters, where the recipe keeps one


class Optimizer:
    """Runs a recipe on a tree of NumPy, CuPy, JAX or torch arrays.

    Pure, unless the caller donates: nothing given is written to. What lies in this process' memory is moved in one
    pass over it.

    >>> opt = Optimizer(Recipe(optcore.adam, lr=1e-3, weight_decay=0.01))
    >>> state = opt.init(params)
    >>> params, state = opt.update(params, grads, state)
    """

    def __init__(self, recipe: Recipe | Rule) -> None:
        self.recipe = recipe if isinstance(recipe, Recipe) else Recipe(recipe)

    def init(self, params: Any) -> OptimizerState:
        """The state before the first step; TypeError for a leaf that is no floating-point array."""
        leaves, paths, _ = flatten(params)
        backend = check(f"Optimizer({self.recipe.rule.name})", leaves, [None] * len(leaves), paths)
        return begin(self.recipe, backend, leaves, paths)

    def update(
        self, params: Any, grads: Any, state: OptimizerState, *, donate: bool = False
    ) -> tuple[Any, OptimizerState]:
        """One step: new parameters and new state.

        With ``donate`` the parameters and the state given may be overwritten by the new ones, and must not be used
        any more; a step then needs no memory.

        A gradient of None leaves its leaf, and the leaf's count, as they are; while gradients are gathered it
        counts as zero for a leaf that had one in this cycle (on JAX for every leaf). Raises TypeError or
        ValueError, naming the leaf, before anything is computed.
        """
        leaves, paths, rebuild = flatten(params)
        who = f"Optimizer({self.recipe.rule.name})"
        given = flatten_like(who, grads, paths)
        if len(state.leaves) != len(leaves):
            raise ValueError(
                f"{who}: the state has {len(state.leaves)} leaves, the parameters {len(leaves)}; "
                "give the state that init made for these parameters"
            )
        backend = check(who, leaves, given, paths)
        with backend.without_gradient():
            moved, state = advance_all(
                self.recipe, backend, leaves, given, paths, state, fuse=not backend.traces, donate=donate
            )
        return rebuild([m.p for m in moved]), state


def begin(recipe: Recipe, backend: Backend, leaves: Sequence[Any], paths: Sequence[str]) -> OptimizerState:
    """The state of a list of leaves before the first step."""
    rule = recipe.rule
    for p, path in zip(leaves, paths, strict=True):
        fits(rule, backend, p, path)
        cut = backend.piece(p)
        if cut and (recipe.rounding == "stochastic" or recipe.on_nonfinite == "skip"):
            option = "rounding='stochastic'" if recipe.rounding == "stochastic" else "on_nonfinite='skip'"
            refuse_piece(rule, cut, path, option=option)
    values, states, shared = rule.complete(), [], ()
    for p, path in zip(leaves, paths, strict=True):
        arrays = rule.unpack(start(rule, backend, p, _of_leaf(recipe, values, path, backend)))
        common = tuple(x for f, x in zip(rule.fields, arrays, strict=True) if f.shared)
        if not shared or (common and backend.dtype(shared[0]) != "float64"):  # of the widest leaf
            shared = common
        states.append(_stored(recipe, arrays, p, backend))
    gathered = _nothing_gathered(backend, leaves) if recipe.gathers else ()
    average = tuple(backend.copy(p) for p in leaves) if recipe.average is not None else ()
    return OptimizerState(0, 0, shared, (0,) * len(leaves), tuple(states), gathered, average)


def advance_all(
    recipe: Recipe,
    backend: Backend,
    params: Sequence[Any],
    grads: Sequence[Any],
    paths: Sequence[str],
    state: OptimizerState,
    overrides: Sequence[Mapping[str, Any]] | None = None,
    *,
    fuse: bool = False,
    donate: bool = False,
) -> tuple[list[Moved], OptimizerState]:
    """One step of a list of leaves; ``overrides`` exchanges the numbers of single leaves.

    With ``fuse`` it is one pass over memory where that can be; with ``donate`` parameters and states may be written
    to. A leaf that does not move, or was moved by such a pass, has the displacement None.
    """

    def step(carry: tuple[list[Moved], OptimizerState], grads: Sequence[Any]) -> tuple[list[Moved], OptimizerState]:
        how = {"fuse": fuse, "donate": donate}
        return _step(recipe, backend, [m.p for m in carry[0]], grads, paths, carry[1], overrides, how)

    rest = [Moved(p, None) for p in params]
    if not recipe.gathers:
        return step((rest, state), grads)
    micro = state.micro if is_host(state.micro) else backend.floating(state.micro)
    gathered = [_gather(backend, *pair, micro) for pair in zip(state.gathered, grads, strict=True)]
    waiting = state._replace(micro=state.micro + 1, gathered=tuple(gathered))
    rest = [Moved(p, None if a is None else backend.xp.zeros_like(p)) for p, a in zip(params, gathered, strict=True)]

    def full(carry: tuple[list[Moved], OptimizerState]) -> tuple[list[Moved], OptimizerState]:
        moved, after = step(carry, gathered)
        empty = _nothing_gathered(backend, params)
        moved = [Moved(m.p, None if m.step is None else backend.cast(m.step, backend.dtype(m.p))) for m in moved]
        return moved, after._replace(micro=after.micro * 0, gathered=empty)

    e = state.step if is_host(state.step) else backend.floating(state.step)
    due = micro + 1.5 >= resolve(recipe.accumulate, backend.xp, e)  # a schedule's value is rounded
    return backend.cond(due, full, (rest, waiting))  # type: ignore[no-any-return]


def _nothing_gathered(backend: Backend, leaves: Sequence[Any]) -> tuple[Any, ...]:
    """The start of a cycle: None, or zeros where a traced state must keep its structure."""
    return tuple(backend.xp.zeros_like(p) if backend.traces else None for p in leaves)


def _gather(backend: Backend, old: Any, g: Any, micro: Any) -> Any:
    """The mean with one more gradient; a missing one counts as zero once there is something to add to."""
    if old is None and g is None:
        return None
    like = old if g is None else g
    n = micro if is_host(micro) else backend.scalar(micro, like)
    zero = backend.xp.zeros_like(like)
    return template.mean(zero if old is None else old, zero if g is None else g, n)


def _step(
    recipe: Recipe,
    backend: Backend,
    params: Sequence[Any],
    grads: Sequence[Any],
    paths: Sequence[str],
    state: OptimizerState,
    overrides: Sequence[Mapping[str, Any]] | None,
    how: Mapping[str, bool],
) -> tuple[list[Moved], OptimizerState]:
    rule = recipe.rule
    fine = _all_finite(backend, grads) if recipe.on_nonfinite == "skip" else True
    if fine is False:
        return [Moved(p, None) for p in params], state
    values = numbers(rule.complete(), backend, state.step, rule.hypers)
    empty = [rule.axes and 0 in p.shape for p in params]  # no row, no column, no matrix: nothing to move
    run = [i for i, g in enumerate(grads) if g is not None and not empty[i]]
    jobs = []
    for i in run:
        mine = {**values, **overrides[i]} if overrides else values
        mine = _of_leaf(recipe, mine, paths[i], backend)
        kept = state.leaves[i]
        if any(f.noise for f in rule.fields):
            kept = _with_noise(recipe, backend, kept, params[i], paths[i], state.counts[i] + 1)
        leaf = Leaf(params[i], grads[i], kept, state.counts[i] + 1, mine)
        if recipe.rounding == "stochastic" and backend.dtype(leaf.p) in SPACING:
            leaf.chance = keys(backend, recipe.seed, paths[i], leaf.t)
        jobs.append(leaf)
    param_state = recipe.state_dtype == "param"
    done, shared = advance(rule, backend, jobs, state.shared, param_state=param_state, **how)
    moved, counts, leaves = [Moved(p, None) for p in params], list(state.counts), list(state.leaves)
    for i, (at, arrays) in zip(run, done, strict=True):
        moved[i], counts[i] = at, counts[i] + 1
        leaves[i] = _stored(recipe, arrays, params[i], backend)
    average = state.average
    if recipe.average is not None:
        average = tuple(
            backend.cond(state.step == 0, partial(_copied, backend, m.p), template.average(old, m.p, recipe.average))
            for old, m in zip(average, moved, strict=True)
        )
    after = state._replace(
        step=state.step + 1, shared=tuple(shared), counts=tuple(counts), leaves=tuple(leaves), average=average
    )
    if fine is True:
        return moved, after
    rest = [
        Moved(p, None if m.step is None else backend.xp.zeros_like(m.step)) for p, m in zip(params, moved, strict=True)
    ]
    both: Any = (moved, after), (rest, state)
    return optree.tree_map(lambda a, b: backend.xp.where(fine, a, b), *both)  # type: ignore[return-value]


def _with_noise(recipe: Recipe, backend: Backend, state: Any, p: Any, path: str, t: Any) -> Any:
    """A leaf's state with fresh normal numbers, of its own for each field."""
    dtype = COMPUTE[backend.dtype(p)]
    if dtype.startswith("complex"):
        raise TypeError(f"{recipe.rule.name}: the parameter {path!r} is complex; a rule with noise takes real ones")
    arrays, shards = list(recipe.rule.unpack(state)), backend.shards(p)
    for i, f in enumerate(recipe.rule.fields):
        if f.noise:
            drawn = normal(backend, p, dtype, keys(backend, recipe.seed, f"{path}/{f.name}", t))
            arrays[i] = drawn if shards is None else shards.joined(drawn)
    return recipe.rule.pack(arrays)


def _copied(backend: Backend, x: Any, _: Any) -> Any:
    return backend.copy(x)


def _all_finite(backend: Backend, grads: Sequence[Any]) -> Any:
    fine: Any = True
    for g in grads:
        if g is not None:
            fine = fine & _finite(backend, g)
    return fine if backend.traces else bool(fine)


def _finite(backend: Backend, g: Any) -> Any:
    shards = backend.shards(g)
    if shards is None:
        return backend.xp.all(backend.xp.isfinite(g))
    here = shards.part(g)
    odd = 1.0 - backend.cast(backend.xp.isfinite(here), "float32")
    return shards.total(backend.xp.sum(odd), False) == 0


def _of_leaf(recipe: Recipe, values: Mapping[str, Any], path: str, backend: Backend) -> dict[str, Any]:
    values = {**values, **recipe.own(path)} if recipe.leaves else values
    return of_leaf(values, recipe.layout_of(path, backend.native_layout), decays=recipe.decays(path))  # type: ignore[arg-type]


def of_leaf(values: Mapping[str, Any], layout: str, *, decays: bool) -> dict[str, Any]:
    """The numbers of one leaf: without decay where the recipe says so, in its layout."""
    return laid_out(values if decays else {**values, "weight_decay": 0.0}, layout)


def _stored(recipe: Recipe, arrays: Sequence[Any], p: Any, backend: Backend) -> Any:
    """A leaf's state as it is kept: without shared fields and noise, in the dtype the recipe asks for."""
    local = [None if f.shared or f.noise else x for f, x in zip(recipe.rule.fields, arrays, strict=True)]
    if recipe.state_dtype == "param" and not backend.dtype(p).startswith("complex"):
        local = [x if x is None else backend.cast(x, backend.dtype(p)) for x in local]
    return recipe.rule.pack(local)
