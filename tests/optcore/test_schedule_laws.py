"""Laws of every schedule: it is the same for numbers, arrays and tracers, is plain data, and refuses bad arguments."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from conftest import Library, numpy_of

import optcore
from optcore import registry
from optcore import schedules as s
from optcore.adapters import torch as ours_torch
from optcore.plateau import reduce_on_plateau


def example(name: str) -> Any:
    """Return a schedule with numbers bound; a parameter without a default that is not listed here takes a number."""
    cosine = s.cosine(peak=0.3, steps=9)
    special = {
        "boundaries": (5,), "parts": (cosine, s.warmup(steps=3, then=cosine)), "points": ((3, 0.5), (11, 0.25)),
        "milestones": (4, 9), "of": cosine, "then": cosine, "decay": cosine, "start": 0.3, "rate": 0.9, "end": 0.1,
        "low": 0.01, "high": 0.4, "steps": 8, "first": 5, "limit": 16, "growth": 2.0, "warmup": 3, "stable": 4,
        "cycles": 3, "peak": 0.3, "power": 2.0, "floor": 0.02, "k": 1.5, "shrink": 0.5, "half_life": 6.0, "up": 3,
        "down": 5, "begin": 1, "every": 3,
    }  # fmt: skip
    own = {
        "wsd": {"decay": 6, "start": 0.01}, "ema_warmup": {"decay": 0.9}, "batch_growth": {"start": 2},
        "batch_residual": {"start": 2}, "clocked": {"start": 2, "sizes": ((0, 2), (4, 3), (9, 8), (12, 1))},
        "half_life_linear": {"start": 0.5, "end": 0.99},
        "warmup": {"start": 0.25, "ahead": True},
        "one_cycle_momentum": {"low": 0.85, "high": 0.95},
    }  # fmt: skip
    law = registry.schedules()[name]
    given = {k: v for k, v in special.items() if k in law.hypers} | own.get(name, {})
    given |= {k: 0.3 for k in ("value", "base") if k in law.hypers}
    given |= {k: 4 for k in ("d_model", "length") if k in law.hypers}
    return law(**given)


NAMES = sorted(registry.schedules())


def test_there_are_at_least_38() -> None:
    assert len(NAMES) >= 38


@pytest.mark.parametrize("name", NAMES)
def test_one_law_for_numbers_arrays_and_traces(name: str, library: Library) -> None:
    law, steps = example(name), np.arange(29)
    want = np.array([law(int(e)) for e in steps])
    assert all(type(law(int(e))) is float for e in steps)
    assert np.isfinite(want).all() and (want >= 0).all()
    got = numpy_of(law(library.array(steps, "int64")))
    tolerance = 1e-13 if got.dtype == np.float64 else 1e-6  # torch's default dtype is float32
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * want.max())
    one = numpy_of(law(library.array(7, "int64")))
    np.testing.assert_allclose(one, want[7], rtol=tolerance, atol=tolerance * want.max())
    if library is Library.JAX:
        traced = jax.jit(law)
        np.testing.assert_allclose([traced(e) for e in (0, 3, 8, 28)], want[[0, 3, 8, 28]], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_schedules_are_plain_data(name: str) -> None:
    law = example(name)
    text = optcore.Recipe("adam", lr=law).to_json()
    back = optcore.Recipe.from_json(json.dumps(json.loads(text))).values["lr"]
    assert back == law and hash(back) == hash(law)
    assert [back(e) for e in range(20)] == [law(e) for e in range(20)]


@pytest.mark.parametrize("name", NAMES)
def test_schedules_are_pickled_and_copied(name: str) -> None:
    law = example(name)
    assert pickle.loads(pickle.dumps(law)) == law == copy.deepcopy(law)


AWKWARD = (3, 7, 41, 47, 49, 55, 61, 82, 97, 1000, 55_555)
"""Lengths among which are those whose reciprocal times the length is below 1 in float32 or float64."""
CYCLES: dict[str, Callable[[int], Any]] = {
    "step": lambda n: s.step(start=1.0, every=n, rate=0.5),
    "sgdr": lambda n: s.sgdr(peak=1.0, first=n),
    "growing": lambda n: s.sgdr(peak=1.0, first=n, growth=2.0),
    "polynomial": lambda n: s.polynomial(peak=0.3, steps=n, cycle=True, floor=0.01),
    "snapshot": lambda n: s.snapshot(peak=1.0, steps=3 * n, cycles=3),
    "staircase": lambda n: s.exponential(start=1.0, rate=0.5, steps=float(n), staircase=True),
    "inverse": lambda n: s.inverse_time(start=1.0, rate=1.0, steps=float(n), staircase=True),
    "triangular": lambda n: s.triangular(base=0.1, peak=1.0, up=n),
    "swa": lambda n: s.swa_cycle(high=1.0, low=0.1, length=n),
    "hard": lambda n: s.hard_restarts(peak=1.0, steps=3 * n, cycles=3),
    "internal": lambda n: s.internal_restart(steps=n, periods=1),
}


@pytest.mark.parametrize("kind", CYCLES)
def test_a_compiled_boundary_is_where_it_is(kind: str) -> None:
    """A compiler makes e / n a product with 1 / n, below 1 at e = n for some n; a step off would be half the value."""
    for n in AWKWARD:
        law = CYCLES[kind](n)
        steps = np.array([k * n + off for k in (1, 2, 3, 7) for off in (-1, 0, 1)])
        want = [law(int(e)) for e in steps]
        for dtype in (jnp.float32, jnp.float64):
            got = jax.jit(lambda e, law=law: law.at(jnp, e))(jnp.asarray(steps, dtype))
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 if n < 1000 else 1e-3)


@pytest.mark.parametrize(("first", "growth"), [(10, 2.0), (2, 1.5), (7, 1.5), (1000, 1.01)])
def test_growing_cycles_begin_between_steps_too(first: int, growth: float) -> None:
    law, begin = s.sgdr(peak=1.0, first=first, growth=growth), 0.0
    for i in range(9):
        length = first * growth**i
        assert law(begin + 0.98 * length) == pytest.approx(0.5 + 0.5 * math.cos(math.pi * 0.98), rel=1e-6)
        begin += length
        assert law(begin + 1e-6 * length) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ends_are_met_exactly(dtype: str) -> None:
    ends = [
        (s.linear(start=0.3, end=1e-8, steps=10), 10, 1e-8),
        (s.one_cycle(peak=0.3, steps=100, shape="linear"), 99, 0.3 / 25.0 / 1e4),
        (s.cosine(peak=0.3, steps=9, floor=1e-8), 9, 1e-8),
        (s.interpolate(start=0.3, points=((7, 1e-8),)), 7, 1e-8),
        (s.wsd(peak=0.3, warmup=2, stable=2, decay=7, floor=1e-8), 11, 1e-8),
    ]
    for law, e, end in ends:
        got = law(np.asarray(e, dtype))
        assert got == np.asarray(end, dtype) and law(e) == end
        assert float(jax.jit(lambda e, law=law: law.at(jnp, e))(jnp.asarray(e, dtype))) == np.asarray(end, dtype)


def test_what_grows_is_infinite_and_no_error() -> None:
    assert s.exponential(start=1e-6, rate=1.1, end=1e-2)(8000) == 1e-2
    assert s.step(start=1.0, every=1, rate=1e5)(10**4) == math.inf


def test_a_recipe_tells_what_an_update_will_use() -> None:
    falling, growing = s.rex(peak=0.3, steps=9), s.piecewise(start=1.0, points=[(2, 4.0)])
    recipe = optcore.Recipe("adam", lr=falling, beta1=0.5, accumulate=growing, clip=["clip_by_block_rms"])
    assert [recipe.at(e)["lr"] for e in (0, 5)] == [falling(0), falling(5)]
    assert recipe.at(0)["beta1"] == 0.5 and recipe.at(2)["accumulate"] == 4.0


def test_a_warm_up_of_no_steps_is_none() -> None:
    cosine = s.cosine(peak=0.3, steps=9)
    assert [s.warmup(steps=0, then=cosine)(e) for e in range(12)] == [cosine(e) for e in range(12)]


def test_a_batch_never_falls_below_its_start() -> None:
    """While the decay is above its first value, the batch does not change, and the rate is the decay's own."""
    decay = s.warmup(steps=3, start=0.1, then=s.cosine(peak=0.1, steps=20))
    sizes, rates = (law(decay=decay, start=4, limit=32) for law in (s.batch_growth, s.batch_residual))
    assert all(sizes(e) == 4 and rates(e) == pytest.approx(decay(e)) for e in range(20))


@pytest.mark.parametrize("name", NAMES)
def test_schedules_say_where_they_come_from_and_end_finite(name: str) -> None:
    assert "Source:" in registry.schedules()[name].doc
    assert math.isfinite(example(name)(10**9))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: s.cosine(peak=1.0, steps=0), r"cosine: steps=0 is out of range; give a whole number in \[1"),
        (lambda: s.cosine(peak=math.nan, steps=3), "cosine: peak=nan is out of range"),
        (lambda: s.cosine(peak=-1.0, steps=3), "cosine: peak=-1.0 is out of range"),
        (lambda: s.cosine(peak=s.cosine(peak=1.0, steps=3), steps=3), "cosine: peak=.* is a schedule; .* and product"),
        (lambda: s.cosine(like="torhc"), r"cosine: no convention like= 'torhc'; did you mean torch\?"),
        (lambda: s.sgdr(peak=1.0, first=0), "sgdr: first=0 is out of range"),
        (lambda: s.sgdr(peak=1.0, first=3, growth=0.5), "sgdr: growth=0.5 is out of range"),
        (lambda: s.exponential(start=1.0, rate=0.0), "exponential: rate=0.0 is out of range"),
        (lambda: s.multistep(start=1.0, milestones=(5, 3)), "multistep: milestones=.* out of order"),
        (lambda: s.multistep(start=1.0, milestones=(-1, 3)), "negative"),
        (lambda: s.multistep(start=1.0, milestones=(1.5,)), "is no list of steps"),
        (lambda: s.multistep(start=1.0, milestones=7), "is no list of steps"),
        (lambda: s.piecewise(start=1.0, points=((3, -1.0),)), "piecewise: points=.* holds a negative value"),
        (lambda: s.from_points(points=((3, math.nan),)), "holds a NaN"),
        (lambda: s.multiplicative(start=1.0, points={3: 0.0}), "multiplicative: .* a factor that is not positive"),
        (lambda: s.join(parts=(1.0, 2.0), boundaries=(3, 5)), "join: 2 boundaries between 2 parts"),
        (lambda: s.join(parts=(), boundaries=()), "join: parts=.* is no list of schedules"),
        (lambda: s.product(parts=("adam",)), "product: parts='adam' is of type str"),
        (lambda: s.product(parts=(s.cosine(peak=1.0),)), "cosine: steps is not given"),
        (lambda: s.wsd(peak=1.0, warmup=-1, stable=1, decay=1), "wsd: warmup=-1 is out of range"),
        (lambda: s.one_cycle(peak=1.0, steps=9, rise=0.6, three_phase=True), "one_cycle: rise=0.6"),
        (lambda: s.one_cycle_linear(peak=1.0, steps=9, rise=0.9), "one_cycle_linear: rise=0.9 is after fall=0.85"),
        (lambda: s.chebyshev(steps=12), "chebyshev: steps=12 is no power of two"),
        (lambda: s.proportion(of=1.0, low=1.0, high=1.0), "proportion: low=1.0 is not below high=1.0"),
        (lambda: s.tanh(peak=1.0, steps=3, lower=3.0), "tanh: lower=3.0 is not below upper=3.0"),
        (lambda: s.warmup_restarts(peak=1.0, first=3, warmup=3, cycles=2), "warmup_restarts: warmup=3 leaves nothing"),
        (lambda: s.batch_growth(decay=s.warmup(steps=3, then=1.0), start=1, limit=9), "put a warm-up around"),
        (lambda: s.batch_growth(decay=1.0, start=10, limit=9), "start=10 is above limit=9"),
        (lambda: s.constant(value=np.array(-1.0)), "constant: value=-1.0 is out of range"),
        (lambda: s.constant(value=10**400), "constant: value=1000.* is out of range"),
        (lambda: s.constant(value=np.True_), "constant: value=True is of type bool"),
        (lambda: s.sgdr(peak=1.0, first=3, growth=math.inf), "sgdr: growth=inf is out of range"),
        (lambda: s.join(parts=(0.1, -1.0), boundaries=(3,)), "join: parts=-1.0 is out of range; give a schedule"),
        (lambda: s.join(parts=(0.1, 1.0), boundaries=(True,)), "is no list of steps"),
        (lambda: s.from_points(points=((3, math.inf),)), "holds a NaN or an infinity"),
        (lambda: s.from_points(points=((math.inf, 0.1),)), "is no table"),
        (lambda: s.from_points(points=((3, "0.1"),)), "is no table"),
        (lambda: s.constant(value=1.0)(1, 2), "constant: 2 steps were given"),
        (lambda: optcore.Recipe("adam", average=s.rex(peak=0.5, steps=3)), "average=rex.* is out of range"),
        (lambda: s.half_life_linear(start=1.0, end=0.9, steps=3), "half_life_linear: start=1.0 is out of range"),
        (lambda: s.warmup(steps=3, then="cosine"), "warmup: then='cosine' is of type str"),
        (lambda: ours_torch.OneCycleLR(torch.optim.SGD([torch.zeros(1)]), 0.1), "You must define either total_steps"),
        (lambda: ours_torch.SWALR(torch.optim.SGD([torch.zeros(1)]), 0.1, 3, "tanh"), "anneal_strategy must be one of"),
        (lambda: reduce_on_plateau(factor=1.0), r"reduce_on_plateau: factor=1.0 is out of range; give \[0, 1\)"),
        (lambda: reduce_on_plateau(patience=2.5), "patience=2.5 is no count"),
        (lambda: reduce_on_plateau(mode="least"), "mode='least' is no choice"),
        (lambda: reduce_on_plateau(atol=math.nan), "atol=nan is out of range"),
        (lambda: reduce_on_plateau(like="timm"), "no convention like= 'timm'"),
        (lambda: reduce_on_plateau(patienc=3), "did you mean patience"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        call()
