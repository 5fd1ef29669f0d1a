"""Schedules compared with torch, optax, pytorch_optimizer and transcriptions; torch's schedulers made from them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import pytorch_optimizer
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optcore import schedules as s
from optcore.adapters import optax as ours_optax
from optcore.adapters import torch as ours_torch

HORIZONS = [5, 20, 60]
LR = 0.3


def values(schedule: Any, steps: int) -> np.ndarray:
    return np.array([schedule(e) for e in range(steps)])


def near(got: Any, want: Any, rtol: float = 1e-12) -> None:
    """Assert equality to rtol of each value, and to rtol of the largest for values that are differences of others."""
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * float(np.max(np.abs(want))))


def followed(make: Callable[[Any], Any], steps: int, key: str = "lr", **options: Any) -> np.ndarray:
    """Return the rate (or momentum) that a torch scheduler gives an SGD optimizer for each update."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: multiplying by 1/factor and the like
        scheduler = make(optimizer)
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0][key])
            optimizer.step()
            scheduler.step()
    return np.array(found, dtype=float)


# torch


def torch_options(n: int) -> list[tuple[str, dict[str, Any], int]]:
    """Return names of torch's schedulers with options, and the number of steps that torch allows."""
    return [
        ("ConstantLR", {"total_iters": n}, 2 * n),
        ("ConstantLR", {"factor": 0.5, "total_iters": n}, 2 * n),
        ("LinearLR", {"start_factor": 0.25, "end_factor": 0.75, "total_iters": n}, 2 * n),
        ("ExponentialLR", {"gamma": 0.93}, 2 * n),
        ("StepLR", {"step_size": 3, "gamma": 0.5}, 2 * n),
        ("MultiStepLR", {"milestones": [2, n], "gamma": 0.2}, 2 * n),
        ("PolynomialLR", {"total_iters": n, "power": 2.0}, 2 * n),
        ("CosineAnnealingLR", {"T_max": n, "eta_min": 0.02}, 2 * n),
        ("CosineAnnealingLR", {"T_max": n}, n),
        ("CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 1, "eta_min": 0.02}, 2 * n),
        ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2}, 2 * n),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.7, "step_size_up": 3}, 2 * n),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.7, "step_size_up": 3, "step_size_down": 4, "mode": "triangular2"}, n),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.7, "step_size_up": 4, "mode": "exp_range", "gamma": 0.9}, 2 * n),
        ("OneCycleLR", {"max_lr": 0.8, "total_steps": n, "pct_start": 0.4}, n),
        ("OneCycleLR", {"max_lr": 0.8, "total_steps": n, "pct_start": 0.4, "anneal_strategy": "linear"}, n),
        ("OneCycleLR", {"max_lr": 0.8, "epochs": 1, "steps_per_epoch": n, "pct_start": 0.4, "three_phase": True}, n),
        ("SWALR", {"swa_lr": 0.05, "anneal_epochs": n}, 2 * n),
        ("SWALR", {"swa_lr": 0.05, "anneal_epochs": n, "anneal_strategy": "linear"}, 2 * n),
        ("SWALR", {"swa_lr": 0.05, "anneal_epochs": 0}, n),
    ]


def torch_class(name: str) -> Any:
    return getattr(torch.optim.swa_utils if name == "SWALR" else torch.optim.lr_scheduler, name)


@pytest.mark.parametrize("n", HORIZONS)
def test_torch(n: int) -> None:
    """Values agree to 1e-12: torch multiplies the rate of the previous step, ours is the closed form."""
    seen = set()
    for name, options, steps in torch_options(n):
        seen.add(name)
        for key in ("lr", "momentum"):
            want = followed(lambda o, n=name, k=options: torch_class(n)(o, **k), steps, key)  # type: ignore[misc]
            got = followed(lambda o, n=name, k=options: getattr(ours_torch, n)(o, **k), steps, key)  # type: ignore[misc]
            near(got, want)
    from optcore.adapters.native import schedules

    assert seen == set(schedules.table("torch"))


@pytest.mark.parametrize("n", HORIZONS)
def test_torch_products_tables_and_sequences(n: int) -> None:
    L = torch.optim.lr_scheduler
    table = {1: 0.9, 4: 0.5, 7: 1.1}

    def factor(e: int) -> float:
        return next((f for at, f in sorted(table.items(), reverse=True) if e >= at), 1.0)

    want = followed(lambda o: L.MultiplicativeLR(o, factor), 2 * n)
    near(values(s.multiplicative(start=LR, points=table), 2 * n), want)
    want = followed(lambda o: L.ChainedScheduler([L.ConstantLR(o, 0.1, 2), L.ExponentialLR(o, 0.9)]), 2 * n)
    parts = [s.hold(value=1.0, factor=0.1, steps=2), s.exponential(start=1.0, rate=0.9), LR]
    near(values(s.product(parts=parts), 2 * n), want)
    want = followed(
        lambda o: L.SequentialLR(o, [L.LinearLR(o, 0.25, 1.0, n), L.PolynomialLR(o, n, 2.0)], milestones=[n]), 2 * n
    )
    rise, fall = s.linear(start=LR / 4, end=LR, steps=n), s.polynomial(peak=LR, steps=n, power=2.0)
    near(values(s.join(parts=[rise, fall], boundaries=[n]), 2 * n), want)
    near(values(s.warmup(steps=n, then=fall, start=0.25), 2 * n), want)


def test_torchs_asgd_rate() -> None:
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.ASGD([p], lr=LR, lambd=0.1, alpha=0.75)
    got = []
    for _ in range(20):
        p.grad = torch.ones_like(p)
        optimizer.step()
        got.append(float(optimizer.state[p]["eta"]))
    # float32: the state eta is a tensor of torch's default dtype
    near(values(s.inverse_power(start=LR, rate=0.1 * LR), 21)[1:], got, 1e-6)


# optax


def optax_options(n: int) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    yield "constant_schedule", (0.3,), {}
    yield "linear_schedule", (0.1, 0.3, n, 2), {}
    yield "linear_schedule", (0.1, 0.3, 0), {}
    yield "polynomial_schedule", (0.3, 0.1, 2.5, n, 3), {}
    yield "piecewise_constant_schedule", (1.0, {3: 0.5, 9: 0.1}), {}
    yield "piecewise_constant_schedule", (1.0,), {}
    yield "piecewise_interpolate_schedule", ("linear", 0.4, {3: 0.5, n: 0.1}), {}
    yield "piecewise_interpolate_schedule", ("cosine", 0.4, {0: 0.5, 4: 2.0, n + 4: 0.1}), {}
    yield "exponential_decay", (0.3, n, 0.5), {}
    yield "exponential_decay", (0.3, 4, 0.5, 3, True, 0.05), {}
    yield "exponential_decay", (0.3, 4, 1.5, 3, False, 0.9), {}
    yield "exponential_decay", (0.3, n, 0.0), {}
    yield "cosine_decay_schedule", (0.3, n, 0.1, 1.5), {}
    yield "linear_onecycle_schedule", (n, 0.8), {"pct_start": 0.4}
    yield "cosine_onecycle_schedule", (n, 0.8), {"pct_start": 0.4}
    yield "warmup_constant_schedule", (0.0, 0.3, n), {}
    yield "warmup_cosine_decay_schedule", (0.01, 0.3, 3, n, 0.02, 2.0), {}
    yield "warmup_cosine_decay_schedule", (0.01, 0.3, 0, n), {}
    yield "warmup_exponential_decay_schedule", (0.0, 0.3, 3, n, 0.5, 2, False, 0.2), {}
    cycles = [{"init_value": 0.0, "peak_value": 0.3 / k, "warmup_steps": 2, "decay_steps": k * n} for k in (1, 2)]
    yield "sgdr_schedule", (cycles,), {}


@pytest.mark.parametrize("n", HORIZONS)
def test_optax(n: int) -> None:
    """With a float64 step optax computes in float64; our law is run on the host and under jit."""
    from optcore.adapters.native import schedules

    seen = {"join_schedules"}
    for name, args, options in optax_options(n):
        seen.add(name)
        theirs = getattr(optax, name)(*args, **options)
        mine = getattr(ours_optax, name)(*args, **options)
        want = [float(theirs(jnp.float64(e))) for e in range(2 * n + 8)]
        near(values(mine, 2 * n + 8), want)
        inside = jax.jit(ours_optax.schedule(mine))
        near([float(inside(e)) for e in range(0, 2 * n, 3)], values(mine, 2 * n)[::3])
    assert seen == set(schedules.table("optax"))
    parts = (0.1, optax.linear_schedule(0.3, 0.1, n)), (s.constant(value=0.1), s.linear(start=0.3, end=0.1, steps=n))
    theirs = optax.join_schedules([optax.constant_schedule(0.1), parts[0][1]], [n])
    near(values(ours_optax.join_schedules(parts[1], [n]), 2 * n), [float(theirs(jnp.float64(e))) for e in range(2 * n)])


def test_our_schedules_are_learning_rates_of_optax() -> None:
    """Training with a schedule equals training with optax' own function, under jit and with a traced count."""
    p = jnp.ones(3)
    g = jnp.array([0.1, -0.2, 0.3])
    found = []
    for rate in (
        ours_optax.schedule(s.cosine(peak=0.1, steps=9)),
        s.cosine(peak=0.1, steps=9),
        optax.cosine_decay_schedule(0.1, 9),
    ):
        tx = optax.adam(rate)
        state, x = tx.init(p), p
        update = jax.jit(tx.update)
        for _ in range(12):
            u, state = update(g, state, x)
            x = optax.apply_updates(x, u)
        found.append(np.asarray(x))
    np.testing.assert_allclose(found[0], found[2], rtol=1e-6)
    np.testing.assert_allclose(found[1], found[2], rtol=1e-6)


# pytorch_optimizer


class _Owner:
    """The stand-in for an optimizer, to which pytorch_optimizer's schedulers write their rates."""

    def __init__(self) -> None:
        self.param_groups = [{"lr": LR, "params": []}]


@pytest.mark.parametrize("n", HORIZONS)
def test_pytorch_optimizer(n: int) -> None:
    P = pytorch_optimizer.lr_scheduler

    def walk(scheduler: Any, steps: int) -> list[float]:
        return [scheduler.step() for _ in range(steps)]

    w = n // 4
    common = {"t_max": n, "max_lr": 0.3, "min_lr": 0.02, "init_lr": 0.01, "warmup_steps": w}
    rise = s.linear(start=0.01, end=0.3, steps=max(w, 1))
    for theirs, fall in (
        (P.LinearScheduler, s.linear(start=0.3, end=0.02, steps=n - w)),
        (P.CosineScheduler, s.cosine(peak=0.3, steps=n - w, floor=0.02)),
    ):
        mine = s.join(parts=(rise, fall), boundaries=(w,))
        near(values(mine, n + 1), walk(theirs(_Owner(), **common), n + 1))
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    rex = P.REXScheduler(sgd, n, 0.3, 0.02)  # its constructor takes the first step
    near(values(s.rex(peak=0.3, steps=n, floor=0.02), 2 * n)[1:], walk(rex, 2 * n - 1))
    for shape, theirs in (("linear", "linear"), ("cosine", "cosine"), ("sqrt", "1-sqrt"), ("square", "1-square")):
        mine = s.wsd(peak=LR, warmup=w, stable=n, decay=n, shape=shape)
        want = followed(lambda o, k=theirs: P.get_wsd_schedule(o, w, n, n, cooldown_type=k), 3 * n)  # type: ignore[misc]
        near(values(mine, 3 * n), want)
    mine = s.wsd(peak=LR, warmup=w, stable=n, decay=n, shape="cosine", floor=LR * 0.1)
    want = followed(lambda o: P.get_wsd_schedule(o, w, n, n, min_lr_ratio=0.1, cooldown_type="cosine"), 3 * n)
    near(values(mine, 3 * n), want)
    for power in (8, 32, 64):
        want = followed(lambda o, k=power: P.get_chebyshev_schedule(o, k), 2 * power)  # type: ignore[misc]
        near(values(s.chebyshev(like="pytorch_optimizer", peak=LR, steps=power), 2 * power), want)
    for growth in (1.0, 2.0, 1.5):  # 16 half as long again: 24, 36, 54; beyond, theirs is cut to whole steps
        want = followed(
            lambda o, k=growth: P.CosineAnnealingWarmupRestarts(o, 19, k, 0.3, 0.02, 3, 0.8),
            3 * 19,  # type: ignore[misc]
        )
        mine = s.warmup_restarts(peak=0.3, first=19, warmup=3, growth=growth, floor=0.02, shrink=0.8, cycles=4)
        near(values(mine, 3 * 19), want)
    inner = P.CosineScheduler(_Owner(), **{**common, "warmup_steps": 0})
    inner.step()
    map_ = P.ProportionScheduler(inner, 0.3, 0.02, 2.0, 0.5)
    want = [map_.get_lr()]
    for _ in range(n):
        inner.step()
        want.append(map_.step())
    of = s.cosine(peak=0.3, steps=n, floor=0.02)
    near(values(s.proportion(of=of, low=0.02, high=0.3, to_low=0.5, to_high=2.0), n + 1), want)


@pytest.mark.parametrize("n", [5, 20])
def test_ademamix_half_life(n: int) -> None:
    got = values(s.half_life_linear(start=0.9, end=0.9999, steps=n), n + 1)
    want = [pytorch_optimizer.AdEMAMix.schedule_beta3(n, e, 0.9, 0.9999) for e in range(n + 1)]
    near(got, want)


# Transcriptions: laws that no installed library has, number by number.


def timm(e: int, peak: float, floor: float, t: int, mul: float, decay: float, limit: int, curve: Any) -> float:
    i, length, begin = 0, float(t), 0.0
    while e >= begin + length:
        begin, length, i = begin + length, length * mul, i + 1
    return floor + (peak * decay**i - floor) * curve((e - begin) / length) if i < limit else floor


@pytest.mark.parametrize("n", HORIZONS)
def test_timm(n: int) -> None:
    """The formulas are read from timm's cosine_lr.py and tanh_lr.py: peaks shrink, and after the last is the floor."""

    def cosine(f: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * f))

    def k(f: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * f**2.5))

    def tanh(f: float) -> float:
        return 0.5 * (1 - math.tanh(-7 * (1 - f) + 3 * f))

    steps = 4 * n
    mine = s.sgdr(like="timm", peak=LR, first=n, growth=2.0, floor=0.02, shrink=0.5, cycles=2)
    near(values(mine, steps), [timm(e, LR, 0.02, n, 2.0, 0.5, 2, cosine) for e in range(steps)])
    mine = s.k_decay(peak=LR, steps=n, k=2.5, floor=0.02)
    near(values(mine, steps), [timm(e, LR, 0.02, n, 1.0, 1.0, 1, k) for e in range(steps)])
    mine = s.tanh(peak=LR, steps=n, floor=0.02)
    near(values(mine, steps), [timm(e, LR, 0.02, n, 1.0, 1.0, 1, tanh) for e in range(steps)])
    got = s.warmup(like="timm", steps=3, then=s.tanh(peak=LR, steps=n))
    assert got(4) == s.tanh(peak=LR, steps=n)(4)
    polynomial = s.k_decay(peak=LR, steps=n, k=2.0, shape="polynomial", power=3.0, floor=0.02)
    near(values(polynomial, n), [0.02 + (LR - 0.02) * (1 - (e / n) ** 2) ** 3 for e in range(n)])


@pytest.mark.parametrize("n", HORIZONS)
def test_transformers_and_papers(n: int) -> None:
    def hf_inverse_sqrt(e: int, w: int, ts: int | None) -> float:
        ts = ts or w or 10_000
        return e / max(1, w) if e < w else 1 / math.sqrt((e + ts - w) / ts)

    for w, ts in ((0, None), (4, None), (4, 7)):
        near(
            values(s.inverse_sqrt(peak=LR, warmup=w, timescale=ts), 2 * n),
            [LR * hf_inverse_sqrt(e, w, ts) for e in range(2 * n)],
        )

    def hf_hard(e: int, cycles: int) -> float:
        p = e / n
        return 0.0 if p >= 1 else max(0.0, 0.5 * (1 + math.cos(math.pi * ((cycles * p) % 1.0))))

    near(values(s.hard_restarts(peak=LR, steps=n, cycles=3), 2 * n), [LR * hf_hard(e, 3) for e in range(2 * n)], 1e-12)
    shapes = {
        "linear": lambda f: f,
        "cosine": lambda f: 0.5 * (1 - math.cos(math.pi * f)),
        "sqrt": lambda f: 1 - math.sqrt(1 - f),
    }
    for name, curve in shapes.items():
        mine = s.warmup(steps=n, then=LR, shape=name)
        near(values(mine, 2 * n), [LR * curve(min(e / n, 1)) for e in range(2 * n)])
    mine = s.warmup(steps=n, then=LR, ahead=True)
    near(values(mine, 2 * n), [LR * min((e + 1) / n, 1) for e in range(2 * n)])
    near(values(s.t5(hold=n, factor=2.0), 2 * n), [2 / math.sqrt(max(e, n)) for e in range(2 * n)])
    length = math.ceil(n / 3)
    snapshot = [LR / 2 * (math.cos(math.pi * ((t - 1) % length) / length) + 1) for t in range(1, 2 * n)]
    near(values(s.snapshot(peak=LR, steps=n, cycles=3), 2 * n - 1), snapshot)

    def swa(i: int, c: int) -> float:
        t = ((i - 1) % c + 1) / c
        return (1 - t) * LR + t * 0.1

    near(values(s.swa_cycle(high=LR, low=0.1, length=4), 2 * n), [swa(e + 1, 4) for e in range(2 * n)])
    for shape, omega in (
        ("linear", lambda t: min(1, 0.1 / 2 * t)),
        ("exponential", lambda t: 1 - math.exp(-0.1 * t)),
    ):
        then = s.inverse_time(start=LR, rate=0.1)
        mine = s.untuned_warmup(then=then, beta2=0.9, shape=shape)
        near(values(mine, 2 * n), [LR / (1 + 0.1 * e) * omega(e + 1) for e in range(2 * n)])
    near(values(s.ema_warmup(decay=0.7), 2 * n), [min(0.7, (1 + e) / (10 + e)) for e in range(2 * n)])
    tiger = {4: 1.0, 4 + n: 0.5}
    near(
        values(s.from_points(points=tiger, origin=True), 2 * n), np.interp(np.arange(2 * n), [0, 4, 4 + n], [0, 1, 0.5])
    )
    near(values(s.from_points(points=tiger), 2 * n), np.interp(np.arange(2 * n), [4, 4 + n], [1, 0.5]))
    theta = [math.pi * (i + 0.5) / 8 for i in (0, 7, 3, 4, 1, 6, 2, 5)]
    near(values(s.chebyshev(steps=8, low=0.1, high=2.0), 8), [1 / (1.05 - 0.95 * math.cos(x)) for x in theta])


# Properties


@settings(max_examples=8)
@given(first=st.integers(1, 30), cycles=st.integers(1, 6), cut=st.integers(0, 3))
def test_snapshots_are_restarts_of_one_length(first: int, cycles: int, cut: int) -> None:
    steps = max(first * cycles - min(cut, cycles - 1), 1)
    length = -(-steps // cycles)
    got = values(s.snapshot(peak=0.3, steps=steps, cycles=cycles), 2 * steps)
    near(got, values(s.sgdr(peak=0.3, first=length), 2 * steps))


@settings(max_examples=8)
@given(st.floats(1e-5, 1e-4), st.integers(1_000, 20_000))
def test_amos_in_closed_form_is_its_recursion(speed: float, steps: int) -> None:
    """They agree to the order of alpha p: the recursion makes Euler steps of the equation that has the closed form."""
    size = 0.0
    for _ in range(steps):
        size += speed * math.exp(-size)
    constant = s.amos_constant_speed(peak=1.0, half_life=(math.sqrt(2) - 1) / speed)
    assert constant(steps) == pytest.approx(math.exp(-2 * size), rel=20 * speed)
    assert constant((math.sqrt(2) - 1) / speed) == pytest.approx(0.5, rel=1e-12)
    size = 0.0
    for _ in range(steps):
        size += speed * math.exp(-2 * size)
    dynamic = s.amos_dynamic_speed(peak=1.0, half_life=1 / (2 * speed))
    assert dynamic(steps) == pytest.approx(math.exp(-2 * size), rel=20 * speed)


@settings(max_examples=8)
@given(start=st.integers(1, 64), limit=st.integers(64, 1024), rate=st.floats(0.5, 0.99))
def test_a_growing_batch_keeps_the_noise_of_the_decay(start: int, limit: int, rate: float) -> None:
    decay = s.step(start=0.3, every=2, rate=rate)
    size, residual = (law(decay=decay, start=start, limit=limit) for law in (s.batch_growth, s.batch_residual))
    for e in range(30):
        assert size(e) == int(size(e)) and start <= size(e) <= limit
        assert residual(e) / size(e) == pytest.approx(decay(e) / start, rel=1e-12)
        if size(e) < limit:
            assert residual(e) == pytest.approx(
                0.3, rel=0.5 / (size(e) - 0.5) + 1e-12
            )  # size is x rounded: size / x - 1


@settings(max_examples=8)
@given(st.floats(1.0, 3.0), st.integers(1, 9))
def test_restarts_begin_where_cycles_end(growth: float, first: int) -> None:
    law, begin, length = s.sgdr(peak=1.0, first=first, growth=growth, shrink=0.5), 0.0, float(first)
    for i in range(6):
        assert law(math.ceil(begin + 1e-9) + 0.0) <= 0.5**i * (1 + 1e-12)
        assert law(begin + 0.3 * length) == pytest.approx(0.5**i * (0.5 + 0.5 * math.cos(math.pi * 0.3)), rel=1e-9)
        begin, length = begin + length, length * growth


# torch schedulers of ours


def groups() -> Any:
    return [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in (0.1, 0.2)]


@pytest.mark.parametrize("make", [torch.optim.AdamW, ours_torch.AdamW], ids=["torch", "optcore"])
def test_a_scheduler_drives_torchs_optimizers_and_ours(make: Any, tmp_path: Any) -> None:
    """Each group has its own schedule; a state dict resumes the run and is plain data to torch."""
    laws = [s.cosine(peak=0.1, steps=9), s.warmup(steps=3, then=s.constant(value=0.2))]
    optimizer = make(groups())
    scheduler = ours_torch.scheduler(optimizer, laws, momentum=s.linear(start=0.9, end=0.8, steps=5))
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    for e in range(6):
        assert scheduler.get_last_lr() == [law(e) for law in laws]
        assert optimizer.param_groups[0]["betas"][0] == pytest.approx(0.9 - 0.02 * min(e, 5))
        for group in optimizer.param_groups:
            group["params"][0].grad = torch.ones(2)
        optimizer.step()
        scheduler.step()
    torch.save(scheduler.state_dict(), tmp_path / "state")
    other = ours_torch.scheduler(make(groups()), s.constant(value=1.0))
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert other.last_epoch == 6 and other.laws[1]["lr"] == laws[1]
    other.optimizer.step()
    other.step()
    assert other.get_last_lr() == [law(7) for law in laws]
    with pytest.raises(ValueError, match="3 schedules for 2 parameter groups"):
        ours_torch.scheduler(make(groups()), [laws[0]] * 3)


def test_a_scheduler_takes_part_in_torchs_sequences() -> None:
    def made(o: Any) -> Any:
        first = ours_torch.scheduler(o, s.linear(start=0.0, end=LR, steps=4))
        return torch.optim.lr_scheduler.SequentialLR(
            o, [first, ours_torch.scheduler(o, s.cosine(peak=LR, steps=9))], milestones=[4]
        )

    near(followed(made, 20), values(s.warmup(steps=4, then=s.cosine(peak=LR, steps=9)), 20))
