"""The fast way of the torch adapter: all parameters in one pass over memory, without a look at any single tensor."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import TYPE_CHECKING, Any

from optcore.adapters.torch.cohort import Cohort, structure
from optcore.backends.fused.engines import one_pass
from optcore.backends.fused.trace.graph import Unfusable
from optcore.backends.leaves import numbers_at
from optcore.backends.torch import backend

if TYPE_CHECKING:
    from optcore.adapters.torch.optimizer import TorchOptimizer
    from optcore.backends.fused.engines.prepared import PreparedLoop

__all__ = ["FastStep"]


class FastStep:
    """Cohorts whose tensors are known to be fit for one pass over memory, checked anew before each step."""

    @classmethod
    def of(cls, optimizer: TorchOptimizer, cohorts: Sequence[Cohort]) -> FastStep | None:
        """The fast step of these cohorts; None where one of them has to be moved in another way."""
        cohorts = [one for one in cohorts if one.leaves]
        if not cohorts or not all(one_pass(one.recipe) for one in cohorts):
            return None
        from optcore.backends.fused.engines.prepared import PreparedLoop, Tensors

        loops = []
        for one in cohorts:
            tensors = [Tensors(m.p, optimizer.state[m.p], (id(m.group), m.extra, m.mark)) for m in one.leaves]
            try:
                loops.append(PreparedLoop(one.recipe.rule, tensors, [slot.name for slot in one.plan.slots]))
            except Unfusable:
                return None
        found = cls(optimizer, cohorts, loops)
        return found if found.holds(optimizer) else None

    def __init__(self, optimizer: TorchOptimizer, cohorts: Sequence[Cohort], loops: Sequence[PreparedLoop]) -> None:
        self.loops = loops
        self.every = list(optimizer.param_groups)
        self.groups = [[group for group, _ in one.groups] for one in cohorts]
        self.structures = [structure(one.recipe) for one in cohorts]
        self.slots = [one.plan.slots for one in cohorts]
        self.params = [list(group["params"]) for group in optimizer.param_groups]
        known = {id(p) for one in cohorts for p in (*(m.p for m in one.leaves), *one.frozen)}
        self.resting = [p for params in self.params for p in params if id(p) not in known]
        self.states = list(optimizer.state.values())

    def belongs(self, optimizer: TorchOptimizer) -> bool:
        """Tell whether groups and states are those that were prepared; gradients may have come or gone."""
        groups, states = optimizer.param_groups, optimizer.state
        if len(groups) != len(self.every) or len(states) != len(self.states):
            return False
        if not all(map(is_, groups, self.every)):
            return False
        for group, params in zip(groups, self.params, strict=True):
            if len(group["params"]) != len(params) or not all(map(is_, group["params"], params)):
                return False
        if not all(map(is_, states.values(), self.states)):
            return False
        return all(each.same_states() for each in self.loops)

    def holds(self, optimizer: TorchOptimizer) -> bool:
        """Tell whether groups and states are those that were prepared, and every gradient fits."""
        if any(p.grad is not None for p in self.resting):
            return False
        return self.belongs(optimizer) and all(each.ready() for each in self.loops)

    def step(self, optimizer: TorchOptimizer) -> bool:
        """Make one step; False, with nothing moved, where that takes another way."""
        if not self.holds(optimizer):
            return False
        prepared = []
        for groups, alike, slots, loop in zip(self.groups, self.structures, self.slots, self.loops, strict=True):
            found = {id(group): optimizer._numbers(group) for group in groups}
            plans = [plan for plan, _, _ in found.values()]
            if any(structure(plan.recipe) != alike or plan.slots != slots for plan in plans):
                return False
            first = groups[0]

            def numbers(source: Any, found: Any = found, first: Any = first) -> dict[str, Any]:
                group, extra, mark = source
                plan, given, _ = found[group]
                return numbers_at(plan.recipe.rule, given, mark, backend, first["updates"], dict(extra))

            shared = [slot for slot in slots if slot.shared]
            batches = loop.prepared(numbers, {slot.field.name: first[slot.name] for slot in shared})
            if batches is None:
                return False
            prepared.append((loop, batches, shared, found, groups))
        for loop, batches, shared, found, groups in prepared:
            new = loop.run(batches)
            count = groups[0]["updates"] + 1
            for group in groups:
                group.update(zip((slot.name for slot in shared), new, strict=True))
                group.update(found[id(group)][2])
                group["updates"], group["micro"] = count, 0
        return True
