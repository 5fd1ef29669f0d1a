"""Rules compared with pytorch_optimizer, and with the papers transcribed one number at a time."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import pytorch_optimizer
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import transcriptions

import optcore

STEPS = 15


def ours(rule: Any, p: Any, grads: Any, **options: Any) -> Any:
    s = rule.init(p)
    for t, g in enumerate(grads, 1):
        p, s = rule(p, g, s, t=t, **options)
    return p


@pytest.mark.parametrize(
    "options",
    [
        {"growth": 1.05},
        {"beta3": 0.5, "d_coefficient": 2.0, "growth": 1.3},
        {"safeguard_warmup": True, "growth": 1.2, "epsilon": 0.3},
        {"debias": True, "weight_decay": 0.1, "growth": 1.1, "epsilon": 0.1},
    ],
)
def test_prodigy_is_its_authors_in_every_number(options: Any, rng: Any) -> None:
    """They agree to 1e-10, since d feeds back through a quotient of sums over all 15 steps."""
    p = rng.standard_normal(7)
    numbers = {"beta1": 0.9, "beta2": 0.99, "beta3": None, "epsilon": 1e-8, "d0": 0.1, "d_coefficient": 1.0}
    numbers |= {"growth": 1e6, "debias": False, "safeguard_warmup": False, "weight_decay": 0.0} | options
    law, want = transcriptions.ProdigyOfTheAuthors(7, **numbers), p.tolist()
    s, got, grown = optcore.prodigy(**numbers).init(p), p, []
    for t in range(1, STEPS + 1):
        g = got - 3.0
        got, s = optcore.prodigy(**numbers)(got, g, s, t=t, lr=0.7)
        want = law.step(want, g.tolist(), t, 0.7)
        grown.append(float(s.d))
    np.testing.assert_allclose(got, want, rtol=1e-10)
    assert grown[-1] > grown[0]


def test_adafactor_keeps_small_parameters_moving(rng: Any) -> None:
    """epsilon2 is the smallest RMS that a parameter counts with; here it is 0.05, far above p's."""
    p, grads = 1e-4 * rng.standard_normal(6), rng.standard_normal((3, 6))
    one = ours(optcore.adafactor(epsilon2=0.05), p, grads[:1])
    assert np.sqrt(np.mean((one - p) ** 2)) == pytest.approx(0.05 * 0.01, rel=1e-6)


def test_warmup_rises_from_its_start() -> None:
    rise = optcore.schedules.warmup(steps=4, then=optcore.schedules.constant(value=2.0), start=0.25)
    assert [rise(e) for e in range(6)] == [0.5, 0.875, 1.25, 1.625, 2.0, 2.0]


PEERS = [
    ("Lion", optcore.lion, {"lr": 0.01, "weight_decay": 0.1}, {}, "before", 1e-13),
    ("SignSGD", optcore.signum, {"lr": 0.01, "weight_decay": 0.1}, {"momentum": 0.9}, "before", 1e-13),
    ("Lion", optcore.cautious(optcore.lion), {"lr": 0.01, "weight_decay": 0.1}, {"cautious": True}, "before", 1e-13),
    ("Prodigy", optcore.prodigy, {"lr": 1.0}, {"d0": 0.1}, None, 1e-5),  # accumulates in float32
    ("SOAP", optcore.soap, {"lr": 3e-3, "weight_decay": 0.01}, {"precondition_frequency": 10}, None, 1e-8),
]


@pytest.mark.parametrize(("peer", "rule", "numbers", "theirs", "place", "tolerance"), PEERS)
def test_rules_equal_pytorch_optimizer(
    peer: str, rule: Any, numbers: Any, theirs: Any, place: str | None, tolerance: float, rng: Any
) -> None:
    """They agree for 15 steps in float64, on square full-rank gradients, whose eigenvectors are unique up to sign."""
    p, grads = rng.standard_normal((4, 4)), rng.standard_normal((STEPS, 4, 4))
    parameter = torch.nn.Parameter(torch.tensor(p))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer's own
        optimizer = getattr(pytorch_optimizer, peer)([parameter], **numbers, **theirs)
        for g in grads:
            parameter.grad = torch.tensor(g)
            optimizer.step()
    own = {k: v for k, v in theirs.items() if k in rule.hypers}
    placed = {} if place is None else {"decay": place}  # a rule that owns its decay takes no place for it
    got = ours(rule(**own), p, grads, **placed, **numbers)
    np.testing.assert_allclose(got, parameter.detach().numpy(), rtol=tolerance, atol=tolerance)


# Identities that need no oracle (they hold for all numbers).


def test_adam_steps_by_the_sign_of_a_constant_gradient() -> None:
    g = np.array([3.0, -1e-3, 0.5])
    p = np.zeros(3)
    got = ours(optcore.adam, p, [g] * 5, lr=0.1)
    np.testing.assert_allclose(got, -5 * 0.1 * g / (np.abs(g) + 1e-8), rtol=1e-12)


def test_rules_that_are_one_rule(rng: Any) -> None:
    p, grads = rng.standard_normal(9), rng.standard_normal((STEPS, 9))
    lion_as_signum = ours(optcore.lion(beta1=0.9, beta2=0.9), p, grads, lr=0.01)
    np.testing.assert_array_equal(lion_as_signum, ours(optcore.signum(beta=0.9), p, grads, lr=0.01))
    adamw = ours(optcore.adamw, p, grads, lr=0.01, weight_decay=0.0)
    np.testing.assert_array_equal(adamw, ours(optcore.adam, p, grads, lr=0.01))
    sums = ours(optcore.momentum(beta=0.9), p, grads, lr=0.01)
    np.testing.assert_allclose(ours(optcore.velocity(beta=0.9), p, grads, lr=0.01), sums, rtol=1e-13)
    np.testing.assert_allclose(ours(optcore.averaged_momentum(beta=0.9), p, grads, lr=0.1), sums, rtol=1e-13)
    nesterov = ours(optcore.nesterov(beta=0.9), p, grads, lr=0.01)
    np.testing.assert_allclose(ours(optcore.nesterov_velocity(beta=0.9), p, grads, lr=0.01), nesterov, rtol=1e-13)
    composed = optcore.chain(optcore.adam(epsilon=1e-6), optcore.trust_ratio)
    np.testing.assert_allclose(ours(composed, p, grads, lr=0.1), ours(optcore.lamb, p, grads, lr=0.1), rtol=1e-12)


def test_a_lamb_step_has_the_length_of_the_parameter(rng: Any) -> None:
    p, g = rng.standard_normal(9), rng.standard_normal(9)
    new = ours(optcore.lamb, p, [g], lr=0.1)
    assert np.linalg.norm(new - p) == pytest.approx(0.1 * np.linalg.norm(p), rel=1e-12)


def test_muon_pushes_singular_values_towards_one(rng: Any) -> None:
    """p(s) = 3.4445 s - 4.775 s^3 + 2.0315 s^5, applied five times, maps [0.02, 1] into [0.68, 1.14]."""
    for shape in ((8, 5), (5, 8), (6, 6)):
        u, _, v = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
        g = u @ np.diag(np.linspace(0.05, 1.0, min(shape)) * 7.0) @ v
        d = -ours(optcore.muon(scale="none"), np.zeros(shape), [g], lr=1.0)
        values = np.linalg.svd(d, compute_uv=False)
        assert values.min() > 0.68 and values.max() < 1.14
        np.testing.assert_allclose(u.T @ d @ v.T, np.diag(np.diag(u.T @ d @ v.T)), atol=1e-12)


def test_prodigy_grows_d_and_survives_zero_gradients() -> None:
    target = np.full(4, 5.0)
    p = np.zeros(4)
    s = optcore.prodigy.init(p)
    same, zero = optcore.prodigy(p, np.zeros(4), s, t=1)
    np.testing.assert_array_equal(same, p)
    assert float(zero.d) == 1e-6
    for t in range(1, 400):
        p, s = optcore.prodigy(p, p - target, s, t=t)
    assert 1.0 < float(s.d) and np.abs(p - target).max() < 0.5


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_soft_and_hard_clipping_are_within_a_factor_two(size: float, gamma: float) -> None:
    """It is 0.5 min(1, gamma/n) <= gamma/(n + gamma) <= min(1, gamma/n), up to a rounding of each."""
    g = np.array([size])
    p = np.zeros(1)
    hard = -ours(optcore.clip_by_norm(max_norm=gamma), p, [g], lr=1.0)
    soft = -ours(optcore.clip_by_norm_soft(max_norm=gamma), p, [g], lr=1.0)
    slack = 1 + 8 * 2.0**-53
    assert 0.5 * hard <= soft * slack and soft <= hard * slack and soft < gamma * slack


@pytest.mark.parametrize("like", ["torch", "optax", "keras"])
@pytest.mark.parametrize("max_norm", [0.5, 3.0, 1e3])
def test_global_norm_clipping_is_each_librarys(like: str, max_norm: float, rng: Any) -> None:
    grads = {"a": rng.standard_normal(5), "b": rng.standard_normal((3, 2))}
    norm = np.sqrt(sum((g * g).sum() for g in grads.values()))
    if like == "torch":
        params = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in grads.values()]
        for p, g in zip(params, grads.values(), strict=True):
            p.grad = torch.tensor(g)
        torch.nn.utils.clip_grad_norm_(params, max_norm)
        want = [p.grad.numpy() for p in params]
    elif like == "optax":
        import optax

        clip = optax.clip_by_global_norm(max_norm)
        want = list(clip.update(grads, clip.init(grads))[0].values())
    else:
        want = [g * (max_norm * min(1 / norm, 1 / max_norm) + (norm - norm)) for g in grads.values()]
    rule = optcore.clip_by_global_norm(max_norm=max_norm, like=like)
    opt = optcore.backends.Optimizer(optcore.Recipe(rule, lr=1.0))
    zeros = {k: np.zeros_like(g) for k, g in grads.items()}
    new, _ = opt.update(zeros, grads, opt.init(zeros))
    for a, b in zip(new.values(), want, strict=True):
        np.testing.assert_allclose(-a, b, rtol=1e-13)


@pytest.mark.parametrize("like", ["torch", "optax", "keras"])
def test_clipping_with_an_infinite_gradient_is_each_librarys(like: str) -> None:
    g = np.array([1.0, np.inf])
    rule = optcore.clip_by_global_norm(max_norm=1.0, like=like)
    with np.errstate(invalid="ignore"):
        new = ours(rule, np.zeros(2), [g], lr=1.0)
    assert np.isnan(new[1]) and (np.isnan(new[0]) if like == "keras" else new[0] == 0.0)


def test_zero_norms_and_thresholds_are_defined() -> None:
    zero, g = np.zeros(3), np.ones(3)
    for rule in (optcore.clip_by_norm, optcore.clip_by_norm_soft, optcore.clip_by_global_norm):
        assert not ours(rule(max_norm=0.0), zero, [zero], lr=1.0).any()
        assert not ours(rule(max_norm=0.0), zero, [g], lr=1.0).any()
        assert not ours(rule(max_norm=1.0), zero, [zero], lr=1.0).any()
