"""The check that an argument of a native constructor has an effect: its plan is run with two values of the argument."""

from __future__ import annotations

import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from optcore.adapters.native import Native, dialect
from optcore.backends.leaves import marks, numbers_at
from optcore.backends.numpy import backend
from optcore.backends.optimizer import advance_all, begin
from optcore.backends.values import numbers

STEPS = 12
OUTCOME = {"ax"}
"""Fields of a state that are what a rule is run for: the average that ASGD gives."""
SHAPES = {"dense/kernel": (6, 4), "norm/scale": (5,), "embedding/table": (3, 4), "temperature": ()}
REFUSED = (NotImplementedError, TypeError, ValueError)


def gradients(step: int, shape: tuple[int, ...], seed: int) -> Any:
    """Return gradients of changing size, small ones after large ones, with rows and whole leaves of zeros.

    Those of the first leaf have one sign, so that rules that estimate their own rate find one.
    """
    rng = np.random.default_rng(100 * step + seed)
    g = np.asarray(rng.standard_normal(shape)) * (10.0, 1.0, 1e-2, 1e-4, 3.0, 0.1)[step % 6]
    if len(shape) == 2:
        g[step % shape[0]] = 0.0
    g = g * 0.0 if step == 7 and shape == (5,) else g
    return abs(g) if seed == 0 else g


FOUND: dict[str, Any] = {}
"""Trajectories by the recipe's text: one rule has a constructor in three libraries."""


def evidence(plan: Native) -> list[Any]:
    """Return all that an argument may change: the trajectory, and the other entries of the plan for the adapter."""
    beside = [dict(plan.dtypes), plan.link, plan.estimator]
    if plan.of_leaf is not None:
        return [trajectory(plan), *beside]
    text = plan.recipe.to_json(indent=None)
    if text not in FOUND:
        FOUND[text] = trajectory(plan)
    return [FOUND[text], *beside]


def trajectory(plan: Native) -> list[Any]:
    """Return the parameters after each step of a plan on NumPy arrays, with the shapes and dtypes of the state."""
    recipe, rule = plan.recipe, plan.recipe.rule
    shapes = {k: s for k, s in SHAPES.items() if rule.ndim is None or len(s) == rule.ndim}
    if plan.link and plan.of_leaf is not None:
        del shapes["temperature"]  # an axis must be one of every leaf
    if "heads" in rule.hypers:
        shapes["attention/kernel"] = (2, 3, 4)
    broken = STEPS - 1 if "nonfinite" in rule.hypers or rule.repairs else None  # the step with odd gradients
    rng = np.random.default_rng(0)
    paths = list(shapes)
    params = [np.asarray(rng.uniform(0.2, 1.5, s)) for s in shapes.values()]  # positive, as some laws want them
    own = [plan.numbers_of(path, p.shape, "float64") for path, p in zip(paths, params, strict=True)]
    apart = [
        begin(recipe.replace(**o) if o else recipe, backend, [p], [at])
        for o, p, at in zip(own, params, paths, strict=True)
    ]
    state = begin(recipe, backend, params, paths)._replace(leaves=tuple(one.leaves[0] for one in apart))
    found: list[Any] = []
    for step in range(STEPS):
        grads = [gradients(step, p.shape, i) for i, p in enumerate(params)]
        if step == broken:
            for g in grads if rule.repairs else grads[:1]:
                g.reshape(-1)[0] = np.nan if rule.repairs else np.inf
        written = [_written(s, rule, g) for s, g in zip(state.leaves, grads, strict=True)]
        whole = numbers(rule.complete(), backend, step, rule.hypers)
        each = [
            numbers_at(rule, whole, marks(recipe, path, "in_out"), backend, step, o)
            for path, o in zip(paths, own, strict=True)
        ]
        moved, state = advance_all(recipe, backend, params, grads, paths, state._replace(leaves=tuple(written)), each)
        params = [m.p for m in moved]
        found += [np.array(p) for p in params]
    kept = [None if x is None else (str(x.dtype), x.shape) for leaf in state.leaves for x in rule.unpack(leaf)]
    outcome = [
        x for leaf in state.leaves for f, x in zip(rule.fields, rule.unpack(leaf), strict=True) if f.name in OUTCOME
    ]
    return [*found, kept, outcome]


def _written(state: Any, rule: Any, g: Any) -> Any:
    """Return a leaf's state with the fields set that a caller of Sophia or bSAM writes between steps."""
    arrays = [
        {"estimate": g * g + 0.1, "noisy": g * 1.5 + 0.1}.get(f.name.rpartition(".")[2], x)
        for f, x in zip(rule.fields, rule.unpack(state), strict=True)
    ]
    return rule.pack(arrays)


def differ(a: Any, b: Any) -> bool:
    """Tell whether two trees of lists, arrays and numbers differ, where NaN is equal to NaN."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return not np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) != len(b) or any(differ(x, y) for x, y in zip(a, b, strict=True))
    return bool(a != b)


def candidates(name: str, default: Any, choices: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Return other values that an argument might take, likely ones first; callers skip those that are out of range."""
    if choices and (default is None or isinstance(default, str)):
        yield from (c for c in choices if c != default)
    elif isinstance(default, bool):
        yield not default
    elif isinstance(default, tuple | list):  # every member is an argument of its own: see members
        return
    elif isinstance(default, int) and not isinstance(default, bool):
        whole = (default + 1, default // 2, 1, 5, 2, 3, 0)
        yield from (v for v in (whole if default else (0.5, 0.1, 1, 5, 2, 3)) if v != default)  # a 0 may stand for 0.0
    elif isinstance(default, float):
        floats = (default * 0.5, default * 2, default * 1e4, 0.3, 0.05, 0.7, 1.5, 10.0, -default, 1e-30, 0.0)
        yield from (v for v in floats if v != default and math.isfinite(v))
    elif default is None:
        yield from (0.3, 2, 3.5, True)


def members(default: Any) -> Iterator[tuple[str, Callable[[Any], Any], Any]]:
    """Return the members of an argument (a pair of betas has two), each with a function that replaces its value."""
    if isinstance(default, tuple | list) and default and not isinstance(default[0], str):
        for i, x in enumerate(default):
            yield f"[{i}]", lambda v, i=i: (*default[:i], v, *default[i + 1 :]), x
    else:
        yield "", lambda v: v, default


def choices_of(library: str, rule: Any, name: str) -> tuple[Any, ...]:
    """Return the choices of a rule's switch for an argument, which has the rule's name or the library's word for it."""
    meaning = dialect(library).meanings.get(name)
    for ours in (name, *(meaning.names if meaning else ())):
        hyper = rule.hypers.get(ours)
        if hyper is not None and hyper.choices:
            return tuple(hyper.choices)
    return ()


class Walk:
    """One constructor with its defaults, and the effect of each of its arguments."""

    def __init__(
        self,
        make: Callable[..., Any],
        parameters: tuple[inspect.Parameter, ...],
        judge: Callable[[Any], Any],
        base: Mapping[str, Any],
        special: Mapping[str, Any],
        choices: Callable[[Any, str], tuple[Any, ...]],
    ) -> None:
        self.make, self.judge, self.special = make, judge, special
        self.base = {p.name: base.get(p.name, 0.1 if p.default is p.empty else p.default) for p in parameters}
        self.plan = make(**self.base)
        self.choices = {name: choices(self.plan, name) for name in self.base}
        self.found: dict[Any, Any] = {}

    def run(self, **changes: Any) -> Any:
        key = repr(sorted(changes.items(), key=lambda kv: kv[0]))
        if key not in self.found:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                self.found[key] = self.judge(self.make(**self.base | changes))
        return self.found[key]

    def values(self, name: str) -> Iterator[tuple[str, Any]]:
        """Return the values to try for an argument, each with the member that it changes."""
        if name in self.special:
            yield from (("", v) for v in self.special[name])
            return
        for member, put, default in members(self.base[name]):
            for value in candidates(name, default, self.choices[name]):
                yield member, put(value)

    def idle(self, name: str) -> list[str]:
        """Return the members of an argument that change nothing, alone or together with one other changed argument."""
        wanted = {member for member, _ in self.values(name)} or {""}
        left = set(wanted)
        for context in itertools.chain([{}], self.contexts(name)):
            for member, value in self.values(name):
                if member in left and self.acts(name, value, context):
                    left.discard(member)
            if not left:
                return []
        return sorted(name + member for member in left)

    def contexts(self, name: str) -> Iterator[dict[str, Any]]:
        """Return changes of one other argument, under which an argument might act that does nothing by default."""
        first = ("weight_decay", "momentum", "nesterov", "centered")
        for other in sorted(self.base, key=lambda other: other not in first):
            if other != name:
                for _, value in itertools.islice(self.values(other), 4):
                    yield {other: value}

    def acts(self, name: str, value: Any, context: Mapping[str, Any]) -> bool:
        """Tell whether the value changes the trajectory, or is refused in words that name the argument."""
        try:
            before = self.run(**context)
        except REFUSED:
            return False
        try:
            return differ(before, self.run(**{**context, name: value}))
        except NotImplementedError as error:
            return name in str(error)
        except (TypeError, ValueError, AttributeError, OverflowError, ZeroDivisionError, IndexError):
            return False  # not admissible: another value has to show it
