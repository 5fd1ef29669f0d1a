"""Native torch.optim optimizers: ``optcore.adapters.torch.AdamW(params, lr=1e-3, ...)``.

Every rule has a class here, under torch's name and signature where torch has the rule.
:func:`from_recipe` builds the native object of a recipe.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from optcore.adapters import native
from optcore.adapters.native import Constructor, Native
from optcore.backends.base import missing
from optcore.backends.optimizer import OptimizerState, advance_all, begin
from optcore.backends.torch import backend
from optcore.recipe import Recipe
from optcore.schedule import Schedule

try:
    import torch
except ImportError:
    raise missing("torch", "torch") from None

__all__ = ["Optimizer", "from_recipe", "from_rule"]

RUN = ("foreach", "fused", "capturable", "differentiable")
"""Options that say how to run; they are accepted, kept in the groups and read where they matter."""


class Optimizer(torch.optim.Optimizer):
    """The base of all classes here: translates groups and state, and hands the leaves to the driver.

    A leaf without a gradient is not run and its counter stays. State holds tensors only, under torch's names
    where torch has the rule, so state dicts move in both directions.
    """

    _constructor: Constructor

    def __init__(self, params: Any, **options: Any) -> None:
        self._chosen(options).build(**_computed(options))  # raises before anything is kept
        super().__init__(params, options | {"updates": 0, "micro": 0})
        self.defaults.setdefault("differentiable", False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in {**self._chosen(group).defaults, "updates": 0, "micro": 0}.items():
                group.setdefault(name, default)
            for p in group["params"]:
                mine = self.state.get(p)
                if mine:
                    step = mine.setdefault("step", 1.0)  # a state without a step has made one
                    mine["step"] = step if torch.is_tensor(step) else torch.tensor(float(step))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, ours or torch's own; it is copied, so that two optimizers never share a tensor."""
        super().load_state_dict(copy.deepcopy(state_dict))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; with a closure, evaluate it first and return its loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(bool(self.defaults.get("differentiable"))):
            for groups in self._passes():
                self._advance(groups)
        return loss

    def init_state(self) -> None:
        """Make the state of every parameter now, without a step, as distributed checkpoints want it."""
        for group in self.param_groups:
            plan = self._plan(group)
            for p, path in zip(group["params"], _paths(self.param_groups, group), strict=True):
                if p.requires_grad:
                    self._state_of(group, plan, p, path)

    def _passes(self) -> list[list[tuple[dict[str, Any], Native]]]:
        """The groups, those of one structure together: their totals are over all of them."""
        passes: dict[Any, list[tuple[dict[str, Any], Native]]] = {}
        for group in self.param_groups:
            plan = self._plan(group)
            passes.setdefault(plan.recipe.rule.structure, []).append((group, plan))
        return list(passes.values())

    def _chosen(self, options: Mapping[str, Any]) -> Constructor:
        """The class' own constructor, or the one of the library that ``like`` names."""
        like = options.get("like")
        return native.constructor("torch", self._constructor.name, like) if like else self._constructor

    def _plan(self, group: Mapping[str, Any]) -> Native:
        chosen = self._chosen(group)
        return _plan(chosen, _computed({name: group[name] for name in chosen.defaults if name in group}))

    def _advance(self, groups: list[tuple[dict[str, Any], Native]]) -> None:
        params, grads, paths, numbers, owners = [], [], [], [], []
        recipe = groups[0][1].recipe
        updates = groups[0][0]["updates"]
        for group, plan in groups:
            values = plan.recipe.values
            if isinstance(values["lr"], Schedule):
                if "initial_lr" in group:
                    raise RuntimeError(
                        "optcore: the recipe's lr is a schedule and a torch LR scheduler is attached too; keep one"
                    )
                group["lr"] = float(values["lr"](updates))
            for p, path in zip(group["params"], _paths(self.param_groups, group), strict=True):
                if p.grad is None:
                    continue
                if p.grad.is_sparse:
                    raise RuntimeError(f"{type(self).__name__}: sparse gradients are not supported; use SparseAdam")
                mine = {**values, "lr": _scalar(group["lr"])}
                mine |= plan.of_leaf(path, tuple(p.shape), backend.dtype(p)) if plan.of_leaf else {}
                params.append(p)
                grads.append(p.grad)
                paths.append(path)
                numbers.append({k: v for k, v in mine.items() if not isinstance(v, Schedule)})
                owners.append((group, plan))
        if not params:
            return
        for (group, plan), p, path in zip(owners, params, paths, strict=True):
            self._state_of(group, plan, p, path)
        state = self._gathered(recipe, groups[0][0], params, owners)
        moved, state = advance_all(recipe, backend, params, grads, paths, state, numbers)
        for p, new in zip(params, moved, strict=True):
            p.copy_(new.p)
        self._scatter(recipe, groups, params, owners, state)

    def _gathered(
        self, recipe: Recipe, group: Mapping[str, Any], params: list[Any], owners: list[Any]
    ) -> OptimizerState:
        """The driver's state, read from torch's."""
        counts, leaves = [], []
        for p, (own, plan) in zip(params, owners, strict=True):
            mine, names = self.state[p], _names(plan)
            step = mine["step"]
            counts.append(step if own.get("capturable") or step.requires_grad else int(step.item()))
            leaves.append(recipe.rule.pack([mine.get(n) for n in names]))
        shared = tuple(group[n] for n, f in zip(_names(owners[0][1]), recipe.rule.fields, strict=True) if f.shared)
        gathered = tuple(self.state[p]["gathered"] for p in params) if recipe.accumulate > 1 else ()
        average = tuple(self.state[p]["average"] for p in params) if recipe.average is not None else ()
        return OptimizerState(group["updates"], group["micro"], shared, tuple(counts), tuple(leaves), gathered, average)

    def _scatter(
        self, recipe: Recipe, groups: list[Any], params: list[Any], owners: list[Any], state: OptimizerState
    ) -> None:
        for i, (p, (_, plan)) in enumerate(zip(params, owners, strict=True)):
            mine = self.state[p]
            count = state.counts[i]
            mine["step"] = count if torch.is_tensor(count) else torch.tensor(float(count))
            arrays = zip(_names(plan), recipe.rule.fields, recipe.rule.unpack(state.leaves[i]), strict=True)
            mine.update({n: x for n, f, x in arrays if not f.shared and x is not None})
            if recipe.accumulate > 1:
                mine["gathered"] = state.gathered[i]
            if recipe.average is not None:
                mine["average"] = state.average[i]
        shared = [n for n, f in zip(_names(owners[0][1]), recipe.rule.fields, strict=True) if f.shared]
        for group, _ in groups:
            group.update(zip(shared, state.shared, strict=True))
            group["updates"], group["micro"] = state.step, state.micro

    def _state_of(self, group: dict[str, Any], plan: Native, p: Any, path: str) -> None:
        """Make what is missing of a parameter's state."""
        mine = self.state[p]
        rule = plan.recipe.rule
        names = _names(plan)
        absent = [n for n, f in zip(names, rule.fields, strict=True) if n not in (group if f.shared else mine)]
        if "step" in mine and not absent:
            return
        extra = plan.of_leaf(path, tuple(p.shape), backend.dtype(p)) if plan.of_leaf else {}
        recipe = plan.recipe.replace(**extra) if extra else plan.recipe
        fresh = begin(recipe, backend, [p], [path])
        step = torch.tensor(0.0, device=p.device if group.get("capturable") else "cpu")
        mine.setdefault("step", step)
        shared = iter(fresh.shared)
        for name, f, x in zip(names, rule.fields, rule.unpack(fresh.leaves[0]), strict=True):
            if f.shared:
                group.setdefault(name, next(shared))
            elif x is not None:
                mine.setdefault(name, x)
        if recipe.accumulate > 1:
            mine.setdefault("gathered", fresh.gathered[0])
        if recipe.average is not None:
            mine.setdefault("average", fresh.average[0])


def _computed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a constructor computes with; a tensor of one element is a 0-d one."""
    return {k: _scalar(v) for k, v in options.items() if k not in (*RUN, "like")}


def _scalar(value: Any) -> Any:
    return value.reshape(()) if torch.is_tensor(value) and value.numel() == 1 else value


def _plan(constructor: Constructor, options: dict[str, Any]) -> Native:
    """The recipe of a group; numbers do not change its structure, so equal options share it."""
    try:
        return _cached_plan(constructor, tuple(options.items()))
    except TypeError:  # an option that is no hashable value
        return constructor.build(**options)


@lru_cache(maxsize=1024)
def _cached_plan(constructor: Constructor, options: tuple[tuple[str, Any], ...]) -> Native:
    return constructor.build(**dict(options))


def _names(plan: Native) -> list[str]:
    return [plan.state.get(f.name, f.name) for f in plan.recipe.rule.fields]


def _paths(groups: list[dict[str, Any]], group: dict[str, Any]) -> list[str]:
    """Parameter names where the caller gave them, else group and position."""
    if "param_names" in group:
        return list(group["param_names"])
    index = next(i for i, g in enumerate(groups) if g is group)
    return [f"{index}/{i}" for i in range(len(group["params"]))]


def _signature(constructor: Constructor) -> inspect.Signature:
    """The parameters of a constructor after ``params``, with the hints of how to run."""
    own = (inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD), *constructor.parameters)
    if all(p.name != "foreach" for p in constructor.parameters):
        keyword = inspect.Parameter.KEYWORD_ONLY
        own = (*own, *(inspect.Parameter(n, keyword, default=None) for n in ("foreach", "fused")))
        own = (*own, *(inspect.Parameter(n, keyword, default=False) for n in ("capturable", "differentiable")))
    return inspect.Signature(own)


def _class(constructor: Constructor) -> type[Optimizer]:
    """The class of a constructor, with its signature."""
    signature = _signature(constructor)

    def __init__(self: Optimizer, *args: Any, like: str | None = None, **options: Any) -> None:
        foreign = like is not None and like != "torch"
        chosen = _signature(native.constructor("torch", constructor.name, like)) if foreign else signature
        bound = chosen.bind(*args, **options)
        bound.apply_defaults()
        Optimizer.__init__(self, **bound.arguments, **({"like": like} if foreign else {}))

    return type(
        constructor.name,
        (Optimizer,),
        {
            "__init__": __init__,
            "__signature__": signature,
            "__doc__": constructor.doc,
            "__module__": __name__,
            "_constructor": constructor,
        },
    )


def from_rule(rule: Any) -> type[Optimizer]:
    """The class of a rule of your own."""
    return _class(native.of_rule("torch", rule))


RECIPES: dict[str, Recipe] = {}
"""Recipes by their JSON text, which is what a group can keep; those of rules of one's own stay known."""


def _from_json(recipe: str, lr: Any = None, weight_decay: Any = None) -> Native:
    """The recipe of a JSON text, with the group's decay; the rate is the group's own and comes with each step."""
    del lr
    found = RECIPES.get(recipe) or RECIPES.setdefault(recipe, Recipe.from_json(recipe))
    changes = {} if weight_decay is None else {"weight_decay": weight_decay}
    return Native(found.replace(**changes) if changes else found)


FROM_JSON = Constructor("FromRecipe", "", tuple(inspect.signature(_from_json).parameters.values()), _from_json)


def from_recipe(recipe: Recipe, params: Iterable[Any]) -> Optimizer:
    """The native optimizer of a recipe.

    ``group["lr"]`` and ``group["weight_decay"]`` are numbers and win; where the recipe's lr is a schedule its
    current value is written to ``group["lr"]`` before each step. Patterns of the recipe need parameter
    names: give ``model.named_parameters()``. Raises ValueError where they are missing.
    """
    text = recipe.to_json(indent=None)
    RECIPES[text] = recipe
    values = recipe.values
    lr = float(values["lr"](0)) if isinstance(values["lr"], Schedule) else values["lr"]
    decay = None if isinstance(values["weight_decay"], Schedule) else values["weight_decay"]
    optimizer: Optimizer = FromRecipe(params, recipe=text, lr=lr, weight_decay=decay)
    if recipe.no_decay or isinstance(recipe.layout, Mapping):
        if any("param_names" not in group for group in optimizer.param_groups):
            raise ValueError(
                "optcore.adapters.torch: the recipe chooses parameters by name; give model.named_parameters()"
            )
    return optimizer


FromRecipe = _class(FROM_JSON)


@lru_cache
def _named(name: str) -> type[Optimizer]:
    return _class(native.constructor("torch", name))


def __getattr__(name: str) -> type[Optimizer]:
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        return _named(name)
    except ValueError as error:
        raise AttributeError(str(error)) from None


def __dir__() -> list[str]:
    return [*__all__, *native.names("torch")]
