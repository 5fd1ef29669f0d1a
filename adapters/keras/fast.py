"""Keras on torch: all variables in one pass over memory, without a look at any single one."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

from optcore.backends.fused.engines import one_pass
from optcore.backends.fused.trace.graph import Unfusable
from optcore.backends.leaves import numbers_at
from optcore.backends.torch import backend
from optcore.backends.values import numbers

if TYPE_CHECKING:
    from optcore.adapters.keras.optimizer import KerasOptimizer

__all__ = ["FastStep"]


class FastStep:
    """Variables whose tensors were found fit for one pass, checked anew before each step."""

    @classmethod
    def of(cls, optimizer: KerasOptimizer, variables: list[Any], slots: list[Any]) -> FastStep | None:
        """The fast step of these variables; None where a tensor, the rule or the recipe does not allow it."""
        recipe = optimizer._own.plan.recipe
        if recipe.freeze or not one_pass(recipe):
            return None
        try:
            return cls(optimizer, variables, slots)
        except Unfusable:
            return None

    def __init__(self, optimizer: KerasOptimizer, variables: list[Any], slots: list[Any]) -> None:
        from optcore.backends.fused.engines.prepared import PreparedLoop, Tensors

        self.plan = optimizer._own.plan
        recipe, fields = self.plan.recipe, self.plan.recipe.rule.fields
        self.held = [*variables, *(s for mine in slots for s in mine if s is not None)]
        self.tensors = [v._value for v in self.held]
        self.shared = optimizer._own.kept.shared
        every = []
        for v, mine in zip(variables, slots, strict=True):
            state = {f.name: s._value for f, s in zip(fields, mine, strict=True) if s is not None}
            extra, mark = optimizer._of_leaf(v)
            every.append(Tensors(v._value, state, (tuple(extra.items()), mark)))
        self.loop = PreparedLoop(recipe.rule, every, [f.name for f in fields], counted=False)

    def holds(self, optimizer: KerasOptimizer, variables: list[Any], slots: list[Any], grads: list[Any]) -> bool:
        """Tell whether variables and options are those that were prepared, and every gradient fits."""
        held = [*variables, *(s for mine in slots for s in mine if s is not None)]
        return (
            optimizer._own.plan is self.plan
            and len(held) == len(self.held)
            and all(map(is_, held, self.held))
            and all(map(is_, (v._value for v in held), self.tensors))
            and self.loop.ready(grads)
        )

    def step(self, rate: float, count: int) -> bool:
        """Make one step; False, with nothing moved, where that takes another way."""
        recipe = self.plan.recipe
        rule = recipe.rule
        common = {**numbers(rule.complete(), backend, count, rule.hypers), "lr": rate}
        names = [f.name for f in rule.fields if f.shared]
        given = {name: v._value.detach() for name, v in zip(names, self.shared, strict=True)}

        def own(source: Any) -> dict[str, Any]:
            extra, mark = source
            return numbers_at(rule, common, mark, backend, count, dict(extra))

        batches = self.loop.prepared(own, given, count + 1)
        if batches is None:
            return False
        for v, x in zip(self.shared, self.loop.run(batches), strict=True):
            v.assign(x)
        return True
