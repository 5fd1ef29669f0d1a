"""Groups of one structure that move together, and the way on which all of them move in one pass over memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import TYPE_CHECKING, Any

from optcore.adapters.native import Native
from optcore.backends import fused
from optcore.backends.base import missing
from optcore.backends.fused.trace.graph import Unfusable
from optcore.backends.leaves import Marks, marks, numbers_at
from optcore.backends.torch import backend
from optcore.recipe import OPTIONS, Recipe

try:
    import torch
except ImportError:
    raise missing("torch", "torch") from None

if TYPE_CHECKING:
    from optcore.adapters.torch.optimizer import Optimizer
    from optcore.backends.fused.engines.tensors import Standing

__all__ = ["Member", "Pass", "Ready", "member", "names_of", "paths_of", "stand", "structure"]


@dataclass
class Member:
    """A parameter that takes part in a step."""

    p: Any
    path: str
    values: dict[str, Any]  #: its numbers
    group: dict[str, Any]
    plan: Native
    extra: tuple[tuple[str, Any], ...]  #: the numbers that the constructor gives to it alone
    mark: Marks  #: what the recipe says of it


def member(p: Any, path: str, values: Mapping[str, Any], group: dict[str, Any], plan: Native) -> Member:
    """A parameter with its numbers; ``values`` are its group's."""
    extra = tuple(plan.numbers_of(path, tuple(p.shape), backend.dtype(p)).items())
    mark = marks(plan.recipe, path, backend.native_layout)  # type: ignore[arg-type]
    mine = numbers_at(plan.recipe.rule, values, mark, backend, group["updates"], dict(extra))
    return Member(p, path, mine, group, plan, extra, mark)


def structure(recipe: Recipe) -> Any:
    """The part of a recipe that is the same in all recipes whose leaves are moved together."""
    alike = (name for name in OPTIONS if name not in ("no_decay", "freeze", "layout", "leaves"))
    return recipe.rule.structure, tuple(getattr(recipe, name) for name in alike)


@dataclass
class Pass:
    """Groups whose rules have one structure, with the leaves that take part in this step."""

    plan: Native
    groups: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    leaves: list[Member] = field(default_factory=list)
    frozen: list[Any] = field(default_factory=list)  #: parameters that stay, whatever gradient they have

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    @property
    def shared(self) -> list[str]:
        """The group keys of the rule's shared fields."""
        return [n for n, f in zip(names_of(self.plan), self.recipe.rule.fields, strict=True) if f.shared]

    def check_shared(self) -> None:
        """One value for the whole tree has one set of numbers; only the rate and the decay are a leaf's own."""
        if not any(f.shared for f in self.recipe.rule.fields):
            return
        own = ("lr", "weight_decay", "decay", "layout")
        first = None
        for m in self.leaves:
            common = {k: v for k, v in m.values.items() if k.rpartition(".")[2] not in own}
            first = common if first is None else first
            if common != first:
                name = next(k for k in common if common[k] != first[k])
                raise ValueError(
                    f"{self.recipe.rule.name}: {name}={common[name]!r} for {m.path!r} and {first[name]!r} elsewhere; "
                    "a rule with shared fields takes one value for all groups"
                )


def _host(x: Any) -> Any:
    """The number in a tensor, where nothing is lost by reading it."""
    return float(x) if x.is_cpu and not x.requires_grad and x.numel() == 1 else x


def names_of(plan: Native) -> list[str]:
    return [plan.state.get(f.name, f.name) for f in plan.recipe.rule.fields]


def paths_of(groups: list[dict[str, Any]], group: dict[str, Any]) -> list[str]:
    """Parameter names where the caller gave them, else group and position."""
    if "param_names" in group:
        return list(group["param_names"])
    index = next(i for i, g in enumerate(groups) if g is group)
    return [f"{index}/{i}" for i in range(len(group["params"]))]


def stand(optimizer: Optimizer, passes: Sequence[Pass]) -> Ready | None:
    """What moves these passes without a look at any single tensor; None where they do not all allow it."""
    if not fused.usable():
        return None
    from optcore.backends.fused.engines.tensors import Member as Tensors
    from optcore.backends.fused.engines.tensors import Standing

    passes, found = [one for one in passes if one.leaves], []
    for one in passes:
        recipe, names = one.recipe, names_of(one.plan)
        if (
            recipe.rule.axes
            or any(f.noise for f in recipe.rule.fields)
            or recipe.gathers
            or recipe.average is not None
            or recipe.on_nonfinite != "propagate"
            or recipe.rounding != "nearest"
        ):
            return None
        members = []
        for m in one.leaves:
            members.append(Tensors(m.p, optimizer.state[m.p], (id(m.group), m.extra, m.mark)))
        try:
            found.append(Standing(recipe.rule, members, names))
        except Unfusable:
            return None
    ready = Ready(optimizer, passes, found)
    return ready if found and ready.holds(optimizer) else None


class Ready:
    """Passes whose tensors are known to be fit for one pass over memory, checked anew before each step."""

    def __init__(self, optimizer: Optimizer, passes: Sequence[Pass], standing: Sequence[Standing]) -> None:
        self.standing = standing
        self.every = list(optimizer.param_groups)
        self.groups = [[group for group, _ in one.groups] for one in passes]
        self.structures = [structure(one.recipe) for one in passes]
        self.names = [names_of(one.plan) for one in passes]
        self.params = [list(group["params"]) for group in optimizer.param_groups]
        known = {id(p) for one in passes for p in (*(m.p for m in one.leaves), *one.frozen)}
        self.resting = [p for params in self.params for p in params if id(p) not in known]
        self.states = list(optimizer.state.values())

    def belongs(self, optimizer: Optimizer) -> bool:
        """Whether groups and states are those that were found fit; a gradient may have come or gone."""
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
        return all(each.same_states() for each in self.standing)

    def holds(self, optimizer: Optimizer) -> bool:
        """Whether groups, states and gradients are those that were found fit."""
        if any(p.grad is not None for p in self.resting):
            return False
        return self.belongs(optimizer) and all(each.ready() for each in self.standing)

    def step(self, optimizer: Optimizer) -> bool:
        """Make one step; False, with nothing moved, where that takes another way."""
        if not self.holds(optimizer):
            return False
        ready = []
        for groups, alike, names, each in zip(self.groups, self.structures, self.names, self.standing, strict=True):
            found = {id(group): optimizer._numbers(group) for group in groups}
            plans = [plan for plan, _, _ in found.values()]
            if any(structure(plan.recipe) != alike or names_of(plan) != names for plan in plans):
                return False
            values = []
            for group, extra, mark in each.sources:
                plan, given, _ = found[group]
                mine = numbers_at(plan.recipe.rule, given, mark, backend, groups[0]["updates"], dict(extra))
                values.append({k: _host(v) if torch.is_tensor(v) else v for k, v in mine.items()})
            first = groups[0]
            shared = [(f.name, n) for f, n in zip(each.rule.fields, names, strict=True) if f.shared]
            if any(torch.is_tensor(x) for v in values for x in v.values()):
                return False
            given = {f: first[n] for f, n in shared}
            try:
                ready.append((each, each.batches(values, given), shared, found, groups))
            except Unfusable:
                return False
        for each, batches, shared, found, groups in ready:
            new = each.run(batches)
            count = groups[0]["updates"] + 1
            for group in groups:
                group.update(zip((n for _, n in shared), new, strict=True))
                group.update(found[id(group)][2])
                group["updates"], group["micro"] = count, 0
        return True
