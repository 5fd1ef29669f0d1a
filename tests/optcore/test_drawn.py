"""A state that starts with random numbers: the driver draws them once from seed, path and field, alike everywhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from conftest import Library, numpy_of

import optcore
from optcore import registry
from optcore.adapters import optax as ours_in_optax
from optcore.adapters import torch as ours_in_torch
from optcore.backends import Optimizer
from optcore.compose import combinator
from optcore.rule import Rule, rule
from optcore.typing import DRAWN, Array, Drawn, Namespace, Noise, Scalar

RECIPE = optcore.Recipe(optcore.lora(optcore.sgd, optcore.adam, rank=2), lr=0.1, seed=7)
SHAPE = (6, 4)


def target() -> Any:
    return np.arange(24.0).reshape(SHAPE) / 12


def right_factor(recipe: optcore.Recipe = RECIPE, path: str = "w", shape: Any = SHAPE) -> Any:
    return Optimizer(recipe).init({path: np.zeros(shape)}).leaves[0].b


def walked(steps: int = 3) -> Any:
    """Return the matrix to which the pure optimizer moves a matrix of zeros, whose gradient is p - target."""
    optimizer, params = Optimizer(RECIPE), {"w": np.zeros(SHAPE)}
    state = optimizer.init(params)
    for _ in range(steps):
        params, state = optimizer.update(params, {"w": params["w"] - target()}, state)
    return params["w"]


def test_a_matrix_of_zeros_moves_and_every_library_draws_the_same(library: Library) -> None:
    """They agree to 1e-12 for numbers of order one: logarithms and cosines near their zeros round differently."""
    optimizer, params = Optimizer(RECIPE), {"w": library.array(np.zeros(SHAPE))}
    state = optimizer.init(params)
    np.testing.assert_allclose(numpy_of(state.leaves[0].b), right_factor(), rtol=1e-12, atol=1e-12)
    for _ in range(3):
        g = {"w": params["w"] - library.array(target())}
        params, state = optimizer.update(params, g, state)
    assert np.abs(walked() - target()).sum() < np.abs(target()).sum()
    np.testing.assert_allclose(numpy_of(params["w"]), walked(), rtol=1e-11, atol=1e-11)


def test_the_first_step_is_the_gradients_on_the_rows_of_b() -> None:
    g, b = -target(), right_factor()
    np.testing.assert_allclose(walked(1), -0.1 * g @ b.T @ b, rtol=1e-12)


def test_the_start_is_normal_and_of_its_deviation() -> None:
    """Mean, deviation and fourth moment of 64,000 numbers lie within five standard errors."""
    made = optcore.Recipe(optcore.lora(optcore.sgd, optcore.sgd, rank=64, spread=3.0))
    x = right_factor(made, shape=(64, 1000)) * 8 / 3  # deviation spread / sqrt(rank)
    assert x.shape == (64, 1000)
    assert abs(x.mean()) < 5 / np.sqrt(x.size)
    assert abs(x.std() - 1) < 5 / np.sqrt(2 * x.size)
    assert abs((x**4).mean() - 3) < 5 * np.sqrt(96 / x.size)


def test_the_start_hangs_on_seed_path_and_nothing_else() -> None:
    np.testing.assert_array_equal(right_factor(), right_factor())
    assert abs(right_factor() - right_factor(path="v")).min() > 0
    assert abs(right_factor() - right_factor(RECIPE.replace(seed=8))).min() > 0
    bare = Optimizer(RECIPE.replace(seed=0)).init(np.zeros(SHAPE)).leaves[0].b
    np.testing.assert_array_equal(RECIPE.rule.init(np.ones(SHAPE)).b, bare)  # pure: seed 0 and no path


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_compiled_start_is_the_eager_one(dtype: str) -> None:
    """They agree in float32, where XLA's logarithm and cosine are a few 6e-8 off; abstract leaves have shapes."""
    optimizer, params = Optimizer(RECIPE), {"w": jnp.zeros(SHAPE, dtype)}
    traced = jax.jit(optimizer.init)(params).leaves[0].b
    assert traced.dtype == jnp.float32
    np.testing.assert_allclose(traced, right_factor(), rtol=2e-6, atol=2e-6)
    assert jax.eval_shape(optimizer.init, params).leaves[0].b.shape == (2, 4)


def test_optax_draws_and_walks_the_same() -> None:
    tx = ours_in_optax.from_recipe(RECIPE)
    params: Any = {"w": jnp.zeros(SHAPE)}
    state = jax.jit(tx.init)(params)
    np.testing.assert_allclose(state.leaves["b"]["w"], right_factor(), rtol=1e-12, atol=1e-12)
    for _ in range(3):
        updates, state = jax.jit(tx.update)({"w": params["w"] - target()}, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    np.testing.assert_allclose(params["w"], walked(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("early", [True, False])
def test_torch_draws_and_walks_the_same(early: bool) -> None:
    """init_state and the first step draw the same numbers; a loaded state is not drawn anew."""
    w = torch.nn.Parameter(torch.zeros(SHAPE, dtype=torch.float64))
    optimizer = ours_in_torch.from_recipe(RECIPE, [("w", w)])
    if early:
        optimizer.init_state()
        np.testing.assert_allclose(optimizer.state[w]["b"], right_factor(), rtol=1e-12, atol=1e-12)
    for i in range(3):
        w.grad = w.detach() - torch.tensor(target())
        optimizer.step()
        if i == 1:
            saved = optimizer.state_dict()
            optimizer = ours_in_torch.from_recipe(RECIPE.replace(seed=9), [("w", w)])
            optimizer.load_state_dict(saved)
    np.testing.assert_allclose(w.detach(), walked(), rtol=1e-11, atol=1e-11)


IN_KERAS = """
import json, keras, numpy as np, optcore, sys
from optcore.adapters import keras as ours
keras.backend.set_floatx("float64")
recipe = optcore.Recipe.from_json(sys.argv[1])
model = keras.Sequential([keras.layers.Dense(4, use_bias=False, kernel_initializer="zeros")])
optimizer = ours.from_recipe(recipe)
model.compile(optimizer=optimizer, loss="mse")
x = np.eye(6)
y = np.arange(24.0).reshape(6, 4) / 12
for _ in range(3):  # the first call builds the model, inside a trace on TensorFlow
    model.fit(x, 12 * y, batch_size=6, epochs=1, verbose=0, shuffle=False)
(w,) = model.trainable_variables
b = next(v for v in optimizer.variables if v.shape == (2, 4) and v.path.endswith("_b"))
print(json.dumps([w.path, keras.ops.convert_to_numpy(w).tolist(), keras.ops.convert_to_numpy(b).tolist()]))
"""


@pytest.mark.parametrize("kind", ["jax", "torch", "tensorflow"])
def test_keras_draws_and_walks_the_same(kind: str) -> None:
    """fit builds the model; mse of 12 target over 24 numbers has the gradient (p - 12 target) / 12."""
    env = os.environ | {"KERAS_BACKEND": kind, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_ENABLE_X64": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", IN_KERAS, RECIPE.to_json()], env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    path, got, b = json.loads(ran.stdout.splitlines()[-1])
    optimizer, params = Optimizer(RECIPE), {path: np.zeros(SHAPE)}
    state = optimizer.init(params)
    for _ in range(3):
        g = (params[path] - 12 * target()) / 12
        params, state = optimizer.update(params, {path: g}, state)
    np.testing.assert_allclose(b, state.leaves[0].b, rtol=1e-6, atol=1e-6)  # Keras forms the loss in float32
    np.testing.assert_allclose(got, params[path], rtol=1e-6, atol=1e-6)


class Undrawn(NamedTuple):
    z: Drawn  #: normal at the start; unit [1]


class Both(NamedTuple):
    z: Annotated[Noise, DRAWN]  #: two things at once; unit [1]


def test_a_drawn_field_says_how_large_it_is() -> None:
    def law(xp: Namespace, p: Array, g: Array, s: Undrawn, t: Scalar) -> Any:
        return g, s

    with pytest.raises(TypeError, match="law: z is Drawn, but nothing says how large; give init"):
        rule(Undrawn)(law)

    with pytest.raises(TypeError, match="Both: z is Noise and Drawn; a field can be one of them"):
        rule(Both)(law)

    class Around(NamedTuple):
        z: Drawn
        inner: Any

    def around(inner: Any, xp: Namespace, p: Array, g: Array, s: Around, t: Scalar) -> Any:
        return g, s

    with pytest.raises(TypeError, match="around: z is Drawn, but nothing says how large; give init"):
        combinator(Around)(around)


def with_axes() -> dict[str, Rule]:
    """Return every rule that takes only leaves of so many axes, by itself and within another rule."""
    found = {n: r for n, r in registry.rules().items() if r.ndim is not None}
    for name, each in registry.combinators().items():
        inner = [optcore.muon, optcore.adam][: len(each.takes)]
        try:
            made = each(*inner)
        except ValueError:  # of two owners
            continue
        if made.ndim is not None:
            found[f"{name} of muon"] = made
    found["lora"] = optcore.lora(optcore.sgd, optcore.adam(beta1=0.5))
    found["chain"] = optcore.chain(optcore.clip_by_global_norm(max_norm=0.5), optcore.muon(lr=0.3))
    found["chain of lora"] = optcore.chain(optcore.clip_by_value(limit=0.5), optcore.lora(optcore.sgd, optcore.sgd))
    return found


@pytest.mark.parametrize("name", with_axes())
def test_the_refusal_of_a_leaf_names_a_call_that_works(name: str) -> None:
    """The call in the message is evaluated: it trains the leaf that was refused, and the matrix keeps its rule."""
    made = with_axes()[name]
    params = {"w": np.ones((3, 2)), "bias": np.ones(2)}
    grads = {"w": np.eye(3, 2), "bias": np.ones(2)}
    with pytest.raises(ValueError, match=r"'bias' has shape \(2,\); the rule takes arrays of 2 axes") as refusal:
        Optimizer(made).init(params)
    if any(f.shared for f in made.fields):  # it asks every leaf for totals, and cannot be one of two
        assert str(refusal.value).endswith("Give other leaves to an optimizer of their own")
        return
    call = re.search(r"as in (optcore\..*)$", str(refusal.value))
    assert call is not None
    both = Optimizer(eval(call[1], {"optcore": optcore}))
    assert made.structure == both.recipe.rule.parts[0].structure  # type: ignore[attr-defined]
    state = both.init(params)
    for _ in range(2):
        params, state = both.update(params, grads, state)
    assert np.abs(params["bias"] - 1).min() > 0 and np.abs(params["w"] - 1).max() > 0
