"""Reduce on plateau, compared with torch and optax value by value; Keras' callback is in ``on_keras_schedules.py``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optcore.plateau import reduce_on_plateau

LR = 0.3


def near(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-12)


losses = st.lists(st.integers(0, 12).map(lambda k: 0.1 + k / 8), min_size=40, max_size=40)


def scales(plateau: Any, seen: list[float]) -> list[float]:
    state, found = plateau.init(), []
    for value in seen:
        state = plateau.update(state, value)
        found.append(state.scale)
    return found


@settings(max_examples=10)
@given(
    losses,
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from(["min", "max"]),
    st.sampled_from([("rel", 0.2), ("abs", 0.3), ("rel", 1e-4)]),
)
def test_plateau_of_torch(seen: list[float], patience: int, cooldown: int, mode: Any, threshold: Any) -> None:
    kind, size = threshold
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=LR)
    common = {"mode": mode, "factor": 0.5, "patience": patience, "cooldown": cooldown}
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, **common, threshold=size, threshold_mode=kind, min_lr=0.01, eps=1e-3
    )
    want = []
    for value in seen:
        theirs.step(value)
        want.append(optimizer.param_groups[0]["lr"] / LR)
    by = {"rtol": size} if kind == "rel" else {"rtol": 0.0, "atol": size}
    mine = reduce_on_plateau(like="torch", **common, **by, floor=0.01 / LR, smallest=1e-3 / LR)
    near(scales(mine, seen), want)


@settings(max_examples=10)
@given(losses, st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))
def test_plateau_of_optax(seen: list[float], patience: int, cooldown: int, gather: int) -> None:
    theirs = optax.contrib.reduce_on_plateau(
        factor=0.5, patience=patience, rtol=0.1, atol=0.05, cooldown=cooldown, accumulation_size=gather, min_scale=0.02
    )
    p = jnp.zeros(1)
    state, want = theirs.init(p), []
    update = jax.jit(lambda state, value: theirs.update(p, state, value=value)[1])
    for value in seen:
        state = update(state, value)
        want.append(float(state.scale))
    mine = reduce_on_plateau(
        like="optax", factor=0.5, patience=patience, rtol=0.1, atol=0.05, cooldown=cooldown, gather=gather, floor=0.02
    )
    near(scales(mine, seen), want)

    @jax.jit
    def traced(values: Any) -> Any:
        def body(state: Any, value: Any) -> Any:
            state = mine.update(state, value)
            return state, state.scale

        first = jax.tree.map(jnp.float64, mine.init())
        return jax.lax.scan(body, first, values)[1]

    near(traced(jnp.array(seen)), want)


def test_plateaus_act_one_value_apart() -> None:
    """With a patience of 3 torch acts on the fourth bad value, optax and Keras on the third."""
    seen = [1.0] * 6
    first = {
        like: scales(reduce_on_plateau(like=like, patience=3), seen).index(0.1) for like in ("torch", "optax", "keras")
    }
    assert first == {"torch": 4, "optax": 3, "keras": 3}
