"""Rules, chains, combinators, recipes and schedules: composition, binding and errors."""

from __future__ import annotations

import copy
import math
import pickle
import re
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import pytest
from annotated_types import Ge
from conftest import Library, numpy_of

import optcore
from optcore import schedules
from optcore.rule import rule
from optcore.scalars import bias_correction
from optcore.typing import Count, Unit

P = np.linspace(-1.0, 2.0, 12).reshape(4, 3)
G = np.cos(np.arange(12.0)).reshape(4, 3)


def test_pure_use_on_any_array(library: Library) -> None:
    p, g = library.array(P), library.array(G)
    s = optcore.lion.init(p)
    q, s = optcore.lion(p, g, s, t=1, lr=1e-4, weight_decay=0.1)
    want = P - 1e-4 * (np.sign(0.1 * G) + 0.1 * P)
    np.testing.assert_allclose(numpy_of(q), want, rtol=1e-15)
    assert type(q) is type(p) and type(s).__name__ == "LionState"
    np.testing.assert_array_equal(numpy_of(p), P)


def test_every_rule_runs_on_every_library(library: Library) -> None:
    """Strict devices catch values made on the wrong device; read-only arrays catch hidden writes."""
    from optcore.testing import subjects
    from optcore.testing.laws import ready

    for each in subjects().values():
        p, g = library.array(P + 2.0), library.array(G)
        bound = ready(each)
        s = bound.init(p)
        for t in (1, 2, 3):
            p, s = bound(p, g, s, t=t, lr=1e-3, weight_decay=0.1)
        assert np.isfinite(numpy_of(p)).all()


def test_binding_returns_a_rule_and_validates() -> None:
    slow = optcore.adam(beta1=0.5)
    assert slow.values()["beta1"] == 0.5 and optcore.adam.values()["beta1"] == 0.9
    assert slow == optcore.adam(beta1=0.5) and hash(slow) == hash(optcore.adam(beta1=0.5)) and slow != optcore.adam


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: optcore.adam(beta1=1.5), ValueError, "adam: beta1=1.5 is out of range; give [0, 1)"),
        (lambda: optcore.adam(lr=-1), ValueError, "adam: lr=-1 is out of range; give [0, inf)"),
        (lambda: optcore.adam(lr=math.nan), ValueError, "adam: lr=nan is out of range"),
        (lambda: optcore.adam(lr="fast"), TypeError, "adam: lr='fast' is of type str; give [0, inf), a schedule"),
        (lambda: optcore.adam(beta_1=0.9), TypeError, "adam: no hyper-parameter 'beta_1'; did you mean beta1"),
        (lambda: optcore.adam(lr=True), TypeError, "adam: lr=True is of type bool"),
        (lambda: optcore.muon(scale="huge"), ValueError, "muon: scale='huge' is no choice"),
        (lambda: optcore.soap(interval=0), ValueError, "soap: interval=0 is out of range"),
        (lambda: optcore.adam(like="jax"), ValueError, "adam: no convention like= 'jax'; did you mean optax"),
        (lambda: optcore.Recipe("adma"), ValueError, "no rule 'adma'; did you mean adam"),
        (lambda: optcore.Recipe(3), TypeError, "Recipe: rule=3 is of type int"),
        (lambda: optcore.Recipe("lamb", decay="after"), ValueError, "decay='after' has no effect, since lamb puts its"),
        (lambda: optcore.Recipe("adam", accumulate=0), ValueError, "Recipe: accumulate=0 is no count"),
        (
            lambda: optcore.Recipe("adam", accumulate=schedules.rex(peak=0.5, steps=9)),
            ValueError,
            "accumulate=rex(peak=0.5, steps=9), 0.5 at step 0, is no count",
        ),
        (lambda: optcore.Recipe("adam", average=1.0), ValueError, "Recipe: average=1.0 is out of range"),
        (lambda: optcore.Recipe("adam", no_decay=["("]), ValueError, "no regular expression"),
        (lambda: optcore.Recipe("adam", on_nonfinite="panic"), ValueError, "on_nonfinite='panic' is no choice"),
        (lambda: optcore.Recipe("clip_by_value"), TypeError, "clip_by_value: limit has no default"),
        (lambda: optcore.chain(optcore.velocity, optcore.prodigy), ValueError, "velocity and prodigy both own"),
        (lambda: optcore.chain(optcore.exponentiated_gradient, optcore.scale), ValueError, "must be the last link"),
        (lambda: optcore.chain(optcore.adam, 3), TypeError, "chain: 3 is of type int"),
        (lambda: optcore.chain(), ValueError, "chain: no link was given"),
        (lambda: optcore.cautious(optcore.exponentiated_gradient), ValueError, "returns the new parameter"),
        (lambda: optcore.cautious(), TypeError, "cautious: 0 rules were given; it takes 1"),
        (lambda: optcore.adam(P, G, (), lr=1.0), TypeError, "adam: give p, g, s and t="),
        (lambda: schedules.cosine(peak=1.0, steps=0), ValueError, "cosine: steps=0 is out of range"),
        (lambda: schedules.cosine(peak=1.0)(3), TypeError, "cosine: steps is not given"),
        (lambda: schedules.piecewise(start=1, points=[(5, 1), (3, 2)]), ValueError, "out of order"),
        (lambda: schedules.piecewise(start=1, points=[(5, -1)]), ValueError, "negative value"),
        (lambda: schedules.cosin, AttributeError, "no schedule 'cosin'; did you mean cosine"),
        (lambda: optcore.adamm, AttributeError, "no rule 'adamm'; did you mean adam"),
        (lambda: Unit.parse("g^2 h"), ValueError, "'h' is no power of g, p or d"),
    ],
)
def test_bad_input_is_named_with_its_reason(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        call()


def test_arrays_that_do_not_fit_are_refused_by_the_pure_call() -> None:
    import torch

    s = optcore.adam.init(P)
    with pytest.raises(ValueError, match=r"gradient of 'adam' has shape \(3,\), the parameter \(4, 3\)"):
        optcore.adam(P, G[0], s, t=1)
    with pytest.raises(TypeError, match="dtype float32, the parameter of float64"):
        optcore.adam(P, G.astype(np.float32), s, t=1)
    with pytest.raises(TypeError, match="is an array of torch, others are of numpy"):
        optcore.adam(P, torch.tensor(G), s, t=1)
    with pytest.raises(TypeError, match="dtype int64; only floating-point arrays"):
        optcore.adam.init(np.arange(3))
    with pytest.raises(TypeError, match="list is no known array"):
        optcore.adam.init([1.0])
    with pytest.raises(ValueError, match=r"muon: the parameter '' has shape \(3,\); the rule takes arrays of 2 axes"):
        optcore.muon.init(P[0])


def test_a_rule_that_takes_what_it_does_not_own_is_refused() -> None:
    with pytest.raises(TypeError, match="owns=None but the law takes lr"):

        @rule()
        def greedy(xp: Any, p: Any, g: Any, s: Any, t: Any, *, lr: Annotated[float, Ge(0)] = 1.0) -> Any:
            return lr * g, s

    with pytest.raises(TypeError, match="takes neither lr nor weight_decay"):

        @rule(owns="lr")
        def modest(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
            return g, s


PLACES = {
    "coupled": lambda p, g, lr, wd: p - lr * (g + wd * p),
    "with": lambda p, g, lr, wd: p - lr * (g + wd * p),
    "before": lambda p, g, lr, wd: p * (1 - lr * wd) - lr * g,
    "after": lambda p, g, lr, wd: (p - lr * g) * (1 - lr * wd),
    "proximal": lambda p, g, lr, wd: (p - lr * g) / (1 + lr * wd),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_five_places_of_decay(place: str) -> None:
    new, _ = optcore.sgd(P, G, optcore.sgd.init(P), t=1, lr=0.1, weight_decay=0.3, decay=place)
    np.testing.assert_allclose(new, PLACES[place](P, G, 0.1, 0.3), rtol=1e-14)


def test_decay_places_differ_where_the_rule_reads_p() -> None:
    """trust_ratio reads p, with "before" the decayed p; since it is linear in p, "before" then equals "after"."""
    found = [
        optcore.trust_ratio(P, G, optcore.trust_ratio.init(P), t=1, lr=0.1, weight_decay=0.3, decay=place)[0]
        for place in ("coupled", "with", "before", "proximal")
    ]
    assert all(not np.allclose(a, b, rtol=1e-6) for i, a in enumerate(found) for b in found[:i])


def test_no_decay_means_no_term() -> None:
    """A term of 0 * inf would be NaN."""
    p = np.array([np.inf, 1.0])
    new, _ = optcore.sgd(p, np.ones(2), optcore.sgd.init(p), t=1, lr=0.1)
    np.testing.assert_array_equal(new, [np.inf, 0.9])


def test_chain_feeds_each_direction_to_the_next() -> None:
    both = optcore.chain(optcore.clip_by_value(limit=0.5), optcore.momentum(beta=0.5))
    s = both.init(P)
    p, s = both(P, G, s, t=1, lr=1.0)
    np.testing.assert_allclose(p, P - np.clip(G, -0.5, 0.5), rtol=1e-15)
    assert len(s) == 2 and optcore.chain(both, optcore.scale).parts[0] == both.parts[0]


def test_chain_exposes_hyper_parameters_by_name_or_by_link() -> None:
    both = optcore.chain(optcore.rmsprop, optcore.momentum)
    assert both(**{"rmsprop.beta": 0.5, "momentum.beta": 0.25}).parts[1].values()["beta"] == 0.25
    assert both.values()["lr"] == optcore.momentum.values()["lr"]
    assert optcore.matrices(optcore.muon, optcore.adam).values()["lr"] == optcore.muon.values()["lr"]


def test_totals_run_over_all_leaves() -> None:
    opt = optcore.backends.Optimizer(optcore.Recipe("sgd", lr=1.0, clip=optcore.clip_by_global_norm(max_norm=1.0)))
    params = {"a": np.zeros(1), "b": np.zeros((1, 1), np.float32), "c": np.zeros(2)}
    grads = {"a": np.array([3.0]), "b": np.array([[4.0]], np.float32), "c": None}
    new, _ = opt.update(params, grads, opt.init(params))
    np.testing.assert_allclose([new["a"][0], new["b"][0, 0]], [-0.6, -0.8], rtol=1e-7)
    assert new["b"].dtype == np.float32


@pytest.mark.parametrize("size", [1e30, 1e-30, 3.0, 0.0])
def test_norms_neither_overflow_nor_underflow(size: float) -> None:
    from optcore.backends.numpy import np as xp
    from optcore.norms import norm

    x = np.full(400, size, np.float32)
    np.testing.assert_allclose(float(norm(xp, x)), size * 20, rtol=3e-6)  # 400 squares summed pairwise, then a root
    assert np.isnan(norm(xp, np.array([np.nan, 1e30], np.float32)))
    assert np.isinf(norm(xp, np.array([np.inf, 1e30], np.float32)))


MIXED = [[0.0], [3.0], [1.1 * 2.0**50, 0.9 * 2.0**50], [1.1 * 2.0**-50, 0.9 * 2.0**-50], [1e30, 1e12], [1e-30, 1e-18]]


@pytest.mark.parametrize("x", MIXED, ids=str)
def test_a_compiled_norm_is_the_norm(x: list[float]) -> None:
    """XLA multiplies constants by each other; products of a norm's constants would leave the range of float32."""
    import jax.numpy as jnp

    from optcore.norms import norm

    got = jax.jit(lambda *parts: norm(jnp, jnp.stack(parts)))(*(jnp.float32(v) for v in x))
    np.testing.assert_allclose(float(got), np.linalg.norm(np.float32(x).astype(np.float64)), rtol=3e-7, atol=0)


def test_bias_correction_keeps_its_digits() -> None:
    """In float32 1 - beta^t loses four digits at t = 1; expm1 keeps them, for a traced t as well."""
    import jax.numpy as jnp

    exact = 1 - 0.9999**3
    assert abs(bias_correction(None, 0.9999, 3) - exact) < 1e-15  # type: ignore[arg-type]
    traced = bias_correction(jnp, 0.9999, jnp.asarray(3.0, jnp.float32))
    assert abs(float(traced) / exact - 1) < 4 * 2.0**-24
    assert float(bias_correction(jnp, jnp.asarray(0.0, jnp.float32), 2)) == 1.0


def test_refresh_runs_when_it_is_due() -> None:
    class State(NamedTuple):
        n: Any  #: refreshes so far; unit [1]

    def tick(xp: Any, p: Any, g: Any, s: State, t: Any) -> State:
        return State(s.n + 1.0)

    @rule(State, refresh=(tick, "interval"))
    def ticking(xp: Any, p: Any, g: Any, s: State, t: Any, *, interval: Count = 3) -> Any:
        return g, s

    s, seen = ticking.init(P), []
    for t in range(1, 8):
        _, s = ticking(P, G, s, t=t)
        seen.append(float(s.n[0, 0]))
    assert seen == [1, 1, 1, 2, 2, 2, 3]


def test_a_start_value_that_is_the_parameter_is_copied() -> None:
    p = P.copy()
    s = optcore.prodigy.init(p)
    assert s.start is not p and not np.shares_memory(s.start, p)


def test_exponentiated_gradient_keeps_signs_and_zeros() -> None:
    p = np.array([1e-30, -2.0, 0.0, 3.0])
    new, _ = optcore.exponentiated_gradient(p, np.array([50.0, -1.0, 9.0, 1.0]), (), t=1, lr=1.0)
    np.testing.assert_allclose(new, p * np.exp([-50.0, 1.0, -9.0, -1.0]), rtol=1e-14)
    assert (np.sign(new) == np.sign(p)).all()


RECIPES = [
    optcore.Recipe("adamw", lr=1e-3),
    optcore.Recipe(
        optcore.chain(optcore.rmsprop(beta=0.8), optcore.momentum),
        lr=schedules.warmup(steps=5, then=schedules.cosine(peak=0.1, steps=20, floor=0.01)),
        clip=[optcore.clip_by_value(limit=3.0), optcore.clip_by_global_norm(max_norm=1.0, like="torch")],
        no_decay=("bias$", "norm"),
        weight_decay=schedules.piecewise(start=0.1, points=[(5, 0.2)]),
        decay="after",
        accumulate=4,
        average=0.99,
        on_nonfinite="skip",
        layout={"embed": "in_out"},
    ),
    optcore.Recipe(optcore.cautious(optcore.matrices(optcore.muon, optcore.adam(beta1=0.8)), scaling="mean")),
    optcore.Recipe("prodigy", growth=1.5, beta3=0.9),
    optcore.Recipe("adam", accumulate=schedules.batch_growth(decay=schedules.rex(peak=1.0, steps=9), start=2, limit=8)),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.rule.name)
def test_recipes_go_to_json_and_back(recipe: optcore.Recipe) -> None:
    assert pickle.loads(pickle.dumps(recipe)) == recipe == copy.deepcopy(recipe)
    again = optcore.Recipe.from_json(recipe.to_json())
    assert again == recipe and hash(again) == hash(recipe) and again.values == recipe.values
    assert again.to_json() == recipe.to_json()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the text is no JSON"),
        ("{}", 'must hold "optcore": 1'),
        ('{"optcore": 2, "rule": "adam"}', "no recipe of format 1"),
        ('{"optcore": 1, "rule": "adam", "speed": 3}', "no entry 'speed'"),
        ('{"optcore": 1, "rule": {"name": "adam", "lr": {"schedule": "cosin"}}}', "no schedule 'cosin'"),
        ('{"optcore": 1, "rule": {"name": "cautious"}}', 'cautious takes rules; give them as "of"'),
        ('{"optcore": 1, "rule": 3}', "3 is no rule"),
    ],
)
def test_a_broken_recipe_file_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        optcore.Recipe.from_json(text)


def test_a_recipe_names_rules_of_ones_own() -> None:
    @rule(lr=0.1)
    def mine(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return g, s

    text = optcore.Recipe(mine, lr=0.5).to_json()
    assert optcore.Recipe.from_json(text, rules={"mine": mine}).rule == mine(lr=0.5)


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.constant(value=0.3),
        schedules.cosine(peak=1.0, steps=10, floor=0.1),
        schedules.polynomial(peak=1.0, steps=10, power=2.0),
        schedules.piecewise(start=1.0, points=[(3, 0.5), (7, 0.25)]),
        schedules.noam(d_model=64, warmup=5),
        schedules.warmup(steps=4, then=schedules.cosine(peak=1.0, steps=8), start=0.25),
    ],
    ids=lambda s: s.name,
)
def test_schedules_are_the_same_for_numbers_arrays_and_traces(schedule: Any, library: Library) -> None:
    import jax

    steps = np.arange(25)
    want = np.array([schedule(int(e)) for e in steps])
    assert all(type(schedule(int(e))) is float for e in steps)
    got = numpy_of(schedule(library.array(steps, "int64")))
    tolerance = 1e-14 if got.dtype == np.float64 else 3e-7  # torch's default dtype is float32
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * want.max())
    np.testing.assert_allclose(jax.jit(schedule)(7), want[7], rtol=1e-14)


def test_schedules_at_their_boundaries() -> None:
    cosine = schedules.cosine(peak=2.0, steps=10, floor=0.5)
    assert [cosine(0), cosine(5), cosine(10), cosine(99)] == pytest.approx([2.0, 1.25, 0.5, 0.5], rel=1e-15)
    steps = schedules.piecewise(start=1.0, points=[(3, 0.5)])
    assert [steps(2), steps(3)] == [1.0, 0.5]
    rise = schedules.warmup(steps=4, then=schedules.cosine(peak=1.0, steps=8))
    assert [rise(0), rise(2), rise(4), rise(8)] == pytest.approx([0.0, 0.5, 1.0, 0.5])
    noam = schedules.noam(d_model=512, warmup=4000)
    assert noam(3999) == pytest.approx((512 * 4000) ** -0.5) and noam(3999) > max(noam(3998), noam(4000))
    assert schedules.polynomial(peak=1.0, steps=4)(1) == 0.75


def test_any_number_may_be_a_schedule() -> None:
    beta = schedules.polynomial(peak=0.9, steps=2, floor=0.5)
    opt = optcore.backends.Optimizer(optcore.Recipe("signum", beta=beta, lr=0.1))
    p, state = {"w": P}, None
    state = opt.init(p)
    m = np.zeros_like(P)
    for e in range(3):
        p, state = opt.update(p, {"w": G}, state)
        m = beta(e) * m + (1 - beta(e)) * G
    np.testing.assert_allclose(state.leaves[0].m, m, rtol=1e-15)


def test_a_state_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"adam: .*give the state that init made for this parameter"):
        optcore.adam(np.ones(3), np.ones(3), optcore.adam.init(np.ones((2, 1))), t=1)
    with pytest.raises(
        TypeError, match=r"adam: a state of type LionState .* was made by another rule; .* give the whole state"
    ):
        optcore.adam(np.ones(3), np.ones(3), optcore.lion.init(np.ones(3)), t=1)
    with pytest.raises(ValueError, match="adam: t=0 is no count of updates"):
        optcore.adam(np.ones(3), np.ones(3), optcore.adam.init(np.ones(3)), t=0)
    opt = optcore.backends.Optimizer(optcore.Recipe("adam"))
    with pytest.raises(ValueError, match="the state's m has shape"):
        opt.update({"w": np.ones(3)}, {"w": np.ones(3)}, opt.init({"w": np.ones(1)}))


def test_numpy_scalars_are_numbers_and_a_lone_pattern_is_one() -> None:
    assert type(optcore.adam(lr=np.float32(0.5)).values()["lr"]) is float
    with pytest.raises(ValueError, match=r"beta1=1.5 is out of range"):
        optcore.adam(beta1=np.float32(1.5))
    assert optcore.Recipe("adam", no_decay="bias").no_decay == ("bias",)


def test_values_that_only_look_right_are_refused() -> None:
    for call, words in [
        (lambda: optcore.sgd(maximize=2), "maximize=2 is of type int"),
        (lambda: optcore.sgd(lr=math.inf), r"lr=inf is out of range; give \[0, inf\)"),
        (lambda: schedules.piecewise(start=1.0, points=((9, 0.1), (9, 0.2))), "out of order"),
        (lambda: schedules.piecewise(start=1.0, points=((10.7, 0.1),)), "is no table"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            call()
    assert optcore.sgd(maximize=np.True_).values()["maximize"] is True
    late = optcore.adam(beta1=schedules.piecewise(start=0.9, points=[(5, 1.5)]))
    with pytest.raises(ValueError, match=r"piecewise at step 8: beta1=1.5 is out of range"):
        late(P, G, late.init(P), t=9)


def test_a_nan_survives_every_norm() -> None:
    from optcore.backends.numpy import np as xp
    from optcore.norms import norm

    for other in (0.0, 1e-30, 1.0, 1e30):
        assert np.isnan(norm(xp, np.array([np.nan, other], np.float32)))
