"""Keras on torch: all variables in one pass over memory, without a look at any single one."""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

from optcore.backends import fused
from optcore.backends.fused.trace.graph import Unfusable
from optcore.backends.leaves import numbers_at
from optcore.backends.torch import backend
from optcore.backends.values import numbers

if TYPE_CHECKING:
    from optcore.adapters.keras.optimizer import Optimizer

__all__ = ["Ready", "stand"]


def stand(optimizer: Optimizer, variables: list[Any], slots: list[Any]) -> Ready | None:
    """What moves these variables at once; None where a tensor, the rule or the recipe does not allow it."""
    recipe = optimizer._own.plan.recipe
    plain = recipe.on_nonfinite == "propagate" and recipe.rounding == "nearest"
    alone = not recipe.gathers and recipe.average is None
    noise = any(f.noise for f in recipe.rule.fields)
    if recipe.freeze or not plain or not alone or noise or not fused.usable() or recipe.rule.axes:
        return None
    try:
        return Ready(optimizer, variables, slots)
    except Unfusable:
        return None


class Ready:
    """Variables whose tensors were found fit for one pass, checked anew before each step."""

    def __init__(self, optimizer: Optimizer, variables: list[Any], slots: list[Any]) -> None:
        from optcore.backends.fused.engines.tensors import Member, Standing

        self.plan = optimizer._own.plan
        recipe, fields = self.plan.recipe, self.plan.recipe.rule.fields
        self.held = [*variables, *(s for mine in slots for s in mine if s is not None)]
        self.tensors = [v._value for v in self.held]
        self.shared = optimizer._own.kept.shared
        members = []
        for v, mine in zip(variables, slots, strict=True):
            state = {f.name: s._value for f, s in zip(fields, mine, strict=True) if s is not None}
            extra, mark = optimizer._of_leaf(v)
            members.append(Member(v._value, state, (tuple(extra.items()), mark)))
        names = [f.name for f in fields]
        self.standing = Standing(recipe.rule, members, names, counted=False)

    def holds(self, optimizer: Optimizer, variables: list[Any], slots: list[Any], grads: list[Any]) -> bool:
        """Whether variables, options and gradients are those that were found fit."""
        held = [*variables, *(s for mine in slots for s in mine if s is not None)]
        return (
            optimizer._own.plan is self.plan
            and len(held) == len(self.held)
            and all(map(is_, held, self.held))
            and all(map(is_, (v._value for v in held), self.tensors))
            and self.standing.ready(grads)
        )

    def step(self, rate: float, count: int) -> bool:
        """Make one step; False, with nothing moved, where that takes another way."""
        recipe = self.plan.recipe
        rule = recipe.rule
        common = {**numbers(rule.complete(), backend, count, rule.hypers), "lr": rate}
        values = [numbers_at(rule, common, mark, backend, count, dict(extra)) for extra, mark in self.standing.sources]
        names = [f.name for f in rule.fields if f.shared]
        given = {name: v._value.detach() for name, v in zip(names, self.shared, strict=True)}
        try:
            batches = self.standing.batches(values, given, count + 1)
        except Unfusable:
            return False
        for v, x in zip(self.shared, self.standing.run(batches), strict=True):
            v.assign(x)
        return True
