"""Noise: made by the driver, the same in every library, new at every step, and kept nowhere."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import optax
import pytest
import torch
from conftest import Library

import optcore
from optcore.adapters import optax as ours_in_optax
from optcore.adapters import torch as ours_in_torch
from optcore.backends import Optimizer

RECIPE = optcore.Recipe(optcore.noisy_sgd(eta=1.0, gamma=0.5), lr=1.0, seed=7)


def noise(library: Any, recipe: Any = RECIPE, steps: int = 3, dtype: str = "float64") -> list[Any]:
    """Return the displacements of parameters whose gradient is zero, step by step."""
    optimizer, params = Optimizer(recipe), {"a": library.array(np.zeros((50, 40)), dtype)}
    state, found = optimizer.init(params), []
    for _ in range(steps):
        zero = {"a": library.array(np.zeros((50, 40)), dtype)}
        new, state = optimizer.update(params, zero, state)
        found.append(library.backend.numpy(params["a"] - new["a"]))
        params = new
    return found


def test_every_library_draws_the_same_numbers(library: Library) -> None:
    """They agree to 1e-12 for numbers of order one: logarithms and cosines near their zeros round differently."""
    for got, want in zip(noise(library), noise(Library.NUMPY), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_noise_is_normal_new_at_every_step_and_fades() -> None:
    """Mean and deviation of 2000 numbers lie within five standard errors; steps are uncorrelated."""
    first, second, third = (x.ravel() * t**0.25 for t, x in enumerate(noise(Library.NUMPY), 1))
    for x in (first, second, third):
        assert abs(x.mean()) < 5 / np.sqrt(x.size)
        assert abs(x.std() - 1) < 5 / np.sqrt(2 * x.size)
        assert abs((x**4).mean() - 3) < 5 * np.sqrt(96 / x.size)
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(first.size)


def test_another_seed_and_another_path_give_other_numbers() -> None:
    (a,), (b,) = noise(Library.NUMPY, steps=1), noise(Library.NUMPY, RECIPE.replace(seed=8), steps=1)
    assert not np.any(a == b)


def test_noise_is_kept_in_no_state() -> None:
    params = [torch.nn.Parameter(torch.zeros(3))]
    optimizer = ours_in_torch.NoisySGD(params)
    for _ in range(2):
        params[0].grad = torch.zeros(3)
        optimizer.step()
    assert set(optimizer.state[params[0]]) == {"step"}
    state = optcore.backends.Optimizer(RECIPE).init({"a": np.zeros(3)})
    assert state.leaves[0].z is None


def test_torch_and_optax_objects_walk_the_path_of_the_pure_optimizer() -> None:
    (want,) = noise(Library.NUMPY, steps=1)
    p = torch.nn.Parameter(torch.zeros(50, 40, dtype=torch.float64))
    p.grad = torch.zeros_like(p)
    ours_in_torch.from_recipe(RECIPE, [("a", p)]).step()
    np.testing.assert_allclose(-p.detach().numpy(), want, rtol=1e-12, atol=1e-12)
    tx = ours_in_optax.from_recipe(RECIPE)
    params = {"a": np.zeros((50, 40))}
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(-np.asarray(updates["a"]), want, rtol=1e-12, atol=1e-12)


def test_the_deviation_is_optax_own() -> None:
    """Both have the deviation sqrt(eta / t^gamma), within five standard errors for 4000 numbers."""
    params = {"a": np.zeros(4000)}
    for t in (1, 2, 3):
        theirs = optax.add_noise(0.3, 0.7, 0)
        state = theirs.init(params)
        for _ in range(t):
            updates, state = theirs.update(params, state)
        (mine,) = (x.std() for x in noise(Library.NUMPY, RECIPE.replace(eta=0.3, gamma=0.7), steps=t)[-1:])
        assert float(np.std(updates["a"])) == pytest.approx(mine, rel=0.1)


def test_jax_draws_without_64_bits_too() -> None:
    """JAX' default refuses Python numbers above 2^31 beside 32-bit integers; a separate process has that default."""
    text = """
import jax.numpy as jnp, numpy as np, optcore
recipe = optcore.Recipe(optcore.noisy_sgd(eta=1.0), lr=1.0, seed=7)
zero = {"a": np.zeros(6, np.float32)}
def moved(tree):
    optimizer = optcore.backends.Optimizer(recipe)
    return np.asarray(optimizer.update(tree, tree, optimizer.init(tree))[0]["a"])
np.testing.assert_allclose(moved({"a": jnp.zeros(6)}), moved(zero), rtol=1e-5, atol=1e-6)
rounded = optcore.Recipe(optcore.sgd, lr=1e-3, rounding="stochastic")
ones = {"a": jnp.ones(4, jnp.bfloat16)}
optimizer = optcore.backends.Optimizer(rounded)
assert jnp.isfinite(optimizer.update(ones, ones, optimizer.init(ones))[0]["a"]).all()
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_key_of_jax_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="no whole number; give the seed itself"):
        ours_in_optax.noisy_sgd(0.1, key=np.zeros(2))
