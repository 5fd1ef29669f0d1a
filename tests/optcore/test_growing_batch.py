"""A batch that grows where the rate would fall: at the same micro-batch the gradient noise is the same."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optcore
from optcore import schedules as s
from optcore.backends import Optimizer
from optcore.recipes import growing_batch

FALLING = optcore.Recipe("sgd", lr=s.step(start=0.1, every=300))


def updates(recipe: optcore.Recipe, micro: float) -> list[tuple[int, int, dict[str, Any]]]:
    """Return, for each update within so many micro-batches, the micro-batches before it, its size and its numbers."""
    found, before = [], 0
    while before < micro:
        at = recipe.at(len(found))
        size = round(at["accumulate"])
        found.append((before, size, at))
        before += size
    return found


def square(steps: list[tuple[int, float]]) -> float:
    """Return E x^2 after steps (batch, rate) on x^2 / 2 from x = 1, with gradient noise of variance 1 / batch."""
    x2 = 1.0
    for size, lr in steps:
        x2 = (1 - lr) ** 2 * x2 + lr * lr / size
    return x2


def test_the_clock_is_that_of_the_micro_batches() -> None:
    """300 updates of 1, 30 of 10, and from micro-batch 600 on 5 of 60 at .06 make 335 updates for the decay's 900."""
    run = updates(growing_batch(FALLING, limit=60), 900)
    assert [size for _, size, _ in run] == [1] * 300 + [10] * 30 + [60] * 5
    assert [at["lr"] for *_, at in run] == pytest.approx([0.1] * 330 + [0.06] * 5, rel=1e-14)
    assert sum(size for _, size, _ in run) == 900


def test_the_noise_is_that_of_the_decay() -> None:
    """Both follow one stochastic differential equation; with steps lr <= .1 they differ by lr / (2 - lr) of it."""
    want = square([(1, FALLING.at(e)["lr"]) for e in range(900)])
    got = square([(size, at["lr"]) for _, size, at in updates(growing_batch(FALLING, limit=60), 900)])
    assert want == pytest.approx(0.00305, abs=5e-6)
    assert got == pytest.approx(want, rel=0.1 / 1.9)


def test_an_optimizer_spends_the_same_micro_batches_for_the_same_noise() -> None:
    rng = np.random.default_rng(5)
    opt = Optimizer(growing_batch(FALLING, limit=60))
    x = np.ones(4096)
    state = opt.init(x)
    for _ in range(900):
        x, state = opt.update(x, x + rng.standard_normal(x.shape), state)
    assert (state.step, state.micro) == (335, 0)
    want = square([(size, at["lr"]) for _, size, at in updates(opt.recipe, 900)])
    assert np.mean(x * x) == pytest.approx(want, rel=5 * np.sqrt(2 / x.size))  # five standard errors


DECAYS = [
    s.step(start=0.3, every=7, rate=2 / 3),  # the batch lies in the middle between two whole numbers
    s.cosine(peak=0.3, steps=50),
    s.sgdr(peak=0.3, first=16),
    s.warmup(steps=8, start=0.1, ahead=True, then=s.cosine(peak=0.3, steps=40)),
    s.exponential(start=0.3, rate=0.93),
    s.constant(value=0.3),
]


@settings(max_examples=30)
@given(st.sampled_from(DECAYS), st.integers(1, 6), st.integers(6, 40), st.integers(1, 60))
def test_every_number_of_an_update_is_that_of_its_micro_batch(decay: Any, start: int, limit: int, steps: int) -> None:
    recipe = optcore.Recipe(
        "adamw",
        lr=decay,
        weight_decay=s.linear(start=0.1, end=0.3, steps=50),
        beta2=s.half_life_linear(start=0.9, end=0.99, steps=30),
        beta1=0.8,
    )
    growing = growing_batch(recipe, start=start, limit=limit, steps=steps)
    assert optcore.Recipe.from_json(growing.to_json()) == growing
    run = updates(growing, steps * start)
    for before, size, at in run:
        want = recipe.at(before / start)
        share = max(want["lr"] / decay(0), 1e-30)
        assert start <= size <= limit and size == min(max(np.floor(start / share + 0.5), start), limit)
        assert at["lr"] / size == pytest.approx(want["lr"] / start, rel=1e-12)
        assert [at[k] for k in ("weight_decay", "beta2", "beta1")] == [
            want[k] for k in ("weight_decay", "beta2", "beta1")
        ]
    assert growing.at(10**6)["accumulate"] == run[-1][1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_sizes_are_the_table_of_the_clock(dtype: str) -> None:
    growing = growing_batch(optcore.Recipe("sgd", lr=DECAYS[0]), start=1, limit=40)
    law, e = growing.accumulate, np.arange(40, dtype=dtype)
    assert isinstance(law, optcore.schedule.Schedule)
    got = jax.jit(lambda e: law.at(jax.numpy, e))(e)
    np.testing.assert_array_equal(got, [law(int(u)) for u in e])
    got = jax.jit(lambda e: growing.values["lr"].at(jax.numpy, e))(e)
    np.testing.assert_allclose(got, [growing.at(int(u))["lr"] for u in e], rtol=1e-5 if dtype == "float32" else 1e-13)


def test_a_warm_up_stays_at_the_first_batch_and_restarts_are_followed() -> None:
    rising = growing_batch(optcore.Recipe("sgd", lr=DECAYS[3]), start=2, limit=8, steps=48)
    assert all(size == 2 for before, size, at in updates(rising, 96) if before <= 16)
    cycles = growing_batch(optcore.Recipe("sgd", lr=s.sgdr(peak=0.3, first=160)), limit=8, steps=480)
    sizes = {before: size for before, size, _ in updates(cycles, 480)}
    assert max(sizes.values()) == 8 and min(size for before, size in sizes.items() if before > 160) == 1


def test_a_batch_that_does_not_grow_leaves_the_schedules_as_they_are() -> None:
    assert growing_batch(FALLING, start=4, limit=4, steps=900) == FALLING.replace(accumulate=4)


@pytest.mark.parametrize(
    ("lr", "options", "words"),
    [
        (0.1, {}, r"growing_batch: lr=0.1 is no schedule; give one that falls"),
        (s.warmup(steps=3, then=0.1), {}, r"starts at 0.0, .* put a warm-up around the rate that comes back"),
        (s.sgdr(peak=0.3, first=90), {}, r"lr rises again, at step 90 .* limit=8 at step 7\d; give steps="),
        (s.constant(value=0.1), {}, r"does not bring the batch to limit=8 within 100 updates; give steps="),
        (s.constant(value=0.1), {"steps": 101}, r"steps=101 are more than 100 updates"),
        (s.constant(value=0.1), {"steps": 2.5}, r"steps=2.5 is no length of a run"),
        (s.constant(value=0.1), {"start": 9}, r"start=9 is above limit=8"),
        (s.constant(value=0.1), {"accumulate": 2}, r"has accumulate=2 already; give it as start"),
    ],
)
def test_what_has_no_growing_batch_is_refused(
    lr: Any, options: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optcore.recipes.MOST", 100)
    recipe = optcore.Recipe("sgd", lr=lr, accumulate=options.pop("accumulate", 1))
    with pytest.raises((TypeError, ValueError), match=words):
        growing_batch(recipe, limit=8, **options)


@pytest.mark.parametrize("sizes", [((1, 2.0),), ((0, 1.5),), ((0, 0.0),)])
def test_a_table_of_batches_starts_at_the_start(sizes: Any) -> None:
    with pytest.raises(ValueError, match=r"clocked: sizes=.* is no table of batches"):
        s.clocked(of=0.1, sizes=sizes, start=1)
