"""A recipe on a tree of arrays, without any framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import optree

from optcore import leaf as template
from optcore.backends.base import COMPUTE, Backend
from optcore.backends.checks import check, fits
from optcore.backends.drive import advance, start
from optcore.backends.leaf import Leaf, Moved
from optcore.backends.leaves import check_state, marks, numbers_at, wide
from optcore.backends.rounding import SPACING, keys, normal
from optcore.backends.shards import refuse_piece
from optcore.backends.storage import storage
from optcore.backends.trees import flatten, flatten_like
from optcore.backends.values import numbers
from optcore.recipe import Recipe
from optcore.rule import Rule
from optcore.scalars import is_host
from optcore.schedule import resolve

__all__ = ["Optimizer", "OptimizerState", "advance_all", "begin"]


class OptimizerState(NamedTuple):
    """The state of a tree: plain tuples of arrays in the order of the leaves."""

    step: Any  #: updates begun by the driver, a Python number at the start
    micro: Any  #: gradients gathered towards the next update
    shared: tuple[Any, ...]  #: the rule's shared fields, 0-d
    counts: tuple[Any, ...]  #: updates of each leaf; a leaf without a gradient keeps its count
    leaves: tuple[Any, ...]  #: the rule's state of each leaf
    gathered: tuple[Any, ...]  #: the mean of the gradients gathered, in float32 or wider; None where there was none yet
    average: tuple[Any, ...]  #: the moving average of the parameters, in float32 or wider, where the recipe keeps one


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
        if not storage(recipe.state_dtype).plain and (cut or backend.shards(p) is not None):
            raise ValueError(
                f"{rule.name}: state_dtype={recipe.state_dtype!r} codes a whole leaf, and the parameter {path!r} is "
                "spread over processes; give 'compute' or 'param'"
            )
    values, states, shared = numbers(rule.complete(), backend, 0, rule.hypers), [], ()
    for p, path in zip(leaves, paths, strict=True):
        mine = numbers_at(rule, values, marks(recipe, path, backend.native_layout), backend, 0)  # type: ignore[arg-type]
        arrays = rule.unpack(start(rule, backend, p, mine, seed=recipe.seed, path=path))
        common = tuple(x for f, x in zip(rule.fields, arrays, strict=True) if f.shared)
        if not shared or (common and backend.dtype(shared[0]) != "float64"):  # of the widest leaf
            shared = common
        states.append(_begun(recipe, arrays, p, backend))
    gathered = _nothing_gathered(backend, leaves) if recipe.gathers else ()
    average = tuple(_copied(backend, p) for p in leaves) if recipe.average is not None else ()
    return OptimizerState(0, 0, shared, (0,) * len(leaves), tuple(states), gathered, average)


def advance_all(
    recipe: Recipe,
    backend: Backend,
    params: Sequence[Any],
    grads: Sequence[Any],
    paths: Sequence[str],
    state: OptimizerState,
    values: Sequence[Mapping[str, Any]] | None = None,
    *,
    fuse: bool = False,
    donate: bool = False,
) -> tuple[list[Moved], OptimizerState]:
    """One step of a list of leaves; ``values`` are the numbers of each, by default those of the recipe.

    A state that does not fit is refused before anything is computed. With ``fuse`` it is one pass over memory where
    that can be; with ``donate`` parameters and states may be written to. A leaf that does not move, or was moved by
    such a pass, has the displacement None.
    """
    still = [recipe.frozen(path) for path in paths] if recipe.freeze else [False] * len(paths)

    def moving(grads: Sequence[Any]) -> list[Any]:
        return [None if frozen else g for g, frozen in zip(grads, still, strict=True)]

    def step(carry: tuple[list[Moved], OptimizerState], grads: Sequence[Any]) -> tuple[list[Moved], OptimizerState]:
        how = {"fuse": fuse, "donate": donate}
        return _step(recipe, backend, [m.p for m in carry[0]], moving(grads), paths, carry[1], values, how)

    check_state(f"Optimizer({recipe.rule.name})", recipe, params, paths, state)
    rest = [Moved(p, None) for p in params]
    if not recipe.gathers:
        return step((rest, state), grads)
    micro = state.micro if is_host(state.micro) else backend.floating(state.micro)
    gathered = [_gather(backend, *pair, micro) for pair in zip(state.gathered, moving(grads), strict=True)]
    waiting = state._replace(micro=state.micro + 1, gathered=tuple(gathered))
    rest = [
        Moved(p, None if a is None else backend.xp.zeros_like(p)) for p, a in zip(params, moving(gathered), strict=True)
    ]

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
    if not backend.traces:
        return (None,) * len(leaves)
    return tuple(p if p is None else backend.xp.zeros_like(backend.cast(p, wide(backend.dtype(p)))) for p in leaves)


def _gather(backend: Backend, old: Any, g: Any, micro: Any) -> Any:
    """The mean with one more gradient; a missing one counts as zero once there is something to add to."""
    if old is None and g is None:
        return None
    g = g if g is None else backend.cast(g, wide(backend.dtype(g)))
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
    given: Sequence[Mapping[str, Any]] | None,
    how: Mapping[str, bool],
) -> tuple[list[Moved], OptimizerState]:
    rule = recipe.rule
    fine = _all_finite(backend, grads) if recipe.on_nonfinite == "skip" else True
    if fine is False:
        return [Moved(p, None) for p in params], state
    values = {} if given else numbers(rule.complete(), backend, state.step, rule.hypers)
    every = enumerate(zip(params, grads, strict=True))
    run = [i for i, (p, g) in every if g is not None and not (rule.axes and 0 in p.shape)]  # no row, nothing to move
    jobs = []
    for i in run:
        if given:
            mine = given[i]
        else:
            mark = marks(recipe, paths[i], backend.native_layout)  # type: ignore[arg-type]
            mine = numbers_at(rule, values, mark, backend, state.step)
        old = _decoded(recipe, state.leaves[i], params[i], backend)
        if any(f.noise for f in rule.fields):
            old = _with_noise(recipe, backend, old, params[i], paths[i], state.counts[i] + 1)
        leaf = Leaf(params[i], grads[i], old, state.counts[i] + 1, mine)
        if recipe.rounding == "stochastic" and backend.dtype(leaf.p) in SPACING:
            leaf.chance = keys(backend, recipe.seed, paths[i], leaf.t)
        jobs.append(leaf)
    done, shared = advance(rule, backend, jobs, state.shared, **how)
    moved, counts, leaves = [Moved(p, None) for p in params], list(state.counts), list(state.leaves)
    for i, (at, arrays) in zip(run, done, strict=True):
        moved[i], counts[i] = at, counts[i] + 1
        leaves[i] = _stored(recipe, arrays, state.leaves[i], backend)
    average = state.average
    if recipe.average is not None:
        average = tuple(
            old if m.p is None else _averaged(backend, state.step, old, m.p, recipe.average)
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


def _copied(backend: Backend, p: Any) -> Any:
    """A copy of a parameter in float32 or wider."""
    new = backend.cast(p, wide(backend.dtype(p)))
    return backend.copy(p) if new is p else new


def _averaged(backend: Backend, step: Any, old: Any, p: Any, decay: float) -> Any:
    """The moving average with one more parameter; at the first step a copy of it."""
    old, new = (backend.cast(x, wide(backend.dtype(p))) for x in (old, p))
    return backend.cond(step == 0, lambda _: _copied(backend, p), template.average(old, new, decay))


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


def _begun(recipe: Recipe, arrays: Sequence[Any], p: Any, backend: Backend) -> Any:
    """A leaf's first state as it is kept, without shared fields and noise."""
    kind, local = storage(recipe.state_dtype), []
    for f, x in zip(recipe.rule.fields, arrays, strict=True):
        local.append(None if x is None or f.shared or f.noise else kind.first(backend, f, x, p))
    return recipe.rule.pack(local)


def _stored(recipe: Recipe, arrays: Sequence[Any], old: Any, backend: Backend) -> Any:
    """A leaf's new state as it is kept, without shared fields and noise."""
    kind, rule = storage(recipe.state_dtype), recipe.rule
    local = [
        None if f.shared or f.noise else x if x is None or y is None else kind.kept(backend, f, x, y)
        for f, x, y in zip(rule.fields, arrays, rule.unpack(old), strict=True)
    ]
    return rule.pack(local)


def _decoded(recipe: Recipe, state: Any, p: Any, backend: Backend) -> Any:
    """A leaf's state as laws and engines take it."""
    kind, rule = storage(recipe.state_dtype), recipe.rule
    if kind.plain:
        return state
    arrays = zip(rule.fields, rule.unpack(state), strict=True)
    return rule.pack([x if x is None else kind.given(backend, f, x, p) for f, x in arrays])
