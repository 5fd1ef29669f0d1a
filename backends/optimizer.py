"""A recipe on a tree of arrays, without any framework."""

from __future__ import annotations

from typing import Any, NamedTuple

from optcore import leaf as template
from optcore.backends.base import Backend
from optcore.backends.drive import Leaf, advance, check, fits, laid_out, numbers, start
from optcore.backends.trees import flatten, flatten_like
from optcore.recipe import Recipe
from optcore.rule import Rule
from optcore.scalars import is_host

__all__ = ["Optimizer", "OptimizerState"]


class OptimizerState(NamedTuple):
    """The state of a tree: plain tuples of arrays in the order of the leaves."""

    step: Any  #: updates begun by the driver, a Python number at the start
    micro: Any  #: gradients gathered towards the next update
    shared: tuple[Any, ...]  #: the rule's shared fields, 0-d
    counts: tuple[Any, ...]  #: updates of each leaf; a leaf without a gradient keeps its count
    leaves: tuple[Any, ...]  #: the rule's state of each leaf
    gathered: tuple[Any, ...]  #: the mean of the gradients gathered, where the recipe accumulates
    average: tuple[Any, ...]  #: the moving average of the parameters, where the recipe keeps one


class Optimizer:
    """Runs a recipe on a tree of NumPy, CuPy, JAX or torch arrays; pure: nothing given is written to.

    >>> opt = Optimizer(Recipe(optcore.adam, lr=1e-3, weight_decay=0.01))
    >>> state = opt.init(params)
    >>> params, state = opt.update(params, grads, state)
    """

    def __init__(self, recipe: Recipe | Rule) -> None:
        self.recipe = recipe if isinstance(recipe, Recipe) else Recipe(recipe)

    def init(self, params: Any) -> OptimizerState:
        """The state before the first step; TypeError for a leaf that is no floating-point array."""
        leaves, paths, _ = flatten(params)
        rule, recipe = self.recipe.rule, self.recipe
        backend = check(f"Optimizer({rule.name})", leaves, [None] * len(leaves), paths)
        states, shared = [], ()
        for p, path in zip(leaves, paths, strict=True):
            fits(rule, p, path)
        for p, path in zip(leaves, paths, strict=True):
            arrays = rule.unpack(start(rule, backend, p, self._values(recipe.rule.complete(), path, backend)))
            shared = shared or tuple(x for f, x in zip(rule.fields, arrays, strict=True) if f.shared)
            states.append(self._stored(arrays, p, backend))
        gathered = tuple(backend.xp.zeros_like(p) for p in leaves) if recipe.accumulate > 1 else ()
        average = tuple(backend.copy(p) for p in leaves) if recipe.average is not None else ()
        return OptimizerState(0, 0, shared, (0,) * len(leaves), tuple(states), gathered, average)

    def update(self, params: Any, grads: Any, state: OptimizerState) -> tuple[Any, OptimizerState]:
        """One step: new parameters and new state.

        A gradient of None leaves its leaf, and the leaf's count, as they are. Raises TypeError or
        ValueError, naming the leaf, before anything is computed.
        """
        leaves, paths, rebuild = flatten(params)
        who = f"Optimizer({self.recipe.rule.name})"
        given = flatten_like(who, grads, paths)
        if len(state.leaves) != len(leaves):
            raise ValueError(f"{who}: the state has {len(state.leaves)} leaves, the parameters {len(leaves)}")
        backend = check(who, leaves, given, paths)
        with backend.without_gradient():
            new, state = self._gather(backend, leaves, given, paths, state)
        return rebuild(new), state

    def _gather(
        self, backend: Backend, params: list[Any], grads: list[Any], paths: list[str], state: OptimizerState
    ) -> tuple[list[Any], OptimizerState]:
        every = self.recipe.accumulate
        if every == 1:
            return self._step(backend, params, grads, paths, state)
        micro = state.micro if is_host(state.micro) else backend.floating(state.micro)
        acc = []
        for old, g in zip(state.gathered, grads, strict=True):
            n = micro if is_host(micro) else backend.scalar(micro, old)
            acc.append(old if g is None else template.mean(old, g, n))
        present = [None if g is None else a for g, a in zip(grads, acc, strict=True)]
        waiting = state._replace(micro=state.micro + 1, gathered=tuple(acc))

        def full(carry: tuple[list[Any], OptimizerState]) -> tuple[list[Any], OptimizerState]:
            moved, after = self._step(backend, carry[0], present, paths, carry[1])
            zeros = tuple(backend.xp.zeros_like(a) for a in acc)
            return moved, after._replace(micro=after.micro * 0, gathered=zeros)

        return backend.cond(waiting.micro >= every, full, (params, waiting))  # type: ignore[no-any-return]

    def _step(
        self, backend: Backend, params: list[Any], grads: list[Any], paths: list[str], state: OptimizerState
    ) -> tuple[list[Any], OptimizerState]:
        recipe, rule = self.recipe, self.recipe.rule
        values = numbers(rule.complete(), backend, state.step)
        run = [i for i, g in enumerate(grads) if g is not None]
        jobs = [
            Leaf(params[i], grads[i], state.leaves[i], state.counts[i] + 1, self._values(values, paths[i], backend))
            for i in run
        ]
        moved, shared = advance(rule, backend, jobs, state.shared)
        new, counts, leaves = list(params), list(state.counts), list(state.leaves)
        for i, m in zip(run, moved, strict=True):
            new[i], counts[i] = m.p, counts[i] + 1
            leaves[i] = self._stored(rule.unpack(m.state), params[i], backend)
        average = state.average
        if recipe.average is not None:
            average = tuple(self._average(backend, a, p, state.step) for a, p in zip(average, new, strict=True))
        after = state._replace(
            step=state.step + 1, shared=tuple(shared), counts=tuple(counts), leaves=tuple(leaves), average=average
        )
        if recipe.on_nonfinite == "propagate":
            return new, after
        return self._keep_finite(backend, grads, (new, after), (params, state))

    def _keep_finite(self, backend: Backend, grads: list[Any], new: Any, old: Any) -> Any:
        """Everything as it was where any gradient holds a NaN or an infinity."""
        xp = backend.xp
        fine: Any = True
        for g in grads:
            if g is not None:
                fine = fine & xp.all(xp.isfinite(g))
        if not backend.traces:
            return new if fine else old
        import optree

        return optree.tree_map(lambda a, b: xp.where(fine, a, b), new, old, none_is_leaf=False)

    def _average(self, backend: Backend, old: Any, p: Any, step: Any) -> Any:
        kept = template.average(old, p, self.recipe.average)  # type: ignore[arg-type]
        return backend.cond(step == 0, lambda _: p, kept)

    def _values(self, values: dict[str, Any], path: str, backend: Backend) -> dict[str, Any]:
        values = dict(values)
        if not self.recipe.decays(path):
            values["weight_decay"] = 0.0
        return laid_out(values, self.recipe.layout_of(path, backend.native_layout))  # type: ignore[arg-type]

    def _stored(self, arrays: list[Any], p: Any, backend: Backend) -> Any:
        """A leaf's state as it is kept: without shared fields, in the dtype the recipe asks for."""
        rule = self.recipe.rule
        local = [None if f.shared else x for f, x in zip(rule.fields, arrays, strict=True)]
        if self.recipe.state_dtype == "param" and not backend.dtype(p).startswith("complex"):
            local = [x if x is None else backend.cast(x, backend.dtype(p)) for x in local]
        return rule.pack(local)
