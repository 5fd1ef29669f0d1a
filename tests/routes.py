"""The routes: all ways of running one recipe, and all options of a recipe, for the tests that compare them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch

import optcore
from optcore import schedules
from optcore.adapters import optax as to_optax
from optcore.adapters import torch as to_torch
from optcore.adapters.torch.fast import FastStep
from optcore.backends import Optimizer, fused, named, of
from optcore.backends.fused.engines import foreach, slices

SHAPES = {"w": (4, 3), "norm": (3,), "b": (3,), "s": ()}
RISING = schedules.warmup(steps=2, then=schedules.cosine(peak=0.05, steps=20))
FADING = schedules.linear(start=0.2, end=0.1, steps=9)
GROWING = schedules.piecewise(start=1.0, points=[(1, 2.0), (3, 1.0)])

OPTIONS: dict[str, dict[str, Any]] = {
    "lr": {"lr": RISING},
    "weight_decay": {"weight_decay": FADING},
    "decay": {"decay": "coupled", "weight_decay": 0.1},
    "maximize": {"maximize": True},
    "clip": {"clip": [optcore.clip_by_global_norm(max_norm=0.5), optcore.clip_by_value(limit=0.3)]},
    "no_decay": {"no_decay": "b$|norm", "weight_decay": 0.2},
    "freeze": {"freeze": "norm", "clip": optcore.clip_by_global_norm(max_norm=0.5)},
    "layout": {"layout": {"w": "out_in"}},
    "leaves": {
        "leaves": {"b$": {"lr": 0.5, "weight_decay": 0.0}, "norm": {"lr_factor": FADING}, "s$": {"lr_factor": 0.1}},
        "weight_decay": 0.2,
    },
    "accumulate": {"accumulate": 2},
    "accumulate by a schedule": {"accumulate": GROWING, "lr": RISING},
    "average": {"average": 0.5},
    "on_nonfinite": {"on_nonfinite": "skip"},
    "state_dtype": {"state_dtype": "param"},
    "rounding": {"rounding": "stochastic"},
    "seed": {"seed": 7, "rounding": "stochastic"},
}
"""A recipe's options, each with values that act."""


def gradients(dtype: str, steps: int = 8, *, nonfinite: bool = False) -> list[dict[str, Any]]:
    """Return gradients of every size: some are missing, some are zero and, if asked for, one step is not finite."""
    rng, found = np.random.default_rng(3), []
    for k in range(steps):
        each: dict[str, Any] = {n: rng.standard_normal(s) * 10.0 ** rng.uniform(-2, 1) for n, s in SHAPES.items()}
        each["b"] = None if k % 4 == 2 else each["b"]
        each["s"] = each["s"] * 0.0 if k % 3 == 1 else each["s"]
        if nonfinite and k == 3:
            each["w"][1, 1] = np.inf
        found.append({n: None if g is None else named("numpy").cast(np.asarray(g), dtype) for n, g in each.items()})
    return found


def parameters(dtype: str) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    return {n: named("numpy").cast(np.asarray(rng.standard_normal(s)), dtype) for n, s in SHAPES.items()}


@contextlib.contextmanager
def patched(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, value in changes:
            patch.setattr(owner, name, value)
        yield


NO_LOOP = (fused, "usable", lambda: False)
SLICES = (slices, "BLOCK", 2)
LISTS = (foreach, "ON_CPU", True)
SLOW = (FastStep, "of", lambda *_: None)


def _laid_out(recipe: Any) -> Any:
    """Return the recipe with one layout for all routes, since each library would take its own."""
    return recipe if recipe.layout is not None else recipe.replace(layout="in_out")


def tree(library: str, *, donate: bool = False, jit: bool = False) -> Callable[..., dict[str, Any]]:
    """Return the pure optimizer's route, on arrays of one library."""

    def run(recipe: Any, dtype: str, grads: Sequence[Any]) -> dict[str, Any]:
        backend = named(library)
        opt = Optimizer(_laid_out(recipe))

        def arrays(values: Any) -> Any:
            kind = {"bfloat16": "float32"}.get(dtype, dtype)
            return {
                n: None if x is None else backend.cast(backend.array(np.asarray(x, kind), kind), dtype)
                for n, x in values.items()
            }

        params = {n: backend.copy(x) for n, x in arrays(parameters(dtype)).items()}
        state = opt.init(params)
        update = jax.jit(opt.update) if jit else opt.update
        for g in grads:
            params, state = update(params, arrays(g), state, **({"donate": True} if donate else {}))
        return {n: of(x).numpy(x) for n, x in params.items()}

    return run


def torch_objects(**options: Any) -> Callable[..., dict[str, Any]]:
    """Return the torch adapter's route: an optimizer with two groups, of which one has options of its own."""

    def run(recipe: Any, dtype: str, grads: Sequence[Any]) -> dict[str, Any]:
        kind = {"bfloat16": "float32"}.get(dtype, dtype)

        def tensor(x: Any) -> Any:
            return torch.from_numpy(np.array(x, kind)).to(getattr(torch, dtype))

        params = {n: torch.nn.Parameter(tensor(x)) for n, x in parameters(dtype).items()}
        pairs = list(params.items())
        optimizer = to_torch.from_recipe(_laid_out(recipe), [{"params": pairs[:2]}, {"params": pairs[2:]}])
        for group in optimizer.param_groups:
            group.update(options)
        for g in grads:
            for n, p in params.items():
                p.grad = None if g[n] is None else tensor(g[n])
            optimizer.step()
        return {n: of(p).numpy(p.detach()) for n, p in params.items()}

    return run


def optax_objects(*, jit: bool) -> Callable[..., dict[str, Any]]:
    def run(recipe: Any, dtype: str, grads: Sequence[Any]) -> dict[str, Any]:
        backend = named("jax")
        tx = to_optax.from_recipe(recipe)
        params = {n: backend.array(np.asarray(x, dtype), dtype) for n, x in parameters(dtype).items()}
        state = tx.init(params)
        update = jax.jit(tx.update) if jit else tx.update
        for g in grads:
            given = {n: None if x is None else backend.array(np.asarray(x), dtype) for n, x in g.items()}
            updates, state = update(given, state, params)
            params = {n: p if updates[n] is None else optax.apply_updates(p, updates[n]) for n, p in params.items()}
        return {n: np.asarray(x) for n, x in params.items()}

    return run


ROUTES: dict[str, tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]] = {
    "NumPy in one pass": (tree("numpy"), ()),
    "NumPy in place": (tree("numpy", donate=True), ()),
    "NumPy in slices": (tree("numpy"), (NO_LOOP, SLICES)),
    "NumPy in slices, in place": (tree("numpy", donate=True), (NO_LOOP, SLICES)),
    "strict": (tree("strict"), ()),
    "torch in one pass": (tree("torch"), ()),
    "torch in place": (tree("torch", donate=True), ()),
    "torch as lists": (tree("torch"), (NO_LOOP, LISTS)),
    "JAX": (tree("jax"), ()),
    "JAX compiled": (tree("jax", jit=True), ()),
    "torch adapter, the fast way": (torch_objects(), ()),
    "torch adapter, pass by pass": (torch_objects(), (SLOW,)),
    "torch adapter, operations": (torch_objects(), (NO_LOOP,)),
    "torch adapter, lists": (torch_objects(), (NO_LOOP, LISTS)),
    "torch adapter, capturable": (torch_objects(capturable=True), ()),
    "optax": (optax_objects(jit=False), ()),
    "optax compiled": (optax_objects(jit=True), ()),
}
"""Everything that moves parameters by a recipe, but for Keras, whose tests run in processes of their own."""
REFERENCE = (tree("numpy"), (NO_LOOP,))


def along(route: tuple[Callable[..., dict[str, Any]], tuple[Any, ...]], *given: Any) -> dict[str, Any]:
    run, changes = route
    with patched(*changes), np.errstate(all="ignore"):
        return run(*given)
