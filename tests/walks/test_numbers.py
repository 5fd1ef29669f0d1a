"""Every number acts where the user put it: a leaf moves by the numbers of its recipe, group or configuration."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import optcore
from optcore import Recipe, registry, schedules
from optcore.adapters import optax as to_optax
from optcore.adapters import torch as to_torch
from optcore.backends import Optimizer
from optcore.compose import Chain, Combined
from optcore.rule import Primitive, Rule, rule
from optcore.typing import Positive

FALLING = schedules.linear(start=0.3, end=0.1, steps=4)
GIVEN: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a rate": {"lr": 0.02},
    "a decay": {"weight_decay": 0.4},
    "a place": {"decay": "after", "weight_decay": 0.4},
    "all": {"lr": 0.02, "weight_decay": 0.4, "decay": "coupled"},
    "schedules": {"lr": FALLING, "weight_decay": FALLING},
}
PARAMS = {"w": np.array([[1.0, -2.0], [0.5, 3.0]]), "b": np.array([1.0, -1.0])}
GRADS = {"w": np.array([[0.3, 0.1], [-0.2, 0.4]]), "b": np.array([0.5, 0.25])}


def by_tree(recipe: Recipe, steps: int = 3, **leaves: Any) -> dict[str, Any]:
    opt, params = Optimizer(recipe), leaves or PARAMS
    state = opt.init(params)
    for _ in range(steps):
        params, state = opt.update(params, {n: GRADS[n] for n in params}, state)
    return params


def by_torch(recipe: Recipe, steps: int = 3) -> dict[str, Any]:
    params = {n: torch.nn.Parameter(torch.from_numpy(x.copy())) for n, x in PARAMS.items()}
    optimizer = to_torch.from_recipe(recipe.replace(layout="in_out"), list(params.items()))
    for _ in range(steps):
        for n, p in params.items():
            p.grad = torch.from_numpy(GRADS[n].copy())
        optimizer.step()
    return {n: p.detach().numpy() for n, p in params.items()}


def by_optax(recipe: Recipe, steps: int = 3) -> dict[str, Any]:
    tx, params = to_optax.from_recipe(recipe), {n: jnp.asarray(x) for n, x in PARAMS.items()}
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update({n: jnp.asarray(GRADS[n]) for n in params}, state, params)
        params = optax.apply_updates(params, updates)
    return {n: np.asarray(x) for n, x in params.items()}


SPLIT = [each for each in registry.combinators().values() if len(each.takes) > 1 and each.steps]
JOINED = [each for each in registry.combinators().values() if len(each.takes) > 1 and not each.steps]
BY: dict[str, Callable[..., dict[str, Any]]] = {"tree": by_tree, "torch": by_torch, "optax": by_optax}


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("each", SPLIT, ids=lambda each: each.name)
def test_two_rules_that_make_whole_steps_move_their_leaves_as_each_does_alone(each: Any, by: str) -> None:
    """Matrices go to the first, vectors to the second, with rates, decays, their places and schedules for either."""
    for (first, one), (second, two) in itertools.product(GIVEN.items(), repeat=2):
        a, b = optcore.muon.bind(**one), optcore.adamw.bind(**two)
        got = BY[by](Recipe(each(a, b)))
        want = {"w": by_tree(Recipe(a), w=PARAMS["w"])["w"], "b": by_tree(Recipe(b), b=PARAMS["b"])["b"]}
        for name, x in want.items():
            np.testing.assert_allclose(got[name], x, rtol=1e-12, err_msg=f"{name}: {first} and {second}")


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("each", SPLIT, ids=lambda each: each.name)
def test_what_the_whole_was_given_is_for_the_rules_that_were_given_none(each: Any, by: str) -> None:
    whole = {"lr": 0.05, "weight_decay": 0.2, "decay": "after"}
    for name, own in GIVEN.items():
        recipe = Recipe(each(optcore.muon, optcore.adamw.bind(**own)), **whole)
        b = Recipe(optcore.adamw.bind(**{**whole, **own}))
        got = BY[by](recipe)
        np.testing.assert_allclose(got["b"], by_tree(b, b=PARAMS["b"])["b"], rtol=1e-12, err_msg=name)
        want = by_tree(Recipe(optcore.muon.bind(**whole)), w=PARAMS["w"])["w"]
        np.testing.assert_allclose(got["w"], want, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("each", JOINED, ids=lambda each: each.name)
@pytest.mark.parametrize("name", [n for n in GIVEN if n != "nothing"])
def test_what_a_second_rule_is_given_in_vain_is_refused_by_name(each: Any, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{each.name}: .* of adam has no effect"):
        each(optcore.adam, optcore.adam.bind(**GIVEN[name]))
    made = each(optcore.adam.bind(**{k: v for k, v in GIVEN[name].items() if k != "decay"}), optcore.adam)
    assert made.values()["lr"] == GIVEN[name].get("lr", made.values()["lr"])


@pytest.mark.parametrize(
    "each", [c for c in registry.combinators().values() if len(c.takes) == 1], ids=lambda c: c.name
)
def test_a_combinator_of_one_rule_takes_over_what_the_rule_was_given(each: Any) -> None:
    for own in GIVEN.values():
        if "decay" in own and "decay" in each.owns and not each.steps:
            with pytest.raises(ValueError, match=r"decay='.*' has no effect, since"):
                Recipe(each(optcore.sgd.bind(**own)))
            own = {k: v for k, v in own.items() if k != "decay"}
        inner, outer = Recipe(each(optcore.sgd.bind(**own))), Recipe(each(optcore.sgd), **own)
        assert {k: inner.values[k] for k in own} == {k: outer.values[k] for k in own} == own
        for name, x in by_tree(inner).items():
            np.testing.assert_array_equal(x, by_tree(outer)[name])


def test_a_chain_hears_the_link_that_was_given_a_number_and_refuses_a_second_one() -> None:
    assert optcore.chain(optcore.scale(lr=0.5), optcore.adam).values()["lr"] == 0.5
    with pytest.raises(ValueError, match=r"a chain has one lr, and adam lr=0.1 and scale lr=0.2 were given"):
        optcore.chain(optcore.adam(lr=0.1), optcore.scale(lr=0.2))
    with pytest.raises(ValueError, match=r"lr=0.1 of momentum has no effect, since amos owns the learning rate"):
        optcore.chain(optcore.amos, optcore.momentum(lr=0.1))


@pytest.mark.parametrize("owner", [n for n, r in registry.rules().items() if "decay" in r.owns])
def test_a_place_of_decay_that_does_nothing_is_refused_wherever_it_is_given(owner: str) -> None:
    law = registry.find(owner)
    for make in (
        lambda: Recipe(owner, decay="after"),
        lambda: Recipe(law(decay="after")),
        lambda: Recipe(optcore.lookahead(law(decay="after"))),
        lambda: Recipe(optcore.chain(optcore.zero_nans, law(decay="after"))),
        lambda: law(decay="after").complete(),
    ):
        if "p" in law.owns:
            continue
        with pytest.raises(ValueError, match=rf"decay='after' has no effect, since {owner} puts its decay"):
            make()


def labelled(law: Rule) -> Rule:
    """Return the rule with other labels: its title, its family and its docstring."""
    if isinstance(law, Primitive):
        return replace(law, family="other", title="Other", doc="Another text. Source: none.")
    if isinstance(law, Chain):
        return Chain([labelled(part) for part in law.parts], law.bound, law.led)
    assert isinstance(law, Combined)
    return Combined(law.combinator, [labelled(part) for part in law.parts], law.bound)


@pytest.mark.exhaustive(share=4)
@pytest.mark.parametrize("name", [*registry.rules(), *registry.clipping()])
def test_a_label_changes_no_number(name: str) -> None:
    """It is tried before a rule, after a rule, as the clipping law of a recipe and as a link of optax."""
    law = registry.find(name)
    needed = {n: 0.5 for n, v in law.values().items() if v is law.hypers[n].default is v and _missing(v)}
    law = law.bind(**needed)
    places: list[Callable[[Rule], Recipe]] = []
    if "lr" not in law.owns and law.ndim is None:
        places = [
            lambda r: Recipe(optcore.chain(r, optcore.sgd), weight_decay=0.1, decay="coupled", lr=0.1),
            lambda r: Recipe(optcore.chain(optcore.clip_by_value(limit=0.3), r, optcore.sgd), weight_decay=0.1, lr=0.1),
            lambda r: Recipe("sgd", clip=r, weight_decay=0.1, decay="coupled", lr=0.1),
        ]
    for place in places:
        if "decay" in law.owns:
            continue
        with np.errstate(all="ignore"):
            for x, y in zip(by_tree(place(law)).values(), by_tree(place(labelled(law))).values(), strict=True):
                np.testing.assert_array_equal(x, y)
    first, second = (str(to_optax.from_rule(each).__signature__) for each in (law, labelled(law)))
    assert first == second


def _missing(value: Any) -> bool:
    from optcore.hyper import REQUIRED

    return value is REQUIRED


def test_a_clipping_law_is_one_by_its_place_in_a_recipe() -> None:
    """A coupled decay is added after a law given as clip, whatever the law is declared to be: p - (0.5 + 0.1 p)."""
    for how in ({}, {"family": "clipping"}, {"clips": True}):

        @rule(**how)
        def half(xp: Any, p: Any, g: Any, s: Any, t: Any, *, limit: Positive = 0.5) -> Any:
            return xp.minimum(g, limit * xp.ones_like(g)), s

        recipe = Recipe("sgd", lr=1.0, weight_decay=0.1, decay="coupled", clip=half)
        opt, p = Optimizer(recipe), {"p": np.array([10.0])}
        np.testing.assert_allclose(opt.update(p, {"p": np.array([3.0])}, opt.init(p))[0]["p"], 8.5, rtol=1e-15)
        assert Recipe.from_json(recipe.to_json(), rules={"half": half}) == recipe
        assert recipe.replace(clip=None).rule.values()["weight_decay"] == 0.1


def test_a_leaf_has_a_share_of_the_rate_and_of_what_hangs_on_it() -> None:
    """A leaf with half the rate has 1 - 0.05 * 0.5 on every adapter, as a group of half the rate has."""
    recipe = Recipe("adamw", lr=0.1, weight_decay=0.5, leaves={"w": {"lr_factor": 0.5}})
    still = {n: np.zeros_like(x) for n, x in GRADS.items()}
    opt = Optimizer(recipe)
    moved = opt.update(PARAMS, still, opt.init(PARAMS))[0]
    np.testing.assert_allclose(moved["w"], 0.975 * PARAMS["w"], rtol=1e-15)
    np.testing.assert_allclose(moved["b"], 0.95 * PARAMS["b"], rtol=1e-15)
    half = Recipe("adamw", lr=schedules.product(parts=(FALLING, 0.5)), weight_decay=0.5)
    shared = Recipe("adamw", lr=FALLING, weight_decay=0.5, leaves={"w": {"lr_factor": 0.5}})
    for by in BY.values():
        np.testing.assert_allclose(by(shared)["w"], by_tree(half)["w"], rtol=1e-13)
        np.testing.assert_allclose(
            by(shared)["b"], by_tree(Recipe("adamw", lr=FALLING, weight_decay=0.5))["b"], rtol=1e-13
        )


@pytest.mark.parametrize("name", ["lr", "weight_decay", "beta1"])
def test_a_leafs_number_beside_a_schedule_says_what_it_means(name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"gives {name}=0.1, and {name} is a schedule elsewhere; give schedules.constant"
    ):
        Recipe("adamw", **{name: FALLING}, leaves={"w": {name: 0.1}})
    steady = Recipe("adamw", **{name: FALLING}, leaves={"w": {name: schedules.constant(value=0.1)}})
    assert Recipe.from_json(steady.to_json()) == steady
    plain = Recipe("adamw", **{name: 0.1})
    for by in BY.values():
        np.testing.assert_allclose(by(steady)["w"], by_tree(plain)["w"], rtol=1e-12)
    assert Recipe("adamw", weight_decay=FALLING, leaves={"w": {"weight_decay": 0.0}}).own("w") == {"weight_decay": 0.0}


def test_a_leaf_that_stays_counts_in_no_norm_and_is_named_so() -> None:
    """The norm is that of the other leaf alone: its gradient of norm 5 is clipped to 1."""
    recipe = Recipe("sgd", lr=0.1, clip=optcore.clip_by_global_norm(max_norm=1.0), freeze="^w$")
    alone = recipe.replace(freeze=())
    for by in BY.values():
        got = by(recipe)
        np.testing.assert_array_equal(got["w"], PARAMS["w"])
        np.testing.assert_allclose(got["b"], by_tree(alone, b=PARAMS["b"])["b"], rtol=1e-14)
    for name in ("lr", "lr_factor"):
        with pytest.raises(ValueError, match=rf"gives {name}=0.0, with which a gradient still counts in norms"):
            Recipe("sgd", leaves={"w": {name: 0.0}})
    with pytest.raises(ValueError, match=r"parameters by name; give model\.named_parameters"):
        to_torch.from_recipe(recipe, [torch.nn.Parameter(torch.ones(2))])


def test_a_group_of_its_own_rate_keeps_it_beside_a_schedule() -> None:
    a, b = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    recipe = Recipe("sgd", lr=schedules.constant(value=0.1), weight_decay=schedules.constant(value=0.5))
    optimizer = to_torch.from_recipe(recipe, [{"params": [a], "lr": 0.001, "weight_decay": 0.0}, {"params": [b]}])
    a.data.fill_(1.0)
    b.data.fill_(1.0)
    for p in (a, b):
        p.grad = torch.ones(1)
    optimizer.step()
    assert [round(p.item(), 7) for p in (a, b)] == [0.999, 0.85]
    assert [group["lr"] for group in optimizer.param_groups] == [0.001, 0.1]
    again = to_torch.from_recipe(recipe, [{"params": [a]}, {"params": [b]}])
    again.load_state_dict(optimizer.state_dict())
    again.step()
    assert [round(p.item(), 7) for p in (a, b)] == [0.998, 0.7075]


def test_a_torch_scheduler_beside_a_rate_that_it_does_not_reach_is_refused() -> None:
    rule_of_two = optcore.matrices(optcore.muon(lr=0.02), optcore.adamw(lr=0.001))
    params = [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))]
    optimizer = to_torch.from_recipe(Recipe(rule_of_two), params)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    for p in params:
        p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match=r"adamw.lr=0.001 is a rate of its own that it does not reach"):
        optimizer.step()
    assert all(bool((p == 1).all()) for p in params)
