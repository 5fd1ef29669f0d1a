"""Clipping of very large and small numbers, its derivatives, trees of several precisions, and clipping with a decay."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from clips import LAWS, draw, given_params, same

import optcore
from optcore import clipping
from optcore.adapters import torch as in_torch


@pytest.mark.parametrize("name", [n for n in LAWS if not any(f.noise for f in LAWS[n].fields)])
def test_every_law_can_be_differentiated(name: str) -> None:
    """A branch of ``where`` that is not selected must not bring infinity times zero into a derivative."""
    need = {n: 0.5 for n, h in LAWS[name].hypers.items() if h.default is optcore.hyper.REQUIRED}
    opt = optcore.backends.Optimizer(optcore.Recipe(LAWS[name], lr=1.0, **need))
    p = {"a": jnp.asarray([[1.0, 2.0], [3.0, -1.0]]), "b": jnp.asarray([0.5, 0.25])}
    g = {"a": jnp.asarray([[0.3, 0.4], [-0.5, 0.1]]), "b": jnp.asarray([0.2, 0.7])}
    state = opt.init(p)
    slope = jax.grad(lambda g: sum(jnp.sum(x**2) for x in opt.update(p, g, state)[0].values()))(g)
    assert all(np.isfinite(x).all() for x in slope.values())


def test_the_slope_of_clipping_is_optax_own() -> None:
    g = [jnp.asarray(x) for x in draw(3)]
    want = jax.grad(lambda g: sum(jnp.sum(x**3) for x in optax.clip_by_global_norm(1.0).update(g, ())[0]))(g)
    law = clipping.clip_by_global_norm(max_norm=1.0)
    same(jax.grad(lambda g: sum(jnp.sum(x**3) for x in clipping.clipped(law, g)))(g), want, 1e-12)


@pytest.mark.parametrize("xp", [np.asarray, jnp.asarray, torch.tensor], ids=["numpy", "jax", "torch"])
def test_nothing_overflows_where_its_result_does_not(xp: Any) -> None:
    """It is tried on float32 numbers near the largest one, eagerly in each library."""
    pair, many = (xp(np.full(n, x, np.float32)) for n, x in ((2, 1e38), (90, 3e37)))
    assert float(clipping.total_norm(pair, 3.0)) == pytest.approx(2 ** (1 / 3) * 1e38, rel=1e-6)
    for law in (clipping.normalize_by_norm, clipping.normalize_by_global_norm):
        same([clipping.clipped(law, pair)], [[0.5**0.5] * 2], 1e-6)
    for law in (clipping.clip_by_block_rms, clipping.clip_by_global_rms, clipping.normalize_by_global_rms):
        same([clipping.clipped(law, many)], [[1.0] * 90], 1e-6)
    soft = clipping.clipped(clipping.clip_by_norm_soft(max_norm=2e38), xp(np.array([2e38, 0.0], np.float32)))
    same([np.asarray(soft) / 1e38], [[1.0, 0.0]], 1e-6)
    assert not np.asarray(clipping.clipped(clipping.clip_by_norm(max_norm=0.0), xp(np.float32([1e-40, 0.0])))).any()


def test_an_infinite_element_takes_nothing_from_finite_ones_but_their_size() -> None:
    """With an infinite norm finite elements become 0; a norm given by the caller does not depend on the elements."""
    g = np.array([np.inf, 1.0])
    with np.errstate(invalid="ignore"):
        for law in (clipping.normalize_by_norm, clipping.normalize_by_global_norm):
            assert clipping.clipped(law, g)[1] == 0.0
        assert clipping.clipped(clipping.clip_by_norm_soft(max_norm=0.0), g)[1] == 0.0
    np.testing.assert_array_equal(clipping.held(g, 4.0, 1.0), [np.inf, 0.25])


@pytest.mark.parametrize("library", ["torch", "recipe"])
def test_a_decay_that_joins_the_gradient_is_not_clipped(library: str) -> None:
    """A recipe, and two calls of ours, equal clip_grad_norm_ followed by torch's SGD with weight_decay."""
    params, grads = [np.array([30.0, 40.0])], [np.array([3.0, 4.0])]
    theirs = [torch.nn.Parameter(torch.tensor(p)) for p in params]
    optimizer = torch.optim.SGD(theirs, lr=1.0, weight_decay=0.5, momentum=0.9)
    clip = clipping.clip_by_global_norm(max_norm=1.0, like="torch")
    recipe = optcore.Recipe("momentum", lr=1.0, weight_decay=0.5, clip=clip)
    opt = optcore.backends.Optimizer(recipe)
    mine, state = params, opt.init(params)
    native = [torch.nn.Parameter(torch.tensor(p)) for p in params]
    ours = in_torch.from_recipe(recipe, native)
    for _ in range(3):
        for group in (theirs, native):
            for p, g in zip(group, grads, strict=True):
                p.grad = torch.tensor(g)
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        optimizer.step()
        ours.step()
        mine, state = opt.update(mine, grads, state)
    same(mine if library == "recipe" else [p.detach() for p in native], [p.detach() for p in theirs])


def test_a_new_clipping_takes_the_place_of_the_old_one() -> None:
    recipe = optcore.Recipe("sgd", lr=0.5, clip=["clip_by_block_rms", clipping.clip_by_norm(max_norm=1.0)])
    other = recipe.replace(clip=clipping.clip_by_value(limit=2.0))
    assert other == optcore.Recipe("sgd", lr=0.5, clip=clipping.clip_by_value(limit=2.0))
    assert recipe.replace(clip=None) == optcore.Recipe("sgd", lr=0.5)
    with pytest.raises(TypeError, match=r"Recipe: clip holds 3 of type int"):
        optcore.Recipe("sgd", clip=3)
    with pytest.raises(ValueError, match="did you mean clip_by_block_rms"):
        optcore.Recipe("sgd", clip="clip_by_block_rm")


def test_a_missing_threshold_is_its_laws() -> None:
    with pytest.raises(TypeError, match="clip_by_norm: max_norm has no default"):
        optcore.Recipe("sgd", clip="clip_by_norm")


@pytest.mark.parametrize("order", [1, -1])
def test_what_a_tree_shares_is_of_its_widest_leaf(order: int) -> None:
    """A norm of 1e100 is remembered without overflow, whichever leaf comes first."""
    params = [np.ones(2, np.float32), np.ones(2)][::order]
    grads = [np.ones(2, np.float32), np.full(2, 1e100)][::order]
    opt = optcore.backends.Optimizer(optcore.Recipe("sgd", lr=1.0, clip=clipping.clip_by_percentile(window=2)))
    with np.errstate(over="ignore", invalid="ignore"):  # in the narrow leaf
        _, state = opt.update(params, grads, opt.init(params))
    assert state.shared[0].dtype == np.float64 and np.isclose(state.shared[0][0], 2**0.5 * 1e100)


def test_a_clipping_law_leaves_the_place_of_decay_to_the_rule_behind() -> None:
    for name in ("exponentiated_gradient", "ftrl", "adafactor", "adam", "sgd"):
        rule = getattr(optcore, name)
        assert optcore.chain(clipping.clip_by_norm(max_norm=1.0), rule).values()["decay"] == rule.values()["decay"]


def test_trees_are_checked_before_anything_is_clipped() -> None:
    ones, law = np.ones(2), clipping.clip_by_norm(max_norm=1.0)
    for call, words in [
        (lambda: clipping.clipped(clipping.adaptive_gradient_clip, [ones]), "compares the gradients with their param"),
        (lambda: clipping.clipped(clipping.adaptive_gradient_clip, [ones], [np.ones(3)]), "has shape"),
        (lambda: clipping.clipped(law, [ones, torch.ones(2)]), "an array of torch, others are of numpy"),
        (lambda: clipping.clipped(law, [np.arange(3)]), "only floating-point arrays"),
        (lambda: clipping.total_norm([np.arange(3)]), "only floating-point arrays"),
        (lambda: clipping.clipped(clipping.clip_by_unit_norm(max_norm=0.5), np.array([3 + 4j])), "is complex"),
        (lambda: clipping.per_example_mean([ones, None], 1.0), "is None"),
        (lambda: clipping.per_example_mean([np.ones((2, 2))], "1"), "per_example_global_norm_clip: max_norm='1'"),
        (lambda: clipping.per_example_mean([np.ones((2, 2))], np.array(-1.0)), "max_norm=-1.0 is out of range"),
        (lambda: in_torch.clip_grad_norm_(given_params([ones]), -1.0), "clip_grad_norm_: max_norm=-1.0"),
        (lambda: in_torch.clip_grads_with_norm_(given_params([ones]), math.nan, torch.ones(())), "max_norm=nan"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            call()  # type: ignore[no-untyped-call]


def test_examples_are_clipped_in_the_precision_that_is_computed_in() -> None:
    for array in (np.asarray, torch.tensor):
        big = array(np.full((2, 3), 300, np.float16))
        got, count = clipping.per_example_global_norm_clip([big], 1.0)
        np.testing.assert_allclose(np.asarray(got[0], np.float64), 2 / 3**0.5, rtol=2**-11)
        assert float(count) == 2 and str(got[0].dtype).endswith("float16")
    mixed = [np.ones((2, 1), np.float32), np.full((2, 1), 1e100)]
    for leaves in (mixed, mixed[::-1]):
        sums, _ = clipping.per_example_global_norm_clip(leaves, 1.0)
        np.testing.assert_allclose(sorted(float(x[0]) for x in sums), [0.0, 2.0], atol=1e-12)


def test_norms_of_two_precisions_and_of_complex_numbers_are_torchs() -> None:
    def leaves() -> list[Any]:
        found = [torch.nn.Parameter(torch.zeros(1, dtype=d)) for d in (torch.float32, torch.float64)]
        found[0].grad, found[1].grad = torch.tensor([3.0]), torch.tensor([4e100], dtype=torch.float64)
        return found

    mine, theirs = leaves(), leaves()
    norm = in_torch.clip_grad_norm_(mine, 1.0)
    want = torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    assert norm.dtype == torch.float64 and float(norm) == pytest.approx(float(want))
    same([p.grad for p in mine], [p.grad for p in theirs])
    for order in (1.0, 2.0, math.inf):
        z = torch.tensor([3 + 4j, 1.0])
        assert float(clipping.total_norm(z, order)) == pytest.approx(float(torch.nn.utils.get_total_norm([z], order)))
