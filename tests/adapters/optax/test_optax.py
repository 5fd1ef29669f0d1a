"""The optax adapter: optax' numbers, names and contracts."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Row, draw

import optcore
from optcore import schedules
from optcore.adapters import native
from optcore.adapters import optax as ours

SHAPES = {"a": (7,), "b": (4, 3), "c": (2, 3, 2, 2)}
MATRICES = {"a": (4, 3), "b": (3, 5)}


def theirs(name: str) -> Any:
    return getattr(optax, name, None) or getattr(optax.contrib, name)


def squares(params: Any) -> Any:
    return sum(jnp.sum(p**2) for p in jax.tree.leaves(params))


def run(tx: Any, steps: int = 15, shapes: Any = SHAPES, dtype: Any = jnp.float64, jit: bool = True) -> Any:
    rng = np.random.default_rng(1)
    params = {k: jnp.asarray(rng.standard_normal(s), dtype) for k, s in shapes.items()}
    state = tx.init(params)
    tx = optax.with_extra_args_support(tx)
    update = partial(tx.update, obj_fn=squares)  # which Sophia needs; every other rule must ignore it
    update = jax.jit(update) if jit else update
    for _ in range(steps):
        grads = {k: jnp.asarray(rng.standard_normal(s) * 10 ** rng.uniform(-2, 1), dtype) for k, s in shapes.items()}
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    assert not jit or update._cache_size() == 1, "the second call must not compile again"
    return np.concatenate([np.ravel(v).astype(float) for v in params.values()]), state


RATE = optax.cosine_decay_schedule(0.1, 20)
NATIVE = oracles.gather("OPTAX")
SCHEDULED = [
    Row("sgd", {"learning_rate": RATE, "momentum": 0.9}),
    Row("adam", {"learning_rate": RATE, "eps_root": 1e-3}),
    Row("rmsprop", {"learning_rate": RATE, "momentum": 0.9, "centered": True, "eps": 1e-3}),
]


@pytest.mark.parametrize("row", [*NATIVE, *SCHEDULED], ids=repr)
@settings(max_examples=2)
@given(st.data())
def test_the_same_numbers_as_optax(row: Row, data: Any) -> None:
    """In float64 over 15 steps parameters agree to 1e-12, or to float32 where optax itself computes in float32."""
    options = draw(data, row.options)
    shapes = dict(zip("abc", row.shapes, strict=False))
    want, _ = run(theirs(row.name)(*row.args, **options), shapes=shapes, jit=False)
    got, _ = run(getattr(ours, row.name)(*row.args, **options), shapes=shapes, jit=False)
    np.testing.assert_allclose(got, want, rtol=row.tolerance, atol=row.tolerance)


@pytest.mark.parametrize("name", sorted({row.name for row in NATIVE}))
def test_the_same_signature_as_optax(name: str) -> None:
    shown = lambda f: [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]  # noqa: E731
    mine, want = shown(getattr(ours, name)), shown(theirs(name))
    assert [p[:2] for p in mine] == [p[:2] for p in want]
    for (key, _, a), (_, _, b) in zip(mine, want, strict=True):
        assert a == b or key == "dtype_momentum" or (key == "clip_value_fn" and a(16.0) == b(16.0)), key


def _made(name: str) -> Any:
    """Return the transformation with 0.01 for each argument that must be given."""
    make = getattr(ours, name)
    return make(**{p.name: 0.01 for p in inspect.signature(make).parameters.values() if p.default is p.empty})


@pytest.mark.parametrize("name", native.names("optax"))
@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16])
def test_every_function_keeps_structure_and_dtypes_without_recompiling(name: str, dtype: Any) -> None:
    tx = _made(name)
    _, state = run(tx, steps=3, shapes=MATRICES, dtype=dtype)
    start = tx.init({k: jnp.zeros(s, dtype) for k, s in MATRICES.items()})
    describe = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)  # noqa: E731
    assert describe(start) == describe(state)


@pytest.mark.parametrize("name", ["adam", "prodigy", "adafactor", "muon", "soap", "lamb"])
def test_transformations_compose_like_optax_own(name: str) -> None:
    make = getattr(ours, name)
    shapes = MATRICES
    for tx in (
        optax.chain(optax.clip(1.0), make(learning_rate=0.1)),
        optax.MultiSteps(make(learning_rate=0.1), 2),
        optax.masked(make(learning_rate=0.1), {"a": True, "b": False}),
        optax.apply_if_finite(make(learning_rate=0.1), 3),
        optax.partition({"x": make(learning_rate=0.1), "y": optax.sgd(0.1)}, {"a": "x", "b": "y"}),
        optax.with_extra_args_support(make(learning_rate=0.1)),
    ):
        values, _ = run(tx, steps=4, shapes=shapes)
        assert np.isfinite(values).all()


def test_inject_hyperparams_and_its_integers() -> None:
    want, _ = run(optax.inject_hyperparams(optax.adamw)(learning_rate=0.1))
    got, _ = run(optax.inject_hyperparams(ours.adamw)(learning_rate=0.1))
    np.testing.assert_allclose(got, want, rtol=1e-6)  # both take float32 numbers, and round in another order
    with pytest.raises(TypeError, match=r"pass static_args=\('ns_steps',\)"):
        run(optax.inject_hyperparams(ours.muon, static_args=("ns_coeffs",))(learning_rate=0.1), shapes=MATRICES)
    fixed = optax.inject_hyperparams(ours.muon, static_args=("ns_steps", "ns_coeffs"))(learning_rate=0.1)
    assert np.isfinite(run(fixed, shapes=MATRICES)[0]).all()


def test_params_may_be_left_out_where_the_law_does_not_read_them() -> None:
    grads = {"a": jnp.ones(2)}
    updates, _ = ours.adam(0.1).update(grads, ours.adam(0.1).init(grads))
    np.testing.assert_allclose(updates["a"], -0.1, rtol=1e-7)
    for tx in (ours.lamb(0.1), ours.adamw(0.1), ours.prodigy()):
        with pytest.raises(ValueError, match="requires the current value of parameters"):
            tx.update(grads, tx.init(grads))


def test_abstract_placeholder_and_missing_leaves() -> None:
    shapes = {"a": jax.ShapeDtypeStruct((2,), jnp.float32)}
    assert jax.eval_shape(ours.adam(0.1).init, shapes) == jax.eval_shape(optax_like_adam_init, shapes)
    tx = ours.adam(0.1)
    doubled = optax.tree_map_params(tx, lambda x: x + 2.0, tx.init({"a": jnp.zeros(2)}))
    assert float(doubled.leaves["mu"]["a"][0]) == 2.0 and int(doubled.count) == 0
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    state = tx.init(params)
    updates, state = tx.update({"a": jnp.ones(2), "b": None}, state, params)
    assert updates["b"] is None and float(state.leaves["mu"]["b"][0]) == 0.0


def optax_like_adam_init(params: Any) -> Any:
    zeros = jax.tree.map(jnp.zeros_like, params)
    count = jnp.zeros([], jnp.int32)
    return ours.State(count, count, {}, {"mu": zeros, "nu": zeros}, None, None)


def test_state_follows_the_sharding_of_parameters() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    params = {"a": jax.device_put(jnp.ones(8), where)}
    state = jax.jit(ours.adam(0.1).init)(params)
    assert state.leaves["mu"]["a"].sharding.is_equivalent_to(where, 1)


def test_vmap_scan_and_grad_through_an_update() -> None:
    tx = ours.adam(0.1)
    batch = {"a": jnp.arange(6.0).reshape(3, 2)}
    states = jax.vmap(tx.init)(batch)
    updates, _ = jax.vmap(tx.update)(batch, states, batch)
    assert updates["a"].shape == (3, 2)

    def body(carry: Any, _: Any) -> Any:
        params, state = carry
        updates, state = tx.update(params, state, params)
        return (optax.apply_updates(params, updates), state), None

    params = {"a": jnp.ones(2)}
    (end, _), _ = jax.lax.scan(body, (params, tx.init(params)), None, length=200)
    assert float(jnp.abs(end["a"]).max()) < 0.2

    def loss(g: Any) -> Any:
        updates, _ = ours.sgd(0.5).update({"a": g}, ours.sgd(0.5).init({"a": g}), {"a": g})
        return updates["a"].sum()

    np.testing.assert_allclose(jax.grad(loss)(jnp.ones(2)), -0.5)


GROWING = schedules.piecewise(start=1.0, points=[(1, 2.0)])
"""Micro-steps that make an update: one, then two."""


@pytest.mark.parametrize("accumulate", [2, GROWING], ids=["two", "growing"])
def test_a_recipe_walks_the_path_of_the_pure_optimizer(accumulate: Any) -> None:
    recipe = optcore.Recipe(
        "prodigy",
        lr=schedules.cosine(peak=1.0, steps=20),
        weight_decay=0.1,
        no_decay=["^b"],
        accumulate=accumulate,
        average=0.9,
        on_nonfinite="skip",
    )
    tx, opt = ours.from_recipe(recipe), optcore.backends.Optimizer(recipe)
    rng = np.random.default_rng(0)
    params = {k: jnp.asarray(rng.standard_normal(s)) for k, s in SHAPES.items()}
    twin, state, other = params, tx.init(params), opt.init(params)
    for _ in range(6):
        grads = {k: jnp.asarray(rng.standard_normal(s)) for k, s in SHAPES.items()}
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        twin, other = opt.update(twin, grads, other)
    for key in params:
        np.testing.assert_allclose(params[key], twin[key], rtol=1e-12)
        np.testing.assert_allclose(state.average[key], other.average[list(SHAPES).index(key)], rtol=1e-12)
    assert int(state.count) == other.step == 3


def test_an_exponentiated_step_survives_apply_updates_exactly() -> None:
    """The rule returns the new p; the update u is the exact difference, so that optax' p + u is the new p."""
    p = {"w": jnp.asarray([1e-3, 2.0, 0.5])}
    g = {"w": jnp.asarray([0.3, -0.2, 0.1])}
    tx = ours.exponentiated_gradient(learning_rate=0.1)
    updates, _ = tx.update(g, tx.init(p), p)
    want = p["w"] * jnp.exp(-0.1 * g["w"])
    np.testing.assert_array_equal(optax.apply_updates(p, updates)["w"], want)


def test_injected_numbers_need_no_params_either() -> None:
    grads = {"a": jnp.ones(2)}
    for make in (ours.adam, lambda learning_rate, b1=0.9: ours.adam(learning_rate, b1=b1)):
        tx = optax.inject_hyperparams(make)(learning_rate=0.1)
        updates, _ = tx.update(grads, tx.init(grads))
        np.testing.assert_allclose(updates["a"], -0.1, rtol=1e-6)
    tx = ours.sgd(0.1, momentum=schedules.constant(value=0.9))
    assert float(tx.update(grads, tx.init(grads))[0]["a"][0]) == pytest.approx(-0.1)


def test_shapes_that_would_broadcast_are_refused() -> None:
    tx, params = ours.adam(0.1), {"a": jnp.ones(4)}
    with pytest.raises(ValueError, match=r"gradient of 'a' has shape \(4, 1\), the parameter \(4,\)"):
        tx.update({"a": jnp.ones((4, 1))}, tx.init(params), params)
    with pytest.raises(TypeError, match="given complex gradients"):
        tx.update({"a": 1j * jnp.ones(4)}, tx.init({"a": 1j * jnp.ones(4)}), {"a": 1j * jnp.ones(4)})


def test_a_schedule_in_a_number_of_single_leaves_is_its_value() -> None:
    """optax' Muon has a decay for matrices and another for the rest, and either may be a schedule."""
    falling = schedules.linear(start=0.5, end=0.0, steps=4)
    got, _ = run(ours.muon(0.1, weight_decay=falling, adam_weight_decay=falling), steps=6)
    rule = optcore.matrices(
        optcore.muon(like="optax", epsilon=1e-8), optcore.nadam(like="optax", epsilon=1e-8), use="shape"
    )
    want, _ = run(ours.from_recipe(optcore.Recipe(rule, lr=0.1, weight_decay=falling, state_dtype="param")), steps=6)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def test_a_negative_scale_that_is_a_schedule_descends() -> None:
    law = schedules.proportion(
        of=schedules.linear(start=1.0, end=0.5, steps=4), low=0.0, high=1.0, to_low=0.0, to_high=-1.0
    )
    got, want = (run(ours.normalize_by_update_norm(scale_factor=x), steps=1)[0] for x in (law, -1.0))
    np.testing.assert_allclose(got, want, rtol=1e-12)
