"""Reduce on plateau as torch's scheduler and optax' transformation; Keras' callback is in on_keras_schedules.py."""

from __future__ import annotations

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optcore import schedules as s
from optcore.adapters import optax as ours_optax
from optcore.adapters import torch as ours

L = torch.optim.lr_scheduler
RATES = (0.3, 0.02)
metrics = st.lists(
    st.integers(-2, 12).map(lambda k: 0.1 + k / 8) | st.sampled_from([math.nan, math.inf]), min_size=40, max_size=40
)


def optimizer(make: Any = torch.optim.SGD) -> Any:
    return make([{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in RATES], lr=0.1)


def rates(scheduler: Any) -> list[float]:
    return [float(group["lr"]) for group in scheduler.optimizer.param_groups]


# torch


@settings(max_examples=25)
@given(
    metrics,
    st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["min", "max"]),
            "factor": st.sampled_from([0.5, 0.1, 0.0]),
            "patience": st.integers(0, 4),
            "threshold": st.sampled_from([0.0, 1e-4, 0.2, 1.5]),
            "threshold_mode": st.sampled_from(["rel", "abs"]),
            "cooldown": st.integers(0, 3),
            "min_lr": st.sampled_from([0, 0.01, [0.1, 0.001], (0.5, 0.0)]),
            "eps": st.sampled_from([1e-8, 1e-3, 0.0]),
        }
    ),
    st.sampled_from([torch.optim.SGD, ours.SGD, ours.AdamW]),
)
def test_plateau_lowers_the_rates_that_torchs_lowers(seen: list[float], options: dict[str, Any], make: Any) -> None:
    theirs, mine = L.ReduceLROnPlateau(optimizer(), **options), ours.ReduceLROnPlateau(optimizer(make), **options)
    for value in seen:
        theirs.step(value)
        mine.step(torch.tensor(value, dtype=torch.float64))
        assert rates(mine) == rates(theirs) and mine.get_last_lr() == theirs.get_last_lr()
        for name in ("best", "num_bad_epochs", "in_cooldown", "cooldown_counter", "last_epoch"):
            assert getattr(mine, name) == getattr(theirs, name), name


def test_plateau_of_torch_has_its_signature_and_its_class() -> None:
    got = inspect.signature(ours.ReduceLROnPlateau).parameters.values()
    want = inspect.signature(L.ReduceLROnPlateau).parameters.values()
    assert [(p.name, p.default) for p in got] == [(p.name, p.default) for p in want]
    assert issubclass(ours.ReduceLROnPlateau, L.ReduceLROnPlateau) and issubclass(ours.ReduceLROnPlateau, L.LRScheduler)


def test_plateau_of_torch_resumes_from_its_state_and_from_torchs(tmp_path: Any) -> None:
    seen, options = [1.0, 0.9, *[0.95] * 20], {"factor": 0.5, "patience": 2, "cooldown": 2, "min_lr": [0.0, 0.01]}
    whole = L.ReduceLROnPlateau(optimizer(), **options)
    want = [whole.step(value) or rates(whole) for value in seen]
    for first, second in (
        (ours.ReduceLROnPlateau, ours.ReduceLROnPlateau),
        (L.ReduceLROnPlateau, ours.ReduceLROnPlateau),
        (ours.ReduceLROnPlateau, L.ReduceLROnPlateau),
    ):
        before = first(optimizer(), **options)
        for value in seen[:9]:
            before.step(value)
        torch.save([before.state_dict(), before.optimizer.state_dict()], tmp_path / "state")
        after = second(optimizer())
        state, groups = torch.load(tmp_path / "state", weights_only=True)
        after.load_state_dict(state)
        after.optimizer.load_state_dict(groups)
        assert [after.step(value) or rates(after) for value in seen[9:]] == want[9:]


def test_plateau_of_torch_writes_tensors_in_place_and_sees_added_groups() -> None:
    made = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], lr=torch.tensor(0.5), foreach=False, capturable=False)
    rate = made.param_groups[0]["lr"]
    plateau = ours.ReduceLROnPlateau(made, factor=0.5, patience=0)
    plateau.step(1.0)
    made.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.25})
    plateau.step(1.0)
    assert rate is made.param_groups[0]["lr"] and rates(plateau) == [0.25, 0.125]
    plateau = ours.ReduceLROnPlateau(optimizer(), patience=0, min_lr=[0.0, 0.1])
    plateau.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    plateau.step(1.0)
    with pytest.raises(RuntimeError, match="min_lr for 2 parameter groups and there are 3"):
        plateau.step(1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factor": 1.0}, "factor=1.0 is out of range"),
        ({"threshold": "x"}, "threshold='x' is of type str"),
        ({"threshold_mode": "x"}, "threshold_mode='x' is no choice"),
        ({"mode": "x"}, "mode='x' is no choice"),
        ({"patience": 2.5}, "patience=2.5 is no count"),
        ({"min_lr": [0.0, -1.0]}, "min_lr=-1.0 is out of range"),
        ({"min_lr": [0.0]}, "expected 2 min_lrs, got 1"),
        ({"eps": None}, "eps=None is of type NoneType"),
    ],
)
def test_plateau_of_torch_refuses_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        ours.ReduceLROnPlateau(optimizer(), **options)


def test_plateau_of_torch_refuses_a_rate_that_is_a_schedule() -> None:
    from optcore import Recipe

    p = [torch.nn.Parameter(torch.ones(2))]
    rate = s.cosine(peak=0.1, steps=9)
    for made in (ours.AdamW(p, lr=rate), ours.from_recipe(Recipe("adam", lr=rate), p)):
        with pytest.raises(ValueError, match="lr is a schedule of its own"):
            ours.ReduceLROnPlateau(made)


# optax


@settings(max_examples=10)
@given(
    st.lists(st.integers(0, 12).map(lambda k: 0.1 + k / 8) | st.just(math.nan), min_size=30, max_size=30),
    st.fixed_dictionaries(
        {
            "factor": st.sampled_from([0.5, 0.1]),
            "patience": st.integers(1, 4),
            "rtol": st.sampled_from([1e-4, 0.1, 1.0]),
            "atol": st.sampled_from([0.0, 0.05]),
            "cooldown": st.integers(0, 3),
            "accumulation_size": st.integers(1, 3),
            "min_scale": st.sampled_from([0.0, 0.02]),
        }
    ),
)
def test_plateau_scales_as_optax_does_under_jit(seen: list[float], options: dict[str, Any]) -> None:
    """Scale, updates and state agree, from a state of either library; in both a NaN mean is no improvement."""
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}
    theirs, mine = optax.contrib.reduce_on_plateau(**options), ours_optax.reduce_on_plateau(**options)
    state, want = mine.init(params), theirs.init(params)
    assert jax.tree.structure(state) == jax.tree.structure(want) and type(state) is type(want)
    for got, x in zip(state, want, strict=True):
        assert got.dtype == x.dtype and got == x
    step = jax.jit(lambda g, state, value: mine.update(g, state, value=value))
    other = jax.jit(lambda g, state, value: theirs.update(g, state, value=value))
    for k, value in enumerate(seen):
        if k == 12:
            state = want  # optax' own state goes on in ours
        g, state = step(params, state, value)
        x, want = other(params, want, value)
        for name in state._fields:
            np.testing.assert_allclose(getattr(state, name), getattr(want, name), rtol=1e-12, err_msg=name)
            assert getattr(state, name).dtype == getattr(want, name).dtype
        np.testing.assert_allclose(g["a"], x["a"], rtol=1e-12)


def test_plateau_of_optax_without_patience_acts_on_a_bad_value() -> None:
    """optax compares the count with 0 and lowers the scale where the value has improved (docs/differences.md)."""
    found = []
    for make in (ours_optax.reduce_on_plateau, optax.contrib.reduce_on_plateau):
        tx = make(0.5, patience=0)
        state, scales = tx.init(jnp.ones(1)), []
        for value in (1.0, 0.5, 0.6):
            _, state = tx.update(jnp.ones(1), state, value=value)
            scales.append(float(state.scale))
        found.append(scales)
    assert found == [[1.0, 1.0, 0.5], [0.5, 0.25, 0.25]]


def test_plateau_of_optax_in_a_chain_with_our_optimizer() -> None:
    params, found = jnp.ones(3), []
    for plateau in (ours_optax.reduce_on_plateau, optax.contrib.reduce_on_plateau):
        tx = optax.chain(ours_optax.adamw(0.1), plateau(0.5, patience=2, cooldown=1))
        x, state = params, tx.init(params)
        update = jax.jit(lambda x, state, tx=tx: tx.update(x, state, x, value=jnp.sum(x * x)))
        for _ in range(30):
            u, state = update(x, state)
            x = optax.apply_updates(x, u)
        found.append((np.asarray(x), float(state[1].scale)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12)
    assert found[0][1] == found[1][1] < 1.0


def test_plateau_of_optax_keeps_the_dtypes_of_its_parameters() -> None:
    params = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.ones(2, jnp.float32)}
    tx = ours_optax.reduce_on_plateau()
    u, state = jax.jit(lambda g, s: tx.update(g, s, value=jnp.float32(1.0)))(params, tx.init(params))
    assert state.scale.dtype == jnp.bfloat16 and state.best_value.dtype == jnp.float32
    assert [x.dtype for x in jax.tree.leaves(u)] == [jnp.bfloat16, jnp.float32]


def test_plateau_of_optax_has_its_signature_and_refuses_by_name() -> None:
    got = inspect.signature(ours_optax.reduce_on_plateau).parameters.values()
    want = inspect.signature(optax.contrib.reduce_on_plateau).parameters.values()
    assert [(p.name, p.kind, p.default) for p in got] == [(p.name, p.kind, p.default) for p in want]
    for options, words in (
        ({"factor": 0.0}, r"factor=0.0 is out of range; give \(0, 1\)"),
        ({"factor": None}, "factor=None is of type NoneType"),
        ({"rtol": 1.5}, r"rtol=1.5 is out of range; give \[0, 1\]"),
        ({"rtol": 0.0}, "rtol=0.0 and atol=0.0"),
        ({"min_scale": 2.0}, "min_scale=2.0 is out of range"),
        ({"cooldown": -1}, "cooldown=-1 is no count"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            ours_optax.reduce_on_plateau(**options)
