"""Statements of the literature about its laws beyond their equations: identities, limits and equivalences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optax
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import betas, decays, problem, rates, seeds
from oracles import ours as run

import optcore
from optcore import recipes
from optcore.adapters.torch import from_recipe
from optcore.testing import check_rule


@settings(max_examples=2)
@given(seeds, rates, st.floats(0.5, 0.99), st.integers(1, 5))
def test_momentum_that_gathers_is_multisteps_of_optax(seed: int, lr: float, beta: float, every: int) -> None:
    """At the end of each group theta equals that of momentum on the group's mean gradient (exact up to rounding)."""
    params, grads = problem(seed, ((5,),))
    inner = optax.chain(optax.ema(beta, debias=False), optax.scale(-lr))
    theirs = optax.MultiSteps(inner, every, accumulator_dtype="float64")
    state, want = theirs.init(params), params
    for g in grads:
        updates, state = theirs.update(g, state, want)
        want = [p + np.asarray(u) for p, u in zip(want, updates, strict=True)]
    rule = optcore.accumulated_momentum(beta=beta, every=every, lr=lr)
    np.testing.assert_allclose(run(rule, params, grads)[0], want[0], rtol=1e-12, atol=1e-12)
    recipe = {"accumulate": every, "lr": lr}
    explicit = run(optcore.averaged_momentum(beta=beta), params, grads, **recipe)
    np.testing.assert_allclose(explicit[0], want[0], rtol=1e-12, atol=1e-12)


@settings(max_examples=10)
@given(seeds, st.integers(2, 5))
def test_adam_that_gathers_is_adam_where_micro_gradients_agree(seed: int, every: int) -> None:
    params, grads = problem(seed, ((5,),), 4)
    repeated = [g for g in grads for _ in range(every)]
    want = run(optcore.adam, params, grads, lr=0.1)
    got = run(optcore.accumulated_adam(every=every), params, repeated, lr=0.1)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-12, atol=1e-12)


@settings(max_examples=10)
@given(seeds, st.integers(2, 5))
def test_adam_that_gathers_makes_no_longer_steps_where_they_disagree(seed: int, every: int) -> None:
    """The mean of squares is at least the square of the mean, so the first step is no longer in any coordinate."""
    params, grads = problem(seed, ((5,),), every)
    mean = [np.mean([g[0] for g in grads], axis=0)]
    true = np.abs(run(optcore.adam(epsilon=0.0), params, [mean], lr=0.1)[0] - params[0])
    gathered = np.abs(run(optcore.accumulated_adam(epsilon=0.0, every=every), params, grads, lr=0.1)[0] - params[0])
    assert np.all(gathered <= true * (1 + 1e-12))


@settings(max_examples=10)
@given(seeds, st.integers(2, 5), st.sampled_from(["weight", "offset"]))
def test_a_group_of_tigers_gradients_is_their_mean(seed: int, every: int, use: str) -> None:
    params, grads = problem(seed, ((5,),), 3 * every)
    means = [[np.mean([g[0] for g in grads[i : i + every]], axis=0)] for i in range(0, len(grads), every)]
    got = run(optcore.tiger(every=every, use=use, lr=0.01), params, grads)
    np.testing.assert_allclose(got[0], run(optcore.tiger(use=use, lr=0.01), params, means)[0], rtol=1e-12)


@pytest.mark.parametrize(("use", "centre"), [("weight", 0.0), ("offset", 0.0), ("factor", 1.0)])
def test_tiger_shrinks_a_parameter_whose_gradient_holds_a_nan(use: str, centre: float) -> None:
    p, g = np.array([0.5, 2.0, -1.0]), np.array([1.0, np.nan, 1.0])
    s = optcore.tiger.init(p)._replace(m=np.array([0.1, -0.2, 0.3]))
    new, after = optcore.tiger(p, g, s, t=1, use=use, shrink=0.9)
    np.testing.assert_allclose(new, (p - centre) * 0.9 + centre, rtol=1e-15)
    np.testing.assert_array_equal(after.m, s.m)


def test_tigers_classes_of_leaves_may_be_a_recipes_own() -> None:
    """The recipe's patterns replace the rule's own names in every adapter."""
    leaves = {"bias|beta": {"use": "offset"}, "gamma": {"use": "factor"}, "embedding": {"use": "embedding"}}
    recipe = optcore.Recipe(optcore.tiger, lr=0.01, leaves=leaves)
    assert optcore.Recipe.from_json(recipe.to_json()) == recipe
    params = {"embedding": np.ones((3, 2)), "gamma": np.ones((2, 2)), "w": 2.0 * np.ones((2, 2))}
    grads = {k: np.ones_like(p) for k, p in params.items()}
    new, _ = (opt := optcore.backends.Optimizer(recipe)).update(params, grads, opt.init(params))
    np.testing.assert_allclose(new["gamma"], 1.0 - 0.01 * 0.5, rtol=1e-15)
    np.testing.assert_allclose(new["w"], 2.0 - 0.01 * 2.0 * (1.0 + 0.01 * 2.0), rtol=1e-15)
    named = [(k, torch.nn.Parameter(torch.tensor(p))) for k, p in params.items()]
    for _, p in named:
        p.grad = torch.ones_like(p)
    from_recipe(recipe, named).step()
    for name, p in named:
        np.testing.assert_allclose(p.detach().numpy(), new[name], rtol=1e-15)


@settings(max_examples=10)
@given(seeds, st.floats(1e-3, 0.1))
def test_a_constant_gradient_gives_the_closed_form_of_the_exponentiated_gradient(seed: int, lr: float) -> None:
    params, grads = problem(seed, ((5,),), 1)
    params = [np.abs(params[0]) + 0.1]
    got = run(optcore.exponentiated_gradient, params, grads * 15, lr=lr)
    np.testing.assert_allclose(got[0], params[0] * np.exp(-15 * lr * grads[0][0]), rtol=1e-12)


@settings(max_examples=10)
@given(seeds, st.floats(-5, 5))
def test_on_the_simplex_weights_sum_to_one_and_a_constant_changes_nothing(seed: int, constant: float) -> None:
    params, grads = problem(seed, ((5,),))
    p = np.abs(params[0])
    p[2] = 0.0
    p = p / p.sum()
    got = run(optcore.exponentiated_simplex, [p], grads, lr=0.1)[0]
    shifted = run(optcore.exponentiated_simplex, [p], [[g[0] + constant] for g in grads], lr=0.1)[0]
    assert got.sum() == pytest.approx(1.0, rel=1e-13) and got[2] == 0.0 and (got >= 0).all()
    np.testing.assert_allclose(shifted, got, rtol=1e-11)


def test_the_pair_keeps_its_budget_and_survives_gradients_that_kill_all_but_one_weight() -> None:
    p = np.array([0.01, -0.02, 0.0], np.float32)
    s = optcore.exponentiated_pair.init(p)
    for t, g in enumerate(([200.0, -200.0, 0.0], [-200.0, 200.0, 300.0], [200.0, 1.0, 0.0]), 1):
        p, s = optcore.exponentiated_pair(p, np.array(g, np.float32), s, t=t, lr=1.0)
        assert np.isfinite(p).all() and float((s.positive + s.negative).sum()) == pytest.approx(1.0, rel=1e-5)


@settings(max_examples=10)
@given(seeds, st.floats(0.1, 10.0), rates)
def test_a_layers_own_rate_is_a_reparametrisation_of_gradient_descent(seed: int, lam: float, lr: float) -> None:
    """theta = lam phi moves by lam^2 times the SGD step, so a rate s needs lam = sqrt(s): exact up to rounding."""
    params, grads = problem(seed, ((5,),))
    phi = run(optcore.sgd, [params[0] / lam], [[lam * g[0]] for g in grads], lr=lr)
    scaled = run(optcore.sgd, params, grads, lr=lam * lam * lr)
    np.testing.assert_allclose(lam * phi[0], scaled[0], rtol=1e-11, atol=1e-11)


@settings(max_examples=10)
@given(seeds, st.floats(0.1, 10.0), rates, betas)
def test_a_layers_own_rate_is_a_reparametrisation_of_rules_without_scale(
    seed: int, lam: float, lr: float, pair: tuple[float, float]
) -> None:
    """theta = lam phi moves by lam times the step of a rule without a gradient scale, such as Adam without epsilon."""
    params, grads = problem(seed, ((5,),))
    adam = optcore.adam(epsilon=0.0, beta1=pair[0], beta2=pair[1])
    for rule in (adam, optcore.lion, optcore.rmsprop(epsilon=0.0), optcore.signum):
        phi = run(rule, [params[0] / lam], [[lam * g[0]] for g in grads], lr=lr)
        scaled = run(rule, params, grads, lr=lam * lr)
        np.testing.assert_allclose(lam * phi[0], scaled[0], rtol=1e-10, atol=1e-10)
    epsilon = optcore.adam(epsilon=0.5)
    phi = run(epsilon, [params[0] / 8.0], [[8.0 * g[0]] for g in grads], lr=lr)
    assert np.abs(8.0 * phi[0] - run(epsilon, params, grads, lr=8.0 * lr)[0]).max() > 1e-9


@settings(max_examples=10)
@given(seeds, rates, st.integers(1, 3), st.floats(0.1, 2.0))
def test_loras_first_step_of_descent_is_its_closed_form(seed: int, lr: float, rank: int, scale: float) -> None:
    """It is dW = -lr s^2 (G B'B + A A'G) + lr^2 s^3 G B'A'G, exactly."""
    (p, g), _ = problem(seed, ((5, 4), (5, 4)), 0)
    rule = optcore.lora(optcore.sgd, optcore.sgd, rank=rank, scale=scale)
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((5, rank)), rng.standard_normal((rank, 4))
    new, _ = rule(p, g, rule.init(p)._replace(a=a, b=b), t=1, lr=lr)
    want = -lr * scale**2 * (g @ b.T @ b + a @ a.T @ g) + lr**2 * scale**3 * g @ b.T @ a.T @ g
    np.testing.assert_allclose(new - p, want, rtol=1e-11, atol=1e-11)


def test_lora_starts_where_it_stands_and_moves_one_factor_first() -> None:
    (p, g), _ = problem(3, ((5, 4), (5, 4)), 0)
    rule = optcore.lora(optcore.sgd, optcore.sgd, rank=2)
    s = rule.init(p)
    new, after = rule(p, g, s, t=1, lr=0.1)
    assert not s.a.any() and s.b.all()
    np.testing.assert_array_equal(after.b, s.b)
    np.testing.assert_allclose(new, p - 0.1 * g @ s.b.T @ s.b, rtol=1e-12)
    assert np.linalg.matrix_rank(new - p) == 2


@settings(max_examples=10)
@given(seeds, rates, st.integers(1, 4))
def test_a_random_right_factor_gives_back_the_gradient_on_average(seed: int, lr: float, rank: int) -> None:
    """E[G B'B] = G for entries of variance 1/rank; the mean of 4000 draws is within five standard errors."""
    del lr
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((2, 3))
    b = rng.standard_normal((4000, rank, 3)) / math.sqrt(rank)
    found = np.einsum("ij,nkj,nkl->nil", g, b, b)
    assert np.all(np.abs(found.mean(0) - g) < 5 * found.std(0) / math.sqrt(4000) + 1e-12)


def test_combinators_state_their_units_in_terms_of_the_inner_rules_direction() -> None:
    for rule in (
        optcore.hypergradient(optcore.sgd),
        optcore.lora(optcore.sgd, optcore.sgd),
        optcore.lora(optcore.adam, optcore.adam),
    ):
        (report,) = check_rule(rule, examples=10)
        assert report.failures == {}


def _adamwr(p: Any, grads: Any, lr: float, decay: float, first: int, growth: int, floor: float) -> Any:
    """Loshchilov & Hutter 2019, alg. 2, epoch by epoch of one batch: eta multiplies, lambda follows the cycle."""
    m = v = np.zeros_like(p)
    current, length = 0, first
    for t, g in enumerate(grads, 1):
        eta = floor + 0.5 * (1 - floor) * (1 + math.cos(math.pi * current / length))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        step = lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        p = p - eta * (step + decay / math.sqrt(length) * p)
        current += 1
        if current == length:
            current, length = 0, growth * length
    return p


@settings(max_examples=10)
@given(seeds, rates, decays, st.integers(1, 4), st.integers(1, 3), st.floats(0, 0.5))
def test_adamwr_is_its_paper(seed: int, lr: float, decay: float, first: int, growth: int, floor: float) -> None:
    params, grads = problem(seed, ((5,),))
    recipe = recipes.adamwr(lr=lr, decay=decay, first=first, growth=growth, floor=floor)
    optimizer = optcore.backends.Optimizer(recipe)
    tree, state = params, optimizer.init(params)
    for g in grads:
        tree, state = optimizer.update(tree, g, state)
    want = _adamwr(params[0], [g[0] for g in grads], lr, decay, first, growth, floor)
    np.testing.assert_allclose(tree[0], want, rtol=1e-11, atol=1e-12)
    assert optcore.Recipe.from_json(recipe.to_json()) == recipe


@settings(max_examples=10)
@given(seeds, rates, decays, st.integers(1, 4))
def test_sgdwr_is_its_paper(seed: int, lr: float, decay: float, first: int) -> None:
    """Alg. 1: the rate is inside the buffer, the decay is multiplied by the schedule alone."""
    params, grads = problem(seed, ((5,),))
    optimizer = optcore.backends.Optimizer(recipes.sgdwr(lr=lr, decay=decay, first=first, growth=1.0))
    tree, state = params, optimizer.init(params)
    p, m = params[0], np.zeros(5)
    for e, g in enumerate(grads):
        tree, state = optimizer.update(tree, g, state)
        eta = 0.5 * (1 + math.cos(math.pi * (e % first) / first))
        m = 0.9 * m + eta * lr * g[0]
        p = p - m - eta * decay / math.sqrt(first) * p
    np.testing.assert_allclose(tree[0], p, rtol=1e-11, atol=1e-12)


def test_a_recipe_of_cycles_refuses_a_rate_of_zero() -> None:
    with pytest.raises(ValueError, match="no rate for a cycle"):
        recipes.adamwr(lr=0.0, first=5)
    with pytest.raises(ValueError, match="growth"):
        recipes.adamwr(first=5, growth=0.5)


def test_a_chain_keeps_the_decay_of_a_rule_that_owns_its_own() -> None:
    clipped = optcore.chain(optcore.clip_by_value(limit=1.0), optcore.tiger)
    assert clipped.values()["weight_decay"] == optcore.tiger.values()["weight_decay"] == 0.01
