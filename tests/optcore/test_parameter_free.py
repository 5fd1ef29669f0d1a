"""Properties of rules that estimate their own step size, beyond the comparison of their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import optcore
from optcore.backends.numpy import np as xp
from optcore.moments import cube_root
from optcore.rules.schedule_free import evaluation

_draw = np.random.default_rng(0).standard_normal
TREE = {"a": _draw(7), "b": _draw((4, 3)), "c": _draw((2, 3, 2, 2))}
r = optcore
RULES = [
    r.dog, r.dowg, r.dadapt_adam, r.dadapt_sgd, r.dadapt_adagrad, r.dadapt_lion, r.mechanize(r.adam),
    r.schedule_free(r.adam), r.schedule_free_radam, r.madgrad, r.cocob, r.lars, r.fromage, r.sm3, r.novograd,
]  # fmt: skip


def walk(rule: Any, tree: Any, grads: list[Any]) -> tuple[Any, Any]:
    optimizer = optcore.backends.Optimizer(optcore.Recipe(rule))
    state = optimizer.init(tree)
    for g in grads:
        tree, state = optimizer.update(tree, g, state)
    return tree, state


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_zero_and_missing_gradients_leave_everything_defined(rule: Any) -> None:
    """The first gradients may all be zero, and a leaf may miss a gradient."""
    nothing = {k: np.zeros_like(v) for k, v in TREE.items()}
    some = {k: np.cos(v) for k, v in TREE.items()}
    tree, state = walk(rule, TREE, [nothing, nothing, some, {**some, "b": None}, nothing, some])
    assert all(np.isfinite(v).all() for v in tree.values()) and np.isfinite(state.shared).all()
    assert any((v != TREE[k]).any() for k, v in tree.items())


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.kind == "elementwise"], ids=lambda rule: rule.name)
def test_a_tree_walks_as_one_long_leaf(rule: Any, rng: Any) -> None:
    """Totals are over all leaves, so the division of the numbers into leaves matters only for the order of sums."""
    grads = [{k: rng.standard_normal(v.shape) + 2.0 * v for k, v in TREE.items()} for _ in range(8)]
    whole = lambda tree: {"all": np.concatenate([np.ravel(v) for v in tree.values()])}  # noqa: E731
    cut, long = walk(rule, TREE, grads), walk(rule, whole(TREE), [whole(g) for g in grads])
    np.testing.assert_allclose(whole(cut[0])["all"], long[0]["all"], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(cut[1].shared, long[1].shared, rtol=1e-11)


@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw", "schedule_free_adamw_mean"])
def test_a_constant_rate_evaluates_the_plain_mean(name: str, rng: Any) -> None:
    rule = getattr(optcore, name)(lr=0.1)
    p, seen = TREE["b"], []
    s = rule.init(p)
    for t in range(1, 9):
        p, s = rule(p, rng.standard_normal(p.shape), s, t=t)
        seen.append(s.z)
    np.testing.assert_allclose(evaluation(p, s), np.mean(seen, axis=0), rtol=1e-12)


def test_schedule_free_around_a_rule_is_the_rule_of_that_name(rng: Any) -> None:
    grads = [{k: rng.standard_normal(v.shape) for k, v in TREE.items()} for _ in range(6)]
    numbers = {"lr": 0.1, "beta": 0.8, "warmup": 3, "weight_decay": 0.1}
    one, _ = walk(optcore.schedule_free(optcore.sgd, **numbers), TREE, grads)
    other, _ = walk(optcore.schedule_free_sgd(**numbers), TREE, grads)
    for k, v in one.items():
        np.testing.assert_array_equal(v, other[k])


def test_what_a_combinator_applies_itself_is_refused_of_its_rule() -> None:
    for combinator in (optcore.schedule_free, optcore.mechanize):
        with pytest.raises(ValueError, match="prodigy owns decay and lr"):
            combinator(optcore.prodigy)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cube_roots_are_exact_to_two_units_and_scale_exactly(dtype: Any, rng: Any) -> None:
    x = (10.0 ** rng.uniform(-20, 20, 4000)).astype(dtype)
    got, want = cube_root(xp, x), np.cbrt(x.astype(np.longdouble))
    room = 2 * np.finfo(dtype).eps + np.finfo(np.longdouble).eps  # the reference's own unit, which may be a double's
    assert (np.abs(got - want) <= room * want).all()
    for k in (-9, -1, 1, 10):
        np.testing.assert_array_equal(cube_root(xp, x * dtype(8.0**k)), got * dtype(2.0**k))
    edges = np.array([0.0, 1.0, 8.0, 27.0, np.inf, np.finfo(dtype).max], dtype)
    with np.errstate(all="ignore"):
        found = cube_root(xp, edges)
    beyond = 99 * np.finfo(dtype).eps  # the power's third is rounded, and multiplied by a logarithm of up to 710
    np.testing.assert_allclose(found, np.cbrt(edges), rtol=beyond)
    assert np.isnan(cube_root(xp, np.array([np.nan], dtype))).all()


def test_sm3_takes_further_axes_together(rng: Any) -> None:
    p = rng.standard_normal((2, 3, 2, 2, 2, 2))
    s = optcore.sm3.init(p)
    assert [x.shape for x in s[1:4]] == [(2, 1, 1, 1, 1), (1, 3, 1, 1, 1), (1, 1, 2, 1, 1)]
    assert s.axis4.shape == (1, 1, 1, 1, 4)
    new, _ = optcore.sm3(p, p, s, t=1, lr=0.1)
    np.testing.assert_allclose(new, p - 0.1 * 0.1 * np.sign(p), rtol=1e-12, atol=1e-15)
    scalar = optcore.sm3(np.array(2.0), np.array(-4.0), optcore.sm3.init(np.array(2.0)), t=1, lr=0.1)[0]
    np.testing.assert_allclose(scalar, 2.01, rtol=1e-12)
