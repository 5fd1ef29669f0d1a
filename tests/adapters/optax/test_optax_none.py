"""The optax adapter and leaves of None: they are skipped, in parameters and in gradients."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optcore
from optcore import registry
from optcore.adapters import native
from optcore.adapters import optax as ours

NEEDED = {"lora": {"rank": 1}}
"""Arguments for a function beside 0.01 for each one without a default."""

CHANCE = {"noisy_sgd", "add_noise", "gaussian_noise"}
"""Functions whose draws hang on the name of the leaf."""


def made(name: str) -> Any:
    make = getattr(ours, name)
    needed = {p.name: 0.01 for p in inspect.signature(make).parameters.values() if p.default is p.empty}
    return make(**needed | NEEDED.get(name, {}))


def law_of(name: str) -> Any:
    return {**registry.rules(), **registry.clipping()}.get(name)


def for_matrices(name: str) -> bool:
    """Tell whether a function of a rule takes no vectors."""
    return name not in native._table("optax") and law_of(name).ndim is not None


def draws(name: str) -> bool:
    """Tell whether a rule uses random numbers, which depend on the path of a leaf."""
    return name in CHANCE or (law_of(name) is not None and any(f.noise or f.drawn for f in law_of(name).fields))


def squares(params: Any) -> Any:
    return sum(jnp.sum(p**2) for p in jax.tree.leaves(params))


def leaves(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree)


@pytest.mark.exhaustive(share=6)
@pytest.mark.parametrize("name", native.names("optax"))
def test_every_function_skips_none_leaves(name: str) -> None:
    """An equinox model without its functions steps as the plain dictionary of its arrays does."""
    biased = not for_matrices(name)
    model = eqx.nn.MLP(3, 2, 4, 1, use_bias=biased, use_final_bias=biased, key=jax.random.key(0))
    params = eqx.filter(model, eqx.is_array)
    assert len(jax.tree.leaves(params, is_leaf=lambda x: x is None)) > len(leaves(params))
    tx = made(name)
    grads = eqx.filter_grad(lambda model: jnp.sum(model(jnp.ones(3)) ** 2))(model)
    update = jax.jit(partial(tx.update, obj_fn=squares))  # which Sophia needs; every other rule must ignore it
    updates, state = update(grads, tx.init(params), params)
    assert jax.tree.structure(updates) == jax.tree.structure(grads)
    plain = leaves(params)
    steps, other = update(leaves(grads), tx.init(plain), plain)
    if not draws(name):
        for a, b in zip(leaves((updates, state)), leaves((steps, other)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.exhaustive(share=6)
@pytest.mark.parametrize("name", native.names("optax"))
def test_every_function_leaves_a_leaf_without_a_gradient_alone(name: str) -> None:
    """The other leaves move as they do without that leaf."""
    tx = made(name)
    params = {"a": jnp.arange(1.0, 7.0).reshape(3, 2), "b": jnp.ones((2, 2))}
    grads = {"a": jnp.full((3, 2), 0.5), "b": None}
    alone = {"a": params["a"]}
    state, other = tx.init(params), tx.init(alone)
    before = {k: v["b"] for k, v in state.leaves.items() if k != "estimate"}  # written for the next gradient
    updates, state = tx.update(grads, state, params, obj_fn=squares)
    assert updates["b"] is None
    if not state.shared:  # what is shared starts from all leaves
        steps, _ = tx.update({"a": grads["a"]}, other, alone, obj_fn=squares)
        np.testing.assert_allclose(updates["a"], steps["a"], rtol=1e-12, atol=1e-15)
    after = {k: state.leaves[k]["b"] for k in before}
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(before), leaves(after), strict=True))


@pytest.mark.parametrize("name", ["adam", "muon", "sm3", "sgd"])
def test_a_gradient_of_what_is_no_parameter_is_refused_by_name(name: str) -> None:
    tx = made(name)
    params = {"a": jnp.ones((2, 2)), "f": None}
    with pytest.raises(ValueError, match=r"was given a gradient of 'f', where the parameters have no array"):
        tx.update({"a": jnp.ones((2, 2)), "f": jnp.ones(2)}, tx.init(params), params)


@pytest.mark.parametrize("with_params", [False, True])
def test_what_was_gathered_moves_a_leaf_whose_last_gradient_is_none(with_params: bool) -> None:
    """The mean counts a missing gradient as zero, and the step of the cycle is made nevertheless."""
    tx = ours.from_recipe(optcore.Recipe("sgd", lr=1.0, accumulate=2))
    params = {"a": jnp.ones(2), "b": jnp.ones(3), "none": None}
    state, given = tx.init(params), (params,) if with_params else ()
    _, state = tx.update({"a": jnp.ones(2), "b": jnp.ones(3), "none": None}, state, *given)
    updates, state = jax.jit(tx.update)({"a": jnp.ones(2), "b": None, "none": None}, state, *given)
    np.testing.assert_array_equal(updates["a"], -np.ones(2))
    np.testing.assert_array_equal(updates["b"], -np.ones(3) / 2)
    assert updates["none"] is None


@pytest.mark.parametrize("options", [{"average": 0.5}, {"on_nonfinite": "skip"}, {"accumulate": 2}], ids=str)
@pytest.mark.parametrize("rule", ["adam", "muon"])
def test_every_option_of_a_recipe_skips_none_leaves(rule: str, options: dict[str, Any]) -> None:
    tx = ours.from_recipe(optcore.Recipe(rule, lr=0.1, weight_decay=0.1, no_decay=["b"], **options))
    params, plain = {"a": jnp.ones((2, 2)), "n": None}, {"a": jnp.ones((2, 2))}
    state, other = tx.init(params), tx.init(plain)
    for _ in range(4):
        updates, state = jax.jit(tx.update)({"a": jnp.ones((2, 2)), "n": None}, state, params)
        steps, other = jax.jit(tx.update)({"a": jnp.ones((2, 2))}, other, plain)
        np.testing.assert_allclose(updates["a"], steps["a"], rtol=1e-12)
    assert updates["n"] is None


def test_a_leaf_without_elements_gets_an_update_without_elements() -> None:
    tx = ours.muon(0.1)
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((0, 2))}
    updates, _ = tx.update(params, tx.init(params), params)
    assert updates["b"].shape == (0, 2)


def test_a_mask_of_the_decay_fits_a_tree_with_none() -> None:
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones(2), "n": None}
    grads = jax.tree.map(jnp.zeros_like, params)
    tx = ours.adamw(1.0, weight_decay=0.5, mask=lambda tree: jax.tree.map(lambda p: p.ndim > 1, tree))
    updates, _ = tx.update(grads, tx.init(params), params)
    np.testing.assert_array_equal(updates["a"], -0.5 * np.ones((2, 2)))
    np.testing.assert_array_equal(updates["b"], np.zeros(2))
    assert updates["n"] is None
