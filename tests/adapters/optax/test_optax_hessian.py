"""Sophia in the optax adapter: its estimates are optax' own, and a missing argument is refused by name."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import optcore
from optcore.adapters import optax as ours

CURVES = jnp.asarray([0.5, 2.0, 8.0])


def loss(params: Any) -> Any:
    return jnp.sum(CURVES * params["a"] ** 4) + jnp.sum(jnp.sin(params["b"])) * params["a"][0]


def run(tx: Any, steps: int = 5, jit: bool = True, **extra: Any) -> tuple[Any, Any]:
    params = {"a": jnp.asarray([0.7, -0.3, 0.2]), "b": jnp.full((2, 2), 0.4), "none": None}
    state = tx.init(params)

    def step(params: Any, state: Any) -> Any:
        updates, state = tx.update(jax.grad(loss)(params), state, params, **extra)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step) if jit else step
    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def squared() -> Any:
    return optax.GradientTransformation(
        lambda params: optax.EmptyState(), lambda g, state, params=None: (jax.tree.map(jnp.square, g), state)
    )


CHOSEN = [
    {},
    {"update_interval": 3},
    {"update_interval": 2, "b1": 0.8, "b2": 0.5, "eps": 1e-3, "gamma": 0.1, "clip_threshold": 0.5},
    {"update_interval": 2, "clip_threshold": None, "gamma": 1.0, "eps": 0.1, "weight_decay": 0.1},
    {"weight_decay": 0.1, "weight_decay_mask": {"a": True, "b": False, "none": None}},
    {"hessian_diagonal_fn": optax.contrib.hutchinson_estimator_diag_hessian(jax.random.key(7)), "update_interval": 1},
    {"hessian_diagonal_fn": squared(), "update_interval": 2},
    {"learning_rate": optax.linear_schedule(0.1, 0.0, 9), "mu_dtype": jnp.float64},
]


@pytest.mark.parametrize("options", CHOSEN, ids=lambda options: "-".join(options) or "defaults")
def test_sophia_takes_optax_arguments_and_gives_its_numbers(options: dict[str, Any]) -> None:
    options = {"learning_rate": 0.01, **options}
    want, theirs = run(optax.contrib.sophia(**options), obj_fn=loss)
    got, mine = run(ours.sophia(**options), obj_fn=loss)
    for key in ("a", "b"):
        np.testing.assert_allclose(got[key], want[key], rtol=1e-12)
        np.testing.assert_allclose(mine.leaves["nu"][key], theirs[0].nu[key], rtol=1e-12)
    kept = theirs[0].hessian_fn_state
    assert jax.tree.structure(mine.shared["hessian_fn_state"]) == jax.tree.structure(kept)
    assert all(jax.tree.map(lambda a, b: bool((a == b).all()), mine.shared["hessian_fn_state"], kept))


def test_the_objective_changes_the_step() -> None:
    tx = ours.sophia(0.1, b2=0.1, update_interval=1, gamma=1.0, weight_decay=0.0)
    signs, _ = run(ours.from_recipe(optcore.Recipe("sign_sgd", lr=0.1)), 2)
    got, _ = run(tx, 2, obj_fn=loss)
    assert not np.allclose(signs["a"], got["a"])


@pytest.mark.parametrize(
    "tx",
    [
        ours.sophia(0.1),
        ours.sophia(0.1, like="paper"),
        ours.from_recipe(optcore.Recipe("sophia", lr=0.1)),
        ours.from_recipe(optcore.Recipe(optcore.chain(optcore.clip_by_value(limit=1.0), optcore.sophia), lr=0.1)),
        ours.from_recipe(optcore.Recipe(optcore.cautious(optcore.sophia), lr=0.1)),
    ],
    ids=["optax", "paper", "recipe", "chain", "combinator"],
)
def test_sophia_without_an_estimate_is_refused_and_takes_one_in_every_form(tx: Any) -> None:
    with pytest.raises(ValueError, match="obj_fn must be provided to hutchinson update function"):
        run(tx, 1)
    with pytest.raises(ValueError, match="requires the current value of parameters"):
        tx.update({"a": jnp.ones(2)}, tx.init({"a": jnp.ones(2)}), obj_fn=loss)
    high = {"a": jnp.full(3, 1e9), "b": jnp.full((2, 2), 1e9), "none": None}  # steps far below those of signs
    given, _ = run(tx, 3, estimate=high)
    asked, _ = run(tx, 3, obj_fn=loss)
    assert not np.allclose(given["a"], asked["a"])
    with pytest.raises(ValueError, match=r"'a' has shape \(2,\) in the tree, and \(3,\) in the state"):
        run(tx, 1, estimate=high | {"a": jnp.ones(2)})
    with pytest.raises(ValueError, match="'b' is missing"):
        run(tx, 1, estimate={"a": high["a"]})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"verbose": True}, NotImplementedError, "leave out verbose"),
        ({"print_win_rate_every_n_steps": 5}, NotImplementedError, "leave out print_win_rate_every_n_steps"),
        ({"hessian_diagonal_fn": loss}, TypeError, "is no optax.GradientTransformation"),
    ],
)
def test_what_sophia_does_not_do_is_refused_by_name(options: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        ours.sophia(0.1, **options)


def test_one_interval_is_for_the_whole_tree() -> None:
    with pytest.raises(NotImplementedError, match="the interval of estimates is the whole tree's"):
        ours.from_recipe(optcore.Recipe("sophia", lr=0.1, leaves={"b": {"interval": 3}}))
    two = optcore.chain(optcore.sophia, optcore.sophia)
    with pytest.raises(NotImplementedError, match="has 2 rules that take estimates"):
        ours.from_recipe(optcore.Recipe(two, lr=0.1))


def test_extra_arguments_of_other_links_are_ignored() -> None:
    """optax gives every extra argument of a chain to every link, so a link must ignore those of others."""
    tx = optax.chain(ours.adam(0.1), optax.contrib.reduce_on_plateau(), ours.sophia(0.1))
    params, _ = run(tx, 2, value=1.0, grad=None, value_fn=loss, obj_fn=loss)
    assert np.isfinite(params["a"]).all()
