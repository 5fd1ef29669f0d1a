"""A kind of storage is one class: a toy codec of whole numbers and a scale acts in every adapter and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import optcore
from optcore.adapters import optax as in_optax
from optcore.adapters import torch as in_torch
from optcore.backends import Optimizer, of, storage
from optcore.backends.storage import Storage

STEPS = 12


class Coded(Storage):
    """A row of whole numbers from -127 to 127, and behind them their scale."""

    name, plain = "coded", False

    def first(self, backend: Any, field: Any, x: Any, p: Any) -> Any:
        return self._code(backend, x)

    def kept(self, backend: Any, field: Any, x: Any, old: Any) -> Any:
        return self._code(backend, x)

    def given(self, backend: Any, field: Any, x: Any, p: Any) -> Any:
        return backend.xp.reshape(x[:-1] * x[-1], tuple(p.shape))

    @staticmethod
    def _code(backend: Any, x: Any) -> Any:
        xp = backend.xp
        flat = xp.reshape(x, (-1,))
        largest = xp.max(xp.abs(flat))
        scale = xp.where(largest == 0, xp.ones_like(largest), largest / 127.0)
        return xp.concat([xp.floor(flat / scale + 0.5), xp.reshape(scale, (1,))])


@pytest.fixture(autouse=True)
def coded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(storage, "_KINDS", {**storage._KINDS})
    storage.register(Coded())
    yield


def recipe() -> optcore.Recipe:
    return optcore.Recipe("adam", lr=0.1, state_dtype="coded")


def drawn() -> tuple[Any, list[Any]]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 3)), [rng.normal(size=(5, 3)) for _ in range(STEPS)]


def by_hand() -> Any:
    """The rule itself, with its state coded between steps."""
    p, grads = drawn()
    codec, rule = Coded(), optcore.adam(lr=0.1)
    kept = [codec._code(of(p), x) for x in rule.init(p)]
    for t, g in enumerate(grads, 1):
        state = rule.pack([codec.given(of(p), None, x, p) for x in kept])
        p, state = rule(p, g, state, t=t)
        kept = [codec._code(of(p), x) for x in state]
    return p


def on_arrays(make: Any) -> Any:
    p, grads = drawn()
    opt, params = Optimizer(recipe()), [make(p)]
    state = opt.init(params)
    for g in grads:
        params, state = opt.update(params, [make(g)], state)
    assert all(tuple(x.shape) == (16,) for x in state.leaves[0])
    return np.asarray(params[0])


def in_place(make: Any) -> Any:
    p, grads = drawn()
    opt, params = Optimizer(recipe()), [make(p)]
    state = opt.init(params)
    for g in grads:
        params, state = opt.update(params, [make(g)], state, donate=True)
    return np.asarray(params[0])


def with_torch() -> Any:
    """With a state dict written and loaded on the way."""
    p, grads = drawn()
    param = torch.nn.Parameter(torch.tensor(p))
    optimizer = in_torch.from_recipe(recipe(), [param])
    for t, g in enumerate(grads):
        if t == STEPS // 2:
            again = in_torch.from_recipe(optcore.Recipe.from_json(recipe().to_json()), [param])
            again.load_state_dict(optimizer.state_dict())
            optimizer = again
        param.grad = torch.tensor(g)
        optimizer.step()
    return param.detach().numpy()


def with_optax() -> Any:
    p, grads = drawn()
    tx, params = in_optax.from_recipe(recipe()), {"w": jnp.asarray(p)}
    state = tx.init(params)
    for g in grads:
        steps, state = tx.update({"w": jnp.asarray(g)}, state, params)
        params = optax.apply_updates(params, steps)
    return np.asarray(params["w"])


@pytest.mark.parametrize(
    "run",
    [
        lambda: on_arrays(np.asarray),
        lambda: on_arrays(torch.tensor),
        lambda: on_arrays(jnp.asarray),
        lambda: in_place(np.array),
        with_torch,
        with_optax,
    ],
    ids=["numpy", "torch arrays", "jax", "donated", "torch", "optax"],
)
def test_a_codec_of_one_class_acts_wherever_a_state_is_kept(run: Any) -> None:
    """The same whole numbers everywhere; a last bit before a rounding would show as 1/127 of the largest moment."""
    np.testing.assert_allclose(run(), by_hand(), rtol=1e-12, atol=1e-12)


def test_a_coded_state_is_another_trajectory_than_a_plain_one() -> None:
    p, grads = drawn()
    opt, params = Optimizer(recipe().replace(state_dtype="compute")), [p]
    state = opt.init(params)
    for g in grads:
        params, state = opt.update(params, [g], state)
    assert np.max(np.abs(params[0] - by_hand())) > 1e-5


def test_an_unknown_kind_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="state_dtype='int4' is no choice; give 'compute' or 'param' or 'coded'"):
        optcore.Recipe("adam", state_dtype="int4")


def test_two_kinds_of_one_name_are_refused() -> None:
    class Other(Storage):
        name = "coded"

    with pytest.raises(ValueError, match="'coded' is another kind of storage"):
        storage.register(Other())
