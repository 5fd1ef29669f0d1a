"""Groups of one structure, which move together: their totals are over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optcore.adapters.native import Native
from optcore.backends.leaves import Marks, marks, numbers_at
from optcore.backends.torch import backend
from optcore.recipe import OPTIONS, Recipe

__all__ = ["Cohort", "Participant", "participant", "paths_of", "structure"]


@dataclass
class Participant:
    """A parameter that takes part in a step."""

    p: Any
    path: str
    values: dict[str, Any]  #: its numbers
    group: dict[str, Any]
    plan: Native
    extra: tuple[tuple[str, Any], ...]  #: the numbers that the constructor gives to it alone
    mark: Marks  #: what the recipe says of it


def participant(p: Any, path: str, values: Mapping[str, Any], group: dict[str, Any], plan: Native) -> Participant:
    """A parameter with its numbers; ``values`` are its group's."""
    extra = tuple(plan.numbers_of(path, tuple(p.shape), backend.dtype(p)).items())
    mark = marks(plan.recipe, path, backend.native_layout)  # type: ignore[arg-type]
    mine = numbers_at(plan.recipe.rule, values, mark, backend, group["updates"], dict(extra))
    return Participant(p, path, mine, group, plan, extra, mark)


def structure(recipe: Recipe) -> Any:
    """The part of a recipe that is the same in all recipes whose leaves are moved together."""
    alike = (name for name in OPTIONS if name not in ("no_decay", "freeze", "layout", "leaves"))
    return recipe.rule.structure, tuple(getattr(recipe, name) for name in alike)


@dataclass
class Cohort:
    """Groups whose rules have one structure, with the leaves that take part in this step."""

    plan: Native
    groups: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    leaves: list[Participant] = field(default_factory=list)
    frozen: list[Any] = field(default_factory=list)  #: parameters that stay, whatever gradient they have

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe

    @property
    def shared(self) -> list[str]:
        """The group keys of the rule's shared fields."""
        return [slot.name for slot in self.plan.slots if slot.shared]

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


def paths_of(groups: list[dict[str, Any]], group: dict[str, Any]) -> list[str]:
    """Parameter names where the caller gave them, else group and position."""
    if "param_names" in group:
        return list(group["param_names"])
    index = next(i for i, g in enumerate(groups) if g is group)
    return [f"{index}/{i}" for i in range(len(group["params"]))]
