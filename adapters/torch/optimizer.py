"""The base class of the torch adapter: groups, schedules, state and the way to the driver and back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from optcore import registry
from optcore.adapters import native
from optcore.adapters.native import Constructor, Native
from optcore.adapters.torch.cohort import Cohort, participant, paths_of, structure
from optcore.adapters.torch.fast import FastStep
from optcore.adapters.torch.options import COUNTERS, RUN, computed, counter, laws_of, scalar, shown, stopped, texts
from optcore.backends.base import missing
from optcore.backends.checks import fits
from optcore.backends.leaves import wide
from optcore.backends.optimizer import OptimizerState, advance_all, begin
from optcore.backends.shards import check_gradient
from optcore.backends.torch import backend
from optcore.backends.values import numbers
from optcore.schedule import Schedule

try:
    import torch
except ImportError:
    raise missing("torch", "torch") from None

__all__ = ["TorchOptimizer"]

KEPT = ("step", "average", "gathered", "gathers")
"""Names in the state of a parameter beside the rule's fields."""
PATTERNS = 3
"""Patterns of missing gradients whose tables are kept."""


class TorchOptimizer(torch.optim.Optimizer):
    """The base of all classes here: translates groups and state, and hands the leaves to the driver.

    A leaf without a gradient is not run and its counter stays. State holds tensors only, under torch's names
    where torch has the rule, so state dicts move in both directions.
    """

    _constructor: Constructor
    _ready: FastStep | None = None  #: the fast way, where the last step found one

    def __init__(self, params: Any, **options: Any) -> None:
        rate = scalar(options.get("lr"))
        if torch.is_tensor(rate) and rate.ndim == 0 and not float(rate.detach()) >= 0.0:
            raise ValueError(f"Invalid learning rate: {float(rate.detach())}")
        self._chosen(options).build(**computed(options))  # raises before anything is kept
        schedules = texts(options)
        first = {name: shown(options[name], 0) for name in schedules}
        super().__init__(params, options | COUNTERS | first | {"schedules": schedules})
        self.defaults.setdefault("differentiable", False)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group with options of its own, any of which may be a schedule; ValueError for what does not fit."""
        own = set(param_group) if isinstance(param_group, dict) else set()
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            if "updates" not in own:  # a schedule counts the optimizer's updates, not the group's
                group["updates"] = max((g["updates"] for g in self.param_groups[:-1]), default=0)
            inherited = {k: v for k, v in group["schedules"].items() if k not in own}
            group["schedules"] = inherited | texts(group)
            group.update({k: shown(law, group["updates"]) for k, law in laws_of(group).items()})
            rule = self._plan(group).recipe.rule
            for p, path in zip(group["params"], paths_of(self.param_groups, group), strict=True):
                fits(rule, backend, p, path)
        except Exception:
            self.param_groups.pop()
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in {**self._chosen(group).defaults, **COUNTERS}.items():
                group.setdefault(name, default)
            for p in group["params"]:
                mine = self.state.get(p)
                for name in [k for k, v in (mine or {}).items() if v is None]:
                    del mine[name]  # torch keeps an unused buffer as None
                if mine:
                    step = mine.setdefault("step", 1.0)  # a state without a step has made one
                    exact = torch.is_tensor(step) and step.dtype in (torch.float32, torch.float64)
                    mine["step"] = step if exact else counter(step, getattr(step, "device", "cpu"))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, ours or torch's own.

        It is copied, so that two optimizers never share a tensor, and keeps its dtypes: torch would round
        float32 state to a bfloat16 parameter's.
        """
        state_dict = copy.deepcopy(state_dict)
        for saved, group in zip(state_dict["param_groups"], self.param_groups, strict=False):  # torch counts them
            self._completed(saved, group, state_dict["state"])
        super().load_state_dict(state_dict)
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for index, p in zip(saved, params, strict=True):
            for name, x in state_dict["state"].get(index, {}).items():
                if torch.is_tensor(x) and x.dtype != self.state[p][name].dtype:
                    self.state[p][name] = x.to(p.device)

    def _completed(self, saved: dict[str, Any], group: dict[str, Any], state: Mapping[Any, Any]) -> None:
        """Put into a saved group what torch does not keep: our options as they are, the count of updates, schedules.

        Raises ValueError, before anything is loaded, for numbers and tensors that this optimizer has no place for.
        """
        own = {**self._chosen(group).defaults, **COUNTERS}
        mine = {i: state[i] for i in saved["params"] if i in state}
        foreign = "updates" not in saved
        saved.update({k: v for k, v in group.items() if k not in saved and k in (*own, *RUN, "like")})
        if foreign:
            saved["updates"] = max((int(x["step"]) for x in mine.values() if "step" in x), default=0)
            saved["micro"] = 0
            saved.update({k: shown(law, saved["updates"]) for k, law in laws_of(saved).items()})
        plan = self._plan(saved)
        for word, (names, *_) in native.dialect("torch").meanings.items():
            known = {n: plan.recipe.values[n] for n in names if n in plan.recipe.values}
            given = saved.get(word) if len(names) > 1 else [saved.get(word)]
            if word not in saved or word in own or len(known) < len(names):
                continue
            if any(a != b for a, b in zip(known.values(), given or (), strict=False)):
                raise ValueError(
                    f"{type(self).__name__}: the state was saved with {word}={saved[word]!r}, and the recipe has "
                    f"{known}; give the recipe the numbers of the run that it goes on with"
                )
        kept = {*(slot.name for slot in plan.slots), *KEPT}
        for i, each in mine.items():
            for name in each.keys() - kept:
                if each[name] is not None:
                    raise ValueError(
                        f"{type(self).__name__}: the state of parameter {i} holds {name!r}, which is none of "
                        f"{', '.join(sorted(kept))}; load it into the class that saved it"
                    )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step; with a closure, evaluate it first and return its loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not self.state and self._makes_a_state():
            self.init_state()
            return loss
        with torch.set_grad_enabled(bool(self.defaults.get("differentiable"))):
            fuse = not self.defaults.get("differentiable") and backend.unwatched()
            if not (fuse and self._fast()):
                cohorts = self._cohorts()  # each is checked before the first one moves
                for one in cohorts:
                    for m in one.leaves:
                        self._state_of(m.group, m.plan, m.p, m.path)
                self._ready = FastStep.of(self, cohorts) if fuse else None
                if self._ready is None or not self._ready.step(self):
                    for one in cohorts:
                        self._advance(one, fuse=fuse)
        return loss

    def _makes_a_state(self) -> bool:
        """Tell whether a first step is one of torch's distributed checkpoints, which want a state and no movement.

        They set all rates and all gradients to 0, under which a law that owns the parameter may move it all the same.
        A rate that was 0 from the beginning is the user's.
        """
        rates = [group["lr"] for group in self.param_groups]
        if any(torch.is_tensor(x) and x.numel() != 1 for x in rates) or any(float(x) for x in map(_plain, rates)):
            return False
        if float(_plain(self.defaults["lr"])) == 0.0 and not any(map(stopped, self.param_groups)):
            return False
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        return bool(grads) and not any(bool(g.any()) for g in grads)

    def _fast(self) -> bool:
        """Make the step as the last one was made, or as one before it: gradients come and go in few patterns."""
        known: list[FastStep] = self.__dict__.setdefault("_known", [])
        if self._ready is not None:
            if self._ready.step(self):
                return True
            known[:] = [self._ready, *(each for each in known if each is not self._ready)]
        known[:] = [each for each in known if each.belongs(self)][:PATTERNS]  # nothing outlives its state
        for other in known:
            if other is not self._ready and other.step(self):
                self._ready = other
                return True
        return False

    @torch.no_grad()
    def init_state(self) -> None:
        """Make the state of every parameter now, without a step, as distributed checkpoints want it."""
        for group in self.param_groups:
            plan = self._plan(group)
            for p, path in zip(group["params"], paths_of(self.param_groups, group), strict=True):
                if p.requires_grad and not plan.recipe.frozen(path):
                    self._state_of(group, plan, p, path)

    def _chosen(self, options: Mapping[str, Any]) -> Constructor:
        """The class' own constructor, or the one of the library that ``like`` names."""
        like = options.get("like")
        return native.constructor("torch", self._constructor.name, like) if like else self._constructor

    def _plan(self, group: Mapping[str, Any]) -> Native:
        chosen, group = self._chosen(group), {**group, **laws_of(group)}
        rate = chosen.defaults.get("lr")  # the group's own is given to each step, so that it may change freely
        return _plan(chosen, computed({n: rate if n == "lr" else group[n] for n in chosen.defaults if n in group}))

    def _numbers(self, group: dict[str, Any]) -> tuple[Native, dict[str, Any], dict[str, Any]]:
        """Return the group's plan by its present options, its numbers, and the numbers that follow a schedule."""
        names = self._chosen(group).defaults
        memo = self.__dict__.setdefault("_memo", {})
        given = [group.get(n) for n in names]
        key = [tuple(v) if isinstance(v, list) else v for v in given]
        key += [group["lr"], dict(group["schedules"]), group["updates"], "initial_lr" in group]
        old, found, moving = memo.get(id(group), (None, None, True))
        if old is not None and (old == key if moving else old[:-2] == key[:-2] and old[-1] == key[-1]):
            return found  # type: ignore[no-any-return]
        laws, updates = laws_of(group), group["updates"]
        plan = self._plan(group)
        rule, own = plan.recipe.rule, plan.recipe.values
        moving = bool(laws) or any(isinstance(v, Schedule) for v in own.values())
        values = numbers(own, backend, updates, rule.hypers)  # raises where a schedule has left its bounds
        scheduled = {k: shown(law, updates) for k, law in laws.items()}
        if "initial_lr" in group:
            self._check_scheduler(plan, scheduled)
        if stopped(group):
            del scheduled["lr"]
        values["lr"] = scheduled.get("lr", scalar(group["lr"]))
        if isinstance(values["lr"], int | float) and not values["lr"] >= 0.0:
            raise ValueError(f"Invalid learning rate: {values['lr']}")
        memo[id(group)] = (None if any(map(torch.is_tensor, key)) else key), (plan, values, scheduled), moving
        return plan, values, scheduled

    @staticmethod
    def _check_scheduler(plan: Native, scheduled: Mapping[str, Any]) -> None:
        """Refuse a torch LR scheduler beside a schedule of ours, and beside a rate that it does not reach."""
        if "lr" in scheduled:
            raise RuntimeError(
                "optcore: lr is a schedule of its own and a torch LR scheduler is attached too; keep one"
            )
        own = plan.recipe.values
        for name in plan.recipe.rule.rates:
            if not isinstance(own[name], Schedule):
                raise RuntimeError(
                    f"optcore: a torch LR scheduler moves lr, and {name}={own[name]!r} is a rate of its own that it "
                    f"does not reach; give {name} a schedule in the recipe, as schedules.constant(value={own[name]!r})"
                )

    def _cohorts(self) -> list[Cohort]:
        """The groups, those of one structure together: their totals are over all of them."""
        cohorts: dict[Any, Cohort] = {}
        for group in self.param_groups:
            plan, values, scheduled = self._numbers(group)
            one = cohorts.setdefault(structure(plan.recipe), Cohort(plan))
            one.groups.append((group, scheduled))
            for p, path in zip(group["params"], paths_of(self.param_groups, group), strict=True):
                if plan.recipe.frozen(path):
                    one.frozen.append(p)
                    continue
                if p.grad is None and not self.state.get(p, {}).get("gathers"):
                    continue
                if p.grad is not None and p.grad.is_sparse and not plan.sparse:
                    raise RuntimeError(f"{type(self).__name__}: sparse gradients are not supported; use SparseAdam")
                if p.grad is not None:
                    check_gradient(type(self).__name__, backend, p, p.grad, path)
                one.leaves.append(participant(p, path, values, group, plan))
        for one in cohorts.values():
            one.check_shared()
        return list(cohorts.values())

    def _advance(self, one: Cohort, *, fuse: bool) -> None:
        if not one.leaves and not one.recipe.gathers:
            return
        params = [m.p for m in one.leaves]
        state = self._gathered(one)
        grads, paths = [_dense(p.grad) for p in params], [m.path for m in one.leaves]
        numbers = [m.values for m in one.leaves]
        moved, state = advance_all(one.recipe, backend, params, grads, paths, state, numbers, fuse=fuse, donate=True)
        for p, new in zip(params, moved, strict=True):
            if new.p is not p:
                p.copy_(new.p)
        self._scatter(one, state)

    def _gathered(self, one: Cohort) -> OptimizerState:
        """The driver's state, read from torch's."""
        counts, leaves, recipe = [], [], one.recipe
        for m in one.leaves:
            mine = self.state[m.p]
            step = mine["step"]
            counts.append(step if m.group.get("capturable") or step.requires_grad else int(step.item()))
            leaves.append(recipe.rule.pack([mine.get(slot.name) for slot in m.plan.slots]))
        first = one.groups[0][0]
        shared = tuple(first[n] for n in one.shared if n in first)
        found = [self.state[m.p] for m in one.leaves] if recipe.gathers else []
        gathered = tuple(mine["gathered"] if mine["gathers"] else None for mine in found)
        average = tuple(self.state[m.p]["average"] for m in one.leaves) if recipe.average is not None else ()
        return OptimizerState(first["updates"], first["micro"], shared, tuple(counts), tuple(leaves), gathered, average)

    def _scatter(self, one: Cohort, state: OptimizerState) -> None:
        recipe = one.recipe
        for i, m in enumerate(one.leaves):
            mine, count, group = self.state[m.p], state.counts[i], m.group
            arrays = zip(m.plan.slots, recipe.rule.unpack(state.leaves[i]), strict=True)
            new = {slot.name: x for slot, x in arrays if not slot.shared and x is not None}
            new["step"] = count if torch.is_tensor(count) else counter(count)
            if group.get("capturable"):  # a captured graph writes to the addresses it was captured with
                for name, x in new.items():
                    mine[name].copy_(x)
            else:
                mine.update(new)
            if recipe.gathers:  # there at every moment, since a checkpoint is loaded into a state of its structure
                held = state.gathered[i]
                mine["gathered"] = torch.zeros_like(mine["gathered"]) if held is None else held
                mine["gathers"] = counter(0.0 if held is None else 1.0 + float(mine["gathers"]))
            if recipe.average is not None:
                mine["average"] = state.average[i]
        for group, scheduled in one.groups:
            group.update(zip(one.shared, state.shared, strict=False))  # none before a first leaf has moved
            group.update(scheduled)
            group["updates"], group["micro"] = state.step, state.micro

    def _state_of(self, group: dict[str, Any], plan: Native, p: Any, path: str) -> None:
        """Make what is missing of a parameter's state."""
        mine = self.state[p]
        kept = [slot for slot in plan.slots if not slot.noise]
        absent = [slot.name for slot in kept if slot.name not in (group if slot.shared else mine)]
        if "step" in mine and not absent:
            return
        extra = plan.numbers_of(path, tuple(p.shape), backend.dtype(p))
        recipe = plan.recipe.replace(**extra) if extra else plan.recipe
        fresh = begin(recipe, backend, [p], [path])
        mine.setdefault("step", counter(0.0, p.device if group.get("capturable") else "cpu"))
        shared = iter(fresh.shared)
        for slot, x in zip(plan.slots, plan.recipe.rule.unpack(fresh.leaves[0]), strict=True):
            if slot.shared:
                group.setdefault(slot.name, next(shared))
            elif x is not None:
                mine.setdefault(slot.name, x)
        if recipe.average is not None:
            mine.setdefault("average", fresh.average[0])
        if recipe.gathers:
            mine.setdefault("gathered", torch.zeros_like(p.detach(), dtype=getattr(torch, wide(backend.dtype(p)))))
            mine.setdefault("gathers", counter())


def _plain(rate: Any) -> Any:
    return rate.detach() if torch.is_tensor(rate) else rate


def _dense(g: Any) -> Any:
    return g.to_dense() if g is not None and g.is_sparse else g


def _plan(constructor: Constructor, options: dict[str, Any]) -> Native:
    """The recipe of a group; numbers do not change its structure, so equal options share it."""
    try:
        return _cached_plan(constructor, tuple(options.items()))
    except TypeError:  # an option that is no hashable value
        return constructor.build(**options)


@lru_cache(maxsize=1024)
def _cached_plan(constructor: Constructor, options: tuple[tuple[str, Any], ...]) -> Native:
    return constructor.build(**dict(options))


registry.listen(lambda *_: _cached_plan.cache_clear())  # the text of a recipe may mean another law now
