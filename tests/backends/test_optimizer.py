"""Recipes on trees of arrays, without a framework."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from conftest import Library, numpy_of

import optcore
from optcore.backends import Optimizer
from optcore.recipes import growing_batch

RNG = np.random.default_rng(3)
P, G = RNG.standard_normal((4, 3)), RNG.standard_normal((6, 4, 3))


def run(opt: Optimizer, params: Any, grads: list[Any], update: Any = None) -> Any:
    state = opt.init(params)
    for g in grads:
        params, state = (update or opt.update)(params, g, state)
    return params, state


def test_trees_of_every_library_walk_the_same_path(library: Library) -> None:
    opt = Optimizer(optcore.Recipe("adamw", lr=0.01, clip=optcore.clip_by_global_norm(max_norm=1.0)))
    tree = lambda x: {"w": library.array(x), "deep": [(library.array(x[0]),)]}  # noqa: E731
    got, state = run(opt, tree(P), [tree(g) for g in G])
    want, _ = run(opt, {"w": P, "deep": [(P[0],)]}, [{"w": g, "deep": [(g[0],)]} for g in G])
    np.testing.assert_allclose(numpy_of(got["w"]), want["w"], rtol=1e-13)
    np.testing.assert_allclose(numpy_of(got["deep"][0][0]), want["deep"][0][0], rtol=1e-13)
    assert state.step == 6 and state.counts == (6, 6)


def test_a_leaf_without_a_gradient_keeps_its_count() -> None:
    opt = Optimizer(optcore.Recipe("adam"))
    params = {"a": P, "b": P}
    new, state = run(opt, params, [{"a": G[0], "b": None}, {"a": G[1], "b": G[1]}])
    alone, _ = run(opt, {"b": P}, [{"b": G[1]}])
    assert state.counts == (2, 1)
    np.testing.assert_array_equal(new["b"], alone["b"])


@pytest.mark.parametrize("name", ["adam", "prodigy", "soap", "lamb", "momentum", "adafactor"])
def test_jit_walks_the_eager_path(name: str) -> None:
    recipe = optcore.Recipe(name, weight_decay=0.1, accumulate=2, average=0.9, on_nonfinite="skip")
    opt = Optimizer(recipe)
    grads = [{"w": jnp.asarray(g)} for g in G]
    eager, a = run(opt, {"w": jnp.asarray(P)}, grads)
    traced, b = run(opt, {"w": jnp.asarray(P)}, grads, jax.jit(opt.update))
    np.testing.assert_allclose(traced["w"], eager["w"], rtol=1e-12)
    np.testing.assert_allclose(b.average[0], a.average[0], rtol=1e-12)
    assert int(b.step) == a.step == 3


def test_accumulation_is_one_step_with_the_mean_gradient() -> None:
    recipe = optcore.Recipe("adamw", lr=0.1, clip=optcore.clip_by_global_norm(max_norm=0.5))
    got, state = run(Optimizer(recipe.replace(accumulate=3)), {"w": P}, [{"w": g} for g in G])
    want, _ = run(Optimizer(recipe), {"w": P}, [{"w": G[:3].mean(0)}, {"w": G[3:].mean(0)}])
    np.testing.assert_allclose(got["w"], want["w"], rtol=1e-13)
    assert (state.step, state.micro) == (2, 0)


def test_a_growing_batch_takes_the_place_of_a_falling_rate(library: Library) -> None:
    """Updates have 1, 2, 4 and again 4 micro-steps; from the limit on the rate falls, by 2^-7 after 7 updates."""
    recipe = optcore.Recipe("momentum", lr=optcore.schedules.exponential(start=0.1, rate=0.5))
    opt = Optimizer(growing_batch(recipe, limit=4))
    grads = np.concatenate([G, G])[:11]
    got, state = run(opt, {"w": library.array(P)}, [{"w": library.array(g)} for g in grads])
    params, plain = {"w": P}, Optimizer(optcore.Recipe("momentum"))
    want = plain.init(params)
    for mean, lr in ((grads[:1], 0.1), (grads[1:3], 0.1), (grads[3:7], 0.05), (grads[7:11], 0.4 / 2**7)):
        by = Optimizer(plain.recipe.replace(lr=lr))
        params, want = by.update(params, {"w": mean.mean(0)}, want)
    np.testing.assert_allclose(numpy_of(got["w"]), params["w"], rtol=1e-13)
    assert (int(state.step), int(state.micro)) == (4, 0)


def test_the_average_starts_as_a_copy_and_then_decays() -> None:
    opt = Optimizer(optcore.Recipe("sgd", lr=0.1, average=0.75))
    params, state = {"w": P}, opt.init({"w": P})
    want = None
    for g in G:
        params, state = opt.update(params, {"w": g}, state)
        want = params["w"] if want is None else 0.75 * want + 0.25 * params["w"]
    np.testing.assert_allclose(state.average[0], want, rtol=1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_nonfinite_step_is_skipped_whole_or_propagates(bad: float) -> None:
    spoilt = np.where(np.eye(4, 3) > 0, bad, G[0])
    skip = Optimizer(optcore.Recipe("adam", on_nonfinite="skip"))
    with np.errstate(invalid="ignore"):  # inf / inf, in what is then thrown away
        got, state = run(skip, {"w": P, "v": P}, [{"w": spoilt, "v": G[0]}, {"w": G[1], "v": G[1]}])
    want, _ = run(skip, {"w": P, "v": P}, [{"w": G[1], "v": G[1]}])
    np.testing.assert_array_equal(got["v"], want["v"])
    assert state.step == 1
    with np.errstate(invalid="ignore"):
        free, _ = run(Optimizer(optcore.Recipe("adam")), {"w": P}, [{"w": spoilt}])
    assert np.isnan(free["w"]).sum() == 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_leaves_are_computed_in_float32(dtype: str) -> None:
    kinds = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
    low = lambda x: x.astype(kinds[dtype])  # noqa: E731
    opt = Optimizer(optcore.Recipe("adamw", lr=0.01, weight_decay=0.1))
    p, state = {"w": low(P)}, opt.init({"w": low(P)})
    assert state.leaves[0].m.dtype == np.float32
    for g in G[:2]:
        wide = {"w": p["w"].astype(np.float32)}
        exact, _ = opt.update(wide, {"w": low(g).astype(np.float32)}, state)
        p, state = opt.update(p, {"w": low(g)}, state)
        np.testing.assert_array_equal(p["w"], low(exact["w"]))
    tight = Optimizer(optcore.Recipe("adamw", state_dtype="param")).init({"w": low(P)})
    assert tight.leaves[0].m.dtype == kinds[dtype]


@pytest.mark.parametrize("library", [Library.NUMPY, Library.TORCH, Library.JAX])
def test_a_complex_leaf_is_a_pair_of_real_ones(library: Library) -> None:
    z, g = P + 1j * P[::-1], G[0] + 1j * G[1]
    opt = Optimizer(optcore.Recipe("adam", lr=0.1))
    got, _ = run(opt, {"z": library.array(z, "complex128")}, [{"z": library.array(g, "complex128")}])
    want, _ = run(opt, {"r": P, "i": P[::-1]}, [{"r": G[0], "i": G[1]}])
    np.testing.assert_allclose(numpy_of(got["z"]), want["r"] + 1j * want["i"], rtol=1e-13)
    with pytest.raises(TypeError, match="muon: a parameter is complex"):
        Optimizer(optcore.Recipe("muon")).init({"z": library.array(z, "complex128")})


def test_resuming_from_a_state_equals_going_on() -> None:
    import pickle

    opt = Optimizer(optcore.Recipe("prodigy", lr=optcore.schedules.cosine(peak=1.0, steps=6)))
    grads = [{"w": g} for g in G]
    whole, _ = run(opt, {"w": P}, grads)
    half, state = run(opt, {"w": P}, grads[:3])
    state = pickle.loads(pickle.dumps(state))
    for g in grads[3:]:
        half, state = opt.update(half, g, state)
    np.testing.assert_array_equal(whole["w"], half["w"])


def test_bad_trees_are_refused_before_anything_moves() -> None:
    opt = Optimizer(optcore.Recipe("adam"))
    params = {"a": P, "b": {"c": P}}
    state = opt.init(params)
    for grads, error, words in [
        ({"a": G[0]}, ValueError, "'b/c' is missing"),
        ({"a": G[0], "b": {"c": G[0], "d": G[0]}}, ValueError, "'b/d' is unknown"),
        ({"a": G[0], "b": {"c": G[0, 0]}}, ValueError, "gradient of 'b/c' has shape"),
        ({"a": G[0], "b": {"c": G[0].astype(np.float32)}}, TypeError, "gradient of 'b/c' is of dtype float32"),
        ({"a": G[0], "b": {"c": torch.tensor(G[0])}}, TypeError, "the gradient 'b/c' is an array of torch"),
        ({"a": G[0], "b": {"c": 3}}, TypeError, "the leaf at 'b/c' is of type int"),
    ]:
        with pytest.raises(error, match=words):
            opt.update(params, grads, state)
    with pytest.raises(TypeError, match="parameter 'n' is of dtype int64"):
        opt.init({"n": np.arange(3)})
    with pytest.raises(TypeError, match="the leaf at 'x' is of type str"):
        opt.init({"x": "weights"})
    with pytest.raises(ValueError, match="there is no parameter"):
        opt.init({})
    with pytest.raises(ValueError, match="the state has 2 leaves, the parameters 1"):
        opt.update({"a": P}, {"a": G[0]}, state)
    np.testing.assert_array_equal(state.leaves[0].m, 0.0)


def test_decay_masks_and_layouts_are_chosen_by_path() -> None:
    opt = Optimizer(optcore.Recipe("sgd", lr=1.0, weight_decay=0.5, no_decay=["bias"]))
    new, _ = run(opt, {"weight": P, "bias": P}, [{"weight": 0 * P, "bias": 0 * P}])
    np.testing.assert_allclose(new["weight"], 0.5 * P)
    np.testing.assert_array_equal(new["bias"], P)
    muon = optcore.Recipe(optcore.muon(scale="aspect"), lr=1.0, layout={"^t": "out_in"})
    tall, _ = run(Optimizer(muon), {"t": 0 * P, "w": 0 * P}, [{"t": G[0], "w": G[0]}])
    np.testing.assert_allclose(tall["t"], tall["w"] * (4 / 3) ** 0.5, rtol=1e-13)


def test_a_node_that_only_jax_knows_is_flattened_by_jax() -> None:
    @jax.tree_util.register_pytree_node_class
    class Pair:
        def __init__(self, a: Any, b: Any) -> None:
            self.a, self.b = a, b

        def tree_flatten(self) -> Any:
            return (self.a, self.b), None

        @classmethod
        def tree_unflatten(cls, _: Any, children: Any) -> Any:
            return cls(*children)

    opt = Optimizer(optcore.Recipe("sgd", lr=1.0))
    params, grads = Pair(jnp.ones(2), jnp.ones(3)), Pair(jnp.ones(2), None)
    new, _ = opt.update(params, grads, opt.init(params))
    assert isinstance(new, Pair) and float(new.a[0]) == 0.0 and float(new.b[0]) == 1.0


@pytest.mark.parametrize("library", [Library.TORCH, Library.JAX])
def test_value_and_grad_trains_a_tree(library: Library) -> None:
    def loss(tree: Any) -> Any:
        return ((tree["w"] - 3.0) ** 2).sum()

    value_and_grad = library.backend.value_and_grad(loss)
    opt = Optimizer(optcore.Recipe("sgd", lr=0.25))
    params = {"w": library.array(P)}
    state = opt.init(params)
    for _ in range(60):
        _, grads = value_and_grad(params)
        params, state = opt.update(params, grads, state)
    np.testing.assert_allclose(numpy_of(params["w"]), 3.0, rtol=1e-12)
    with pytest.raises(NotImplementedError, match="numpy has no automatic differentiation"):
        Library.NUMPY.backend.value_and_grad(loss)
