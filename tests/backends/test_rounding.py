"""Stochastic rounding: the same bits everywhere, unbiased, and a step that is not lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Library, numpy_of

import optcore
from optcore.backends import Optimizer, fused, named
from optcore.backends.rounding import keys, mix, stochastic
from optcore.backends.torch import torch

BY_CHANCE = optcore.Recipe("adamw", lr=1e-3, weight_decay=0.1, rounding="stochastic", seed=7)


def trained(library: Any, recipe: Any, dtype: str, steps: int = 3) -> list[Any]:
    rng = np.random.default_rng(0)
    params = {k: library.array(rng.normal(size=s), dtype) for k, s in (("a", (33, 5)), ("b", (100,)), ("c", ()))}
    opt = Optimizer(recipe)
    state = opt.init(params)
    for _ in range(steps):
        grads = {k: library.array(rng.normal(size=v.shape), dtype) for k, v in params.items()}
        params, state = opt.update(params, grads, state)
    return [numpy_of(params[k]) for k in "abc"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("library", [Library.TORCH, Library.JAX])
def test_every_library_draws_the_same_chance(library: Library, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "usable", lambda: False)
    # sgd: one product and one sum, which no compiler rounds otherwise; equal float32 numbers then round alike.
    recipe = optcore.Recipe("sgd", lr=0.125, rounding="stochastic", seed=3)
    want = trained(Library.NUMPY, recipe, dtype)
    got = trained(library, recipe, dtype)
    assert all(np.array_equal(x, y) for x, y in zip(got, want, strict=True))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_pass_draws_the_chance_of_eager_execution(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = optcore.Recipe("lion", lr=1e-3, weight_decay=0.1, rounding="stochastic", seed=3)
    got = trained(Library.NUMPY, recipe, dtype)
    assert all(np.array_equal(x, y) for x, y in zip(trained(Library.TORCH, recipe, dtype), got, strict=True))
    monkeypatch.setattr(fused, "usable", lambda: False)
    assert all(np.array_equal(x, y) for x, y in zip(trained(Library.NUMPY, recipe, dtype), got, strict=True))
    assert not all(
        np.array_equal(x, y) for x, y in zip(trained(Library.NUMPY, recipe.replace(seed=4), dtype), got, strict=True)
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rounding_by_chance_is_to_a_neighbour_and_unbiased(dtype: str) -> None:
    backend = named("numpy")
    rng = np.random.default_rng(0)
    x = (rng.normal(size=400) * 2.0 ** rng.integers(-12, 12, 400)).astype(np.float32)
    draws = np.stack(
        [stochastic(backend, x, dtype, keys(backend, 1, "w", t)).astype(np.float64) for t in range(1, 2001)]
    )
    spacing = 2.0 ** np.maximum(np.floor(np.log2(np.abs(x))), -14) * {"bfloat16": 2.0**-7, "float16": 2.0**-10}[dtype]
    assert np.all(np.abs(draws - x) < spacing)
    # The mean of 2000 draws has a deviation of at most spacing/2/sqrt(2000); 5 of them for 400 numbers.
    assert np.all(np.abs(draws.mean(0) - x) < 5 * spacing / 2 / 2000**0.5)


def test_representable_infinite_and_missing_numbers_stay() -> None:
    backend = named("numpy")
    x = np.array([0.0, -0.0, 1.0, -1.5, 2.0**-90, np.inf, -np.inf, np.nan, 3.0e38], np.float32)
    x = backend.cast(x, "bfloat16").astype(np.float32)
    with np.errstate(invalid="ignore"):
        got = stochastic(backend, x, "bfloat16", keys(backend, 0, "w", 1)).astype(np.float32)
    assert np.array_equal(got, x, equal_nan=True)


def test_steps_below_half_a_spacing_are_lost_to_nearest_and_kept_by_chance() -> None:
    nearest = optcore.Recipe("sgd", lr=1e-3)
    moved = {}
    for name, recipe in (("nearest", nearest), ("chance", nearest.replace(rounding="stochastic"))):
        p = torch.ones(4096, dtype=torch.bfloat16)
        opt = Optimizer(recipe)
        state = opt.init([p])
        for _ in range(100):
            (p,), state = opt.update([p], [torch.ones_like(p)], state)
        moved[name] = float(p.float().mean())
    assert moved["nearest"] == 1.0
    # 100 steps of 1e-3: the mean over 4096 elements deviates by at most 0.0078/2 * sqrt(100) / 64 = 6e-4.
    assert abs(moved["chance"] - 0.9) < 4 * 6e-4


def test_the_torch_adapter_rounds_by_chance() -> None:
    from optcore.adapters import torch as adapter

    p = torch.nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
    optimizer = adapter.from_recipe(optcore.Recipe("sgd", lr=1e-3, rounding="stochastic"), [p])
    for _ in range(100):
        p.grad = torch.ones_like(p)
        optimizer.step()
    assert abs(float(p.detach().float().mean()) - 0.9) < 4 * 6e-4


def test_mixing_is_a_bijection_of_small_numbers() -> None:
    assert len({mix(k) for k in range(1 << 16)}) == 1 << 16
    assert 0.49 < np.mean([mix(k) / 2**32 for k in range(1 << 14)]) < 0.51
