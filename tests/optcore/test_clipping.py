"""Clipping laws compared with the libraries' own functions, also on very large and small numbers."""

from __future__ import annotations

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from clips import LAWS, draw, given_params, same
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_optimizer.optimizer.agc import agc
from pytorch_optimizer.optimizer.gradient_centralization import centralize_gradient
from pytorch_optimizer.optimizer.utils.gradient import normalize_gradient, unit_norm

import optcore
from optcore import clipping
from optcore.adapters import optax as in_optax
from optcore.adapters import torch as in_torch

seeds = st.integers(0, 2**32 - 1)
limits = st.floats(-2.0, 2.0).map(lambda e: 10.0**e)
FEW = settings(max_examples=10)


def test_the_laws_are_found() -> None:
    assert len(LAWS) >= 24
    assert all(law.family == "clipping" for law in LAWS.values())


# Hard and soft.


@pytest.mark.parametrize("over", ["", "global_"])
@given(seeds, st.floats(1e-6, 1e6))
def test_soft_clipping_is_within_a_factor_two_of_hard(over: str, seed: int, gamma: float) -> None:
    """Per leaf and over the tree, 0.5 min(1, gamma/n) <= gamma/(n + gamma) <= min(1, gamma/n), up to rounding."""
    grads = draw(seed, ((5,), (3, 2)))
    hard = clipping.clipped(LAWS[f"clip_by_{over}norm"](max_norm=gamma), grads)
    soft = clipping.clipped(LAWS[f"clip_by_{over}norm_soft"](max_norm=gamma), grads)
    slack = 1 + 16 * 2.0**-53
    for h, s in zip(map(np.abs, hard), map(np.abs, soft), strict=True):
        assert (0.5 * h <= s * slack).all() and (s <= h * slack).all()
    if over:
        assert math.sqrt(sum((s * s).sum() for s in soft)) < gamma * slack
    else:
        assert all(np.linalg.norm(s) < gamma * slack for s in soft)


# Norms at the ends of the range.


@pytest.mark.parametrize("name", [n for n in LAWS if n.startswith("clip_by_") and not LAWS[n].fields])
@pytest.mark.parametrize("size", [1e30, 1.0, 1e-30])
def test_float32_norms_neither_overflow_nor_underflow(name: str, size: float) -> None:
    """Results equal those of float64 to a few units of float32, for a threshold of half the elements' size."""
    law = LAWS[name](**{k: size / 2 for k in ("max_norm", "threshold", "limit") if k in LAWS[name].hypers})
    p = [np.zeros(g.shape) for g in draw(0)]
    grads = [
        np.float32(size) * np.sign(g).astype(np.float32) * (1 + (np.arange(g.size).reshape(g.shape) % 3))
        for g in draw(0)
    ]
    small = [g.astype(np.float32) for g in grads]
    with np.errstate(under="ignore"):
        low = clipping.clipped(law, small, [x.astype(np.float32) for x in p])
        high = clipping.clipped(law, [g.astype(np.float64) for g in small], p)
    for a, b in zip(low, high, strict=True):
        assert a.dtype == np.float32 and np.isfinite(a).all() and a.any()
        np.testing.assert_allclose(a, b, rtol=2e-6)


@pytest.mark.parametrize("name", [n for n in LAWS if "max_norm" in LAWS[n].hypers and not LAWS[n].fields])
def test_thresholds_of_zero_and_infinity_are_defined(name: str) -> None:
    zero, ones = np.zeros(3), np.ones(3)
    assert not clipping.clipped(LAWS[name](max_norm=0.0), zero).any()
    assert not clipping.clipped(LAWS[name](max_norm=0.0), ones).any()
    assert not clipping.clipped(LAWS[name](max_norm=1.0), zero).any()
    if not name.endswith("soft"):
        np.testing.assert_array_equal(clipping.clipped(LAWS[name](max_norm=math.inf), ones), ones)


@pytest.mark.parametrize("name", [n for n in LAWS if n.startswith("normalize_")])
def test_a_zero_gradient_stays_zero(name: str) -> None:
    numbers = {k: 0.0 for k in ("epsilon", "floor") if k in LAWS[name].hypers}
    assert not clipping.clipped(LAWS[name](**numbers), np.zeros((2, 3))).any()


@pytest.mark.parametrize("name", list(LAWS))
@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_thresholds_below_zero_and_nan_are_refused(name: str, bad: float) -> None:
    law = LAWS[name]
    words = ("max_norm", "threshold", "limit", "scale", "mu", "a", "clipping", "epsilon", "floor", "deviation", "rate")
    for word in (w for w in words if w in law.hypers):
        with pytest.raises(ValueError, match=f"{name}: {word}=.* is out of range"):
            law(**{word: bad})


# The libraries' functions.


@FEW
@given(seeds, limits, st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, math.inf]))
def test_torchs_functions(seed: int, limit: float, order: float) -> None:
    """Our functions change gradients in place, agree with torch's to 1e-13, and return the norm before clipping."""
    grads = draw(seed)
    theirs, mine = given_params(grads), given_params(grads)
    want = torch.nn.utils.clip_grad_norm_(theirs, limit, order)
    kept = [p.grad for p in mine]
    got = in_torch.clip_grad_norm_(mine, limit, order)
    same([got], [want])
    same([p.grad for p in mine], [p.grad for p in theirs])
    assert all(p.grad is g for p, g in zip(mine, kept, strict=True)), "written in place"
    order_law = {2.0: clipping.clip_by_global_norm, math.inf: clipping.clip_by_global_max}
    law = order_law.get(order) or clipping.clip_by_global_p_norm(order=order)
    same(clipping.clipped(law(max_norm=limit, like="torch"), grads), [p.grad for p in theirs])
    theirs, mine = given_params(grads), given_params(grads)
    torch.nn.utils.clip_grad_value_(theirs, limit)
    in_torch.clip_grad_value_(iter(mine), limit)
    same([p.grad for p in mine], [p.grad for p in theirs], 0.0)
    norm = torch.nn.utils.get_total_norm([p.grad for p in theirs], order)
    same([in_torch.get_total_norm([p.grad for p in mine], order)], [norm])
    torch.nn.utils.clip_grads_with_norm_(theirs, limit, norm)
    in_torch.clip_grads_with_norm_(mine, limit, norm)
    same([p.grad for p in mine], [p.grad for p in theirs])


def test_torchs_functions_at_their_edges() -> None:
    (p,) = given_params([np.array([1.0, np.nan])])
    empty = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(
        RuntimeError, match=r"The total norm of order 2\.0 for gradients from `parameters` is non-finite"
    ):
        in_torch.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    assert float(p.grad[0]) == 1.0, "nothing is written by a call that is refused"
    assert math.isnan(float(in_torch.clip_grad_norm_([p, empty], 1.0))) and bool(p.grad.isnan().all())
    assert float(in_torch.clip_grad_norm_([empty], 1.0)) == 0.0 and empty.grad is None
    in_torch.clip_grad_value_(empty, 1.0)
    for order in (0.0, -1.0):
        with pytest.raises(ValueError, match="give a number above 0"):
            in_torch.get_total_norm([torch.ones(2)], order)
    with pytest.raises(ValueError, match=r"clip_by_value: limit=-1\.0 is out of range"):
        in_torch.clip_grad_value_(given_params([np.ones(2)]), -1.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.complex128])
def test_torchs_functions_in_every_dtype(dtype: Any) -> None:
    grads = draw(3)
    theirs, mine = given_params(grads, dtype), given_params(grads, dtype)
    want, got = torch.nn.utils.clip_grad_norm_(theirs, 0.5), in_torch.clip_grad_norm_(mine, 0.5)
    unit = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}.get(dtype, 2.0**-53)
    np.testing.assert_allclose(float(got), float(want), rtol=8 * unit)  # torch rounds every leaf's norm and the whole
    for a, b in zip(mine, theirs, strict=True):
        assert a.grad.dtype == dtype
        torch.testing.assert_close(a.grad, b.grad, rtol=8 * unit, atol=0)


@FEW
@given(seeds, st.floats(0.01, 2.0), st.floats(1e-3, 1.0), st.floats(1e-6, 1e-2))
def test_adaptive_gradient_clipping_is_each_librarys(seed: int, clip: float, epsilon: float, floor: float) -> None:
    params, grads = draw(seed + 1 if seed < 2**32 - 1 else 0), draw(seed)
    want = [
        agc(torch.tensor(p), torch.tensor(g), epsilon, clip, floor).numpy() for p, g in zip(params, grads, strict=True)
    ]
    law = clipping.adaptive_gradient_clip(clipping=clip, epsilon=epsilon, floor=floor, like="torch")
    same(clipping.clipped(law, grads, params), want)
    tx = optax.adaptive_grad_clip(clip, epsilon)
    want, _ = tx.update(grads, tx.init(params), params)
    same(
        clipping.clipped(clipping.adaptive_gradient_clip(clipping=clip, epsilon=epsilon, like="optax"), grads, params),
        want,
    )


@FEW
@given(seeds, limits)
def test_unit_norms_are_each_librarys(seed: int, limit: float) -> None:
    grads = draw(seed)
    for g in grads:
        size = optax.transforms.unitwise_norm(g)
        want = optax.transforms.unitwise_clip(size, jnp.full_like(size, limit), g)
        same([clipping.clipped(clipping.clip_by_unit_norm(max_norm=limit, like="optax"), g)], [want])
        size = unit_norm(torch.tensor(g)).numpy()
        want = g * np.minimum(1.0, limit / size)
        same([clipping.clipped(clipping.clip_by_unit_norm(max_norm=limit, like="torch"), g)], [want])


@FEW
@given(seeds, st.floats(1e-9, 1.0), st.booleans())
def test_normalization_and_centralization_of_pytorch_optimizer(seed: int, epsilon: float, channels: bool) -> None:
    for g in draw(seed):
        want = torch.tensor(g)
        normalize_gradient(want, channels, epsilon)
        law = clipping.normalize_by_deviation(epsilon=epsilon, channels=channels, layout="out_in")
        same([clipping.clipped(law, g)], [want])
        want = torch.tensor(g)
        centralize_gradient(want, channels)
        same([clipping.clipped(optcore.centralize(unit="first", min_ndim=4 if channels else 2), g)], [want])


@FEW
@given(seeds, limits, st.booleans())
def test_batches_of_gradients_are_clipped_as_in_optax(seed: int, limit: float, uniform: bool) -> None:
    batch = {"a": draw(seed, ((5, 3),))[0], "b": draw(seed, ((5, 2, 2),))[0], "c": draw(seed, ((5,),))[0]}
    as_jax = jax.tree.map(jnp.asarray, batch)
    leaves = list(as_jax.values())
    for arrays in (batch, as_jax, {k: torch.tensor(v) for k, v in batch.items()}):
        got, count = clipping.per_example_global_norm_clip(arrays, limit)
        want, clipped = optax.per_example_global_norm_clip(leaves, limit)
        same(got.values(), want)
        assert float(count) == float(clipped)
        got, counts = clipping.per_example_layer_norm_clip(arrays, limit, uniform)
        want, clipped = optax.per_example_layer_norm_clip(leaves, limit, uniform)
        same(got.values(), want)
        assert [float(x) for x in counts.values()] == [float(x) for x in clipped]


def test_private_descent_without_noise_is_optax_own() -> None:
    """The mean of clipped gradients equals optax'; the noise is a link of the chain, which draws its own numbers."""
    batch = {"a": draw(1, ((5, 3),))[0], "b": draw(2, ((5, 2, 2),))[0]}
    params = {"a": np.ones(3), "b": np.ones((2, 2))}
    tx = optax.chain(optax.contrib.differentially_private_aggregate(0.7, 0.0, 0), optax.scale(-0.1))
    step, _ = tx.update(jax.tree.map(jnp.asarray, batch), tx.init(params), params)
    opt = optcore.backends.Optimizer(optcore.Recipe("sgd", lr=0.1, clip=clipping.gaussian_noise(deviation=0.0)))
    new, _ = opt.update(params, clipping.per_example_mean(batch, 0.7), opt.init(params))
    same(new.values(), [params[k] + step[k] for k in params])


@pytest.mark.filterwarnings('ignore:"seed" is deprecated')  # by optax, which calls itself so
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}], ids=str)
def test_private_descent_has_optax_name_and_numbers(options: dict[str, Any]) -> None:
    """The numbers agree without noise, since draws differ; the deviation is the multiplier divided by the examples."""
    batches = [jax.tree.map(jnp.asarray, dict(zip("ab", draw(k, ((5, 3), (5, 2, 2))), strict=True))) for k in range(4)]
    walked = []
    for make in (optax.contrib.dpsgd, in_optax.dpsgd):
        tx = make(optax.linear_schedule(0.1, 0.0, 9), 0.7, 0.0, 3, **options)
        params = {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
        state = tx.init(params)
        for batch in batches:
            step, state = jax.jit(tx.update)(batch, state, params)
            params = optax.apply_updates(params, step)
        walked.append(params)
    same(walked[1].values(), walked[0].values(), 1e-12)
    assert (
        inspect.signature(in_optax.dpsgd).parameters.keys() == inspect.signature(optax.contrib.dpsgd).parameters.keys()
    )
    tx = in_optax.differentially_private_aggregate(0.5, 3.0, key=1)
    zeros = jnp.zeros((8, 40_000))
    noise, _ = tx.update(zeros, tx.init(zeros[0]))
    assert abs(float(noise.std()) / (0.5 * 3.0 / 8) - 1) < 5 / math.sqrt(2 * 40_000)
    with pytest.raises(ValueError, match=r"noise_multiplier=-1.0 is out of range"):
        in_optax.differentially_private_aggregate(0.5, -1.0)


def test_the_noise_has_the_deviation_it_is_given() -> None:
    opt = optcore.backends.Optimizer(optcore.Recipe(clipping.gaussian_noise(deviation=3.0), lr=1.0, seed=5))
    p = np.zeros(40_000)
    new, _ = opt.update(p, p, opt.init(p))
    assert abs(new.std() / 3.0 - 1) < 5 / math.sqrt(2 * p.size) and abs(new.mean() / 3.0) < 5 / math.sqrt(p.size)


def test_batches_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="needs the examples in its first axis"):
        clipping.per_example_global_norm_clip([np.ones((3, 2)), np.ones(2)], 1.0)
    with pytest.raises(ValueError, match=r"max_norm=-1\.0 is out of range"):
        clipping.per_example_layer_norm_clip([np.ones((3, 2))], -1.0)


# Where the laws appear.


@pytest.mark.parametrize("name", list(LAWS))
def test_every_law_is_a_link_of_optax_and_of_a_recipe(name: str) -> None:
    """As a transformation of optax a law returns the clipped gradient, and not a step against it."""
    limit = 50.0 if name == "zero_if_large" else 0.5  # below which something is left
    need = {n: limit for n, h in LAWS[name].hypers.items() if h.default is optcore.hyper.REQUIRED}
    params = {"a": np.ones(3), "b": np.full((2, 3), 2.0)}
    grads = {"a": np.arange(3.0) + 1, "b": np.full((2, 3), 0.5)}
    recipe = optcore.Recipe("sgd", lr=1.0, clip=[LAWS[name](**need)], layout="in_out")
    assert optcore.Recipe.from_json(recipe.to_json()) == recipe
    opt = optcore.backends.Optimizer(recipe)
    new, _ = opt.update(params, grads, opt.init(params))
    tx = in_optax.from_recipe(recipe)
    step, _ = tx.update(grads, tx.init(params), params)
    same(step.values(), [new[k] - params[k] for k in params], 1e-12)
    make = getattr(in_optax, name)
    spelled = {{"epsilon": "eps"}.get(n, n): v for n, v in need.items()}
    if name != "adaptive_gradient_clip" and "max_norm" in need:
        link = make(**spelled)
        d, _ = link.update(grads, link.init(params), params)
        assert all((np.asarray(d[k]) * grads[k] > 0).all() for k in grads)


def test_keras_own_arguments_reach_our_optimizers() -> None:
    import os
    import subprocess
    import sys

    code = """
import numpy as np, keras
from optcore.adapters import keras as ours
for options in ({"clipnorm": 0.3}, {"clipvalue": 0.2}, {"global_clipnorm": 0.5}):
    found = []
    for make in (keras.optimizers.SGD, ours.SGD):
        v = [keras.Variable(np.ones(3, "float64"), dtype="float64"), keras.Variable(np.ones((2, 2)), dtype="float64")]
        opt = make(learning_rate=0.1, **options)
        for k in range(3):
            opt.apply([keras.ops.cast(np.arange(3.0) - k, "float64"), keras.ops.cast(np.eye(2) * k, "float64")], v)
        found.append(np.concatenate([keras.ops.convert_to_numpy(x).ravel() for x in v]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12, err_msg=str(options))
"""
    env = {**os.environ, "KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def test_a_vector_of_the_whole_tree_goes_through_torchs_state_dict(tmp_path: Any) -> None:
    """The history of norms, saved and loaded between two steps, continues as the pure optimizer's does."""
    recipe = optcore.Recipe("adam", lr=0.1, clip=clipping.clip_by_percentile(percentile=40.0, window=3))
    steps = [dict(zip("abcd", draw(k), strict=True)) for k in range(6)]
    start = {k: np.ones_like(v) for k, v in steps[0].items()}
    opt = optcore.backends.Optimizer(recipe)
    want, state = start, opt.init(start)
    mine = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in start.items()}
    optimizer = in_torch.from_recipe(recipe, mine.items())
    for k, grads in enumerate(steps):
        want, state = opt.update(want, grads, state)
        for name, p in mine.items():
            p.grad = torch.tensor(grads[name])
        optimizer.step()
        if k == 2:
            torch.save(optimizer.state_dict(), tmp_path / "state")
            optimizer = in_torch.from_recipe(recipe, mine.items())
            optimizer.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    same([p.detach() for p in mine.values()], want.values())
    same([optimizer.param_groups[0]["norms"]], [state.shared[0]])


def test_a_law_with_a_memory_is_sent_to_an_optimizer() -> None:
    with pytest.raises(ValueError, match="zclip keeps mean; give it to a Recipe"):
        clipping.clipped(clipping.zclip, [np.ones(3)])


def test_skipping_and_repairing() -> None:
    g = [np.array([1.0, np.nan]), np.array([np.inf])]
    np.testing.assert_array_equal(clipping.clipped(clipping.zero_nans, g)[0], [1.0, 0.0])
    assert clipping.clipped(clipping.zero_nans, g)[1][0] == np.inf
    with np.errstate(invalid="ignore"):
        assert not any(x.any() for x in clipping.clipped(clipping.zero_if_nonfinite, g))
    assert clipping.clipped(clipping.zero_if_nonfinite, [np.ones(2), None])[0].all()


@FEW
@given(seeds, limits)
def test_large_gradients_are_dropped_where_optax_skips_them(seed: int, limit: float) -> None:
    """optax skips the whole step, our law gives a gradient of zero; for plain descent both are the same."""
    grads = [*draw(seed), np.array([np.nan])][: 3 - seed % 2]
    skip, _ = optax.skip_large_updates(grads, 0, None, limit**2)
    kept = clipping.clipped(clipping.zero_if_large(max_norm=limit), grads)
    assert all((x == (0.0 if skip else g)).all() for x, g in zip(kept, grads, strict=True))
