"""Counts, sums and states have dtypes that hold them, whatever the default dtype of a library is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import optcore
from optcore import Recipe, registry, schedules
from optcore.adapters import native
from optcore.adapters import optax as to_optax
from optcore.adapters import torch as to_torch
from optcore.backends import Optimizer, named, of
from optcore.typing import Unit
from tests.routes import LISTS, NO_LOOP, patched

NARROW = ("bfloat16", "float16")


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def trajectory(name: str, capturable: bool) -> list[Any] | None:
    """Return parameters, states and shared fields of float32 leaves; None for a class that takes no such option."""
    cls = getattr(to_torch, name)
    draw = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(s, generator=draw, dtype=torch.float32)) for s in ((4, 3), (3, 2))]
    given = {p.name: 0.5 for p in cls._constructor.parameters if p.default is p.empty}
    if capturable:
        if "capturable" not in str(cls.__signature__):
            return None
        given["capturable"] = True
    optimizer = cls(params, **given)
    for _ in range(3):
        for p in params:
            p.grad = torch.randn(p.shape, generator=draw, dtype=torch.float32)
        optimizer.step()
    found = [p.detach() for p in params] + [x for p in params for _, x in sorted(optimizer.state[p].items())]
    return found + [x for group in optimizer.param_groups for x in group.values() if torch.is_tensor(x)]


@pytest.mark.exhaustive(share=4)
@pytest.mark.parametrize("name", [n for n in native.names("torch") if isinstance(getattr(to_torch, n), type)])
def test_no_class_takes_torchs_default_dtype(name: str) -> None:
    for capturable in (False, True):
        want = trajectory(name, capturable)
        for dtype in (torch.bfloat16, torch.float16, torch.float64):
            with default_dtype(dtype):
                got = trajectory(name, capturable)
            for x, y in zip(want or (), got or (), strict=True):
                torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


def test_a_count_goes_on_beyond_256_in_any_default_dtype() -> None:
    """600 steps of Adam along one direction move a parameter by 600 times the rate."""
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        with default_dtype(dtype):
            p = torch.nn.Parameter(torch.ones(1, dtype=torch.float32))
            optimizer = to_torch.AdamW([p], lr=1e-3, weight_decay=0.0)
            for _ in range(600):
                p.grad = torch.full_like(p, 0.1)
                optimizer.step()
            assert optimizer.state[p]["step"].item() == 600
            assert p.item() == pytest.approx(0.4, abs=600 * 2**-24)  # a rounding at each step


def test_a_schedule_of_an_array_of_steps_is_exact_in_any_default_dtype() -> None:
    law = schedules.linear(start=1.0, end=0.0, steps=1000)
    want = law(np.arange(1000))
    for dtype in (torch.bfloat16, torch.float16):
        with default_dtype(dtype):
            got = law(torch.arange(1000))
            assert got.dtype is torch.float32
            np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=2**-23)


@pytest.mark.exhaustive(share=6)
@pytest.mark.parametrize("name", registry.rules())
def test_float32_leaves_move_alike_with_and_without_64_bits_in_jax(name: str) -> None:
    """XLA computes scalars in float32 or float64: results differ by some units in the displacement's last place."""
    law = registry.find(name)

    def run(wide: bool) -> list[Any]:
        with jax.enable_x64(wide):
            rng = np.random.default_rng(0)
            params = {"w": jnp.asarray(rng.standard_normal((4, 3)) + 2.0, jnp.float32)}
            tx = to_optax.from_rule(law)(learning_rate=0.01)
            state = tx.init(params)
            for _ in range(3):
                grads = {"w": jnp.asarray(rng.standard_normal((4, 3)), jnp.float32)}
                updates, state = tx.update(grads, state, params, obj_fn=lambda p: jnp.sum(p["w"] ** 2))  # for Sophia
                params = {"w": params["w"] + updates["w"]}
            return [np.asarray(x) for x in jax.tree.leaves((params, state))]

    for x, y in zip(run(True), run(False), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4)


def averaged(library: str, dtype: str, steps: int = 2000) -> float:
    """Return the average of a leaf that was 1 before the first step and is 2 from then on."""
    backend = named(library)
    opt = Optimizer(Recipe("sgd", lr=0.0, average=0.999))
    params = {"p": backend.cast(backend.array(np.ones(1), "float32"), dtype)}
    state, two = opt.init(params), {"p": backend.cast(backend.array(np.full(1, 2.0), "float32"), dtype)}
    still = {"p": params["p"] * 0}
    params, state = opt.update(params, still, state)
    for _ in range(steps):
        _, state = opt.update(two, still, state)
    assert backend.dtype(state.average[0]) == "float32"
    return float(backend.numpy(state.average[0])[0])


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_an_average_of_a_narrow_leaf_goes_all_the_way(library: str, dtype: str) -> None:
    """The average reaches 2 - 0.999^2000 = 1.8648; in the leaf's dtype the sum would stay at 1."""
    assert averaged(library, dtype) == pytest.approx(2.0 - 0.999**2000, abs=2000 * 2**-24)


@pytest.mark.parametrize("adapter", ["torch", "optax"])
def test_an_average_of_a_narrow_leaf_goes_all_the_way_in_adapters(adapter: str) -> None:
    recipe = Recipe("sgd", lr=0.0, average=0.999)
    if adapter == "torch":
        p = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
        optimizer = to_torch.from_recipe(recipe, [p])
        for k in range(2001):
            p.grad = torch.zeros_like(p)
            optimizer.step()
            p.data.fill_(2.0) if k == 0 else None
        average = optimizer.state[p]["average"].item()
    else:
        tx, one = to_optax.from_recipe(recipe), {"p": jnp.ones(1, jnp.bfloat16)}
        update, state = jax.jit(tx.update), tx.init(one)
        _, state = update({"p": one["p"] * 0}, state, one)
        for _ in range(2000):
            _, state = update({"p": one["p"] * 0}, state, {"p": one["p"] * 2})
        average = float(state.average["p"][0])
    assert average == pytest.approx(2.0 - 0.999**2000, abs=2000 * 2**-24)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_gathered_gradients_of_a_narrow_leaf_are_summed_in_float32(library: str, dtype: str) -> None:
    """The mean is that of 1000 gradients, 1 and 999 times 0.001; in bfloat16 it would not change after a few."""
    backend = named(library)
    opt = Optimizer(Recipe("sgd", lr=1.0, accumulate=1000))

    def leaf(x: float) -> Any:
        return {"p": backend.cast(backend.array(np.full(1, x), "float32"), dtype)}

    params, state = leaf(0.0), None
    state = opt.init(params)
    small = float(backend.numpy(leaf(0.001)["p"])[0])
    for k in range(1000):
        params, state = opt.update(params, leaf(1.0 if k == 0 else 0.001), state)
    want = -(1.0 + 999 * small) / 1000
    spacing = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    assert float(backend.numpy(params["p"])[0]) == pytest.approx(want, rel=spacing)  # of the parameter's own rounding


@pytest.mark.parametrize("route", [(), (NO_LOOP,), (NO_LOOP, LISTS)], ids=["one pass", "operations", "lists"])
def test_squares_that_float16_has_no_room_for_are_kept_wider(route: Any) -> None:
    """1000 steps of Adam along a gradient of 1e-4 are 1000 times the rate; squares of it are below 2^-24.

    The rest is the parameter's own rounding: beyond 0.0625 a step is 1.64 of float16's spacings there and is rounded
    to 2, which is 22 % more.
    """
    with patched(*route):
        p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float16))
        optimizer = to_torch.from_recipe(Recipe("adam", lr=1e-4, state_dtype="param"), [p])
        for _ in range(1000):
            p.grad = torch.full_like(p, 1e-4)
            optimizer.step()
        kept = {name: x.dtype for name, x in optimizer.state[p].items()}
        assert kept == {"step": torch.float32, "m": torch.float16, "v": torch.float32}
        assert p.item() == pytest.approx(-0.1, rel=0.25)


@pytest.mark.exhaustive(share=4)
@pytest.mark.parametrize("name", registry.rules())
def test_a_state_in_the_leafs_dtype_holds_what_it_can(name: str) -> None:
    """For every rule, float16 holds only fields whose unit is a first power, and neither dtype holds 0-d fields."""
    law = registry.find(name)
    for dtype in NARROW:
        p = torch.ones((4, 3), dtype=getattr(torch, dtype))
        opt = Optimizer(Recipe(law, state_dtype="param"))
        params, state = {"p": p}, opt.init({"p": p})
        for _ in range(2):
            params, state = opt.update(params, {"p": p * 1e-3}, state)
            for f, x in zip(law.fields, law.unpack(state.leaves[0]), strict=True):
                if x is None:
                    continue
                first = f.unit in (Unit(g=1), Unit(p=1), Unit(d=1))
                narrow = x.ndim and (dtype == "bfloat16" or first)
                assert of(x).dtype(x) == (dtype if narrow else "float32"), f.name


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_norms_of_narrow_leaves_are_summed_in_float32(library: str) -> None:
    """4096 numbers of 1 have norm 64; a sum in bfloat16 would stop at 256, for a norm of 16."""
    backend = named(library)
    for dtype in NARROW:
        g = {"g": backend.cast(backend.array(np.ones(4096), "float32"), dtype)}
        assert float(optcore.clipping.total_norm(g)) == pytest.approx(64.0, rel=1e-6)
        clipped = optcore.clipping.clipped(optcore.clip_by_global_norm(max_norm=32.0), g)
        assert float(backend.numpy(clipped["g"])[0]) == 0.5


# What is donated is whole, or as it was.


def test_nothing_is_written_where_a_state_does_not_fit() -> None:
    recipe = Recipe(optcore.adam(lr=0.1), average=0.9)
    opt = Optimizer(recipe)
    rng = np.random.default_rng(0)
    params = {"a": rng.standard_normal(5), "b": rng.standard_normal(3)}
    grads, state = {n: x.copy() for n, x in params.items()}, opt.init(params)
    other = Optimizer(Recipe("lion", average=0.9)).init(params)
    wrong: dict[str, Any] = {
        "an average of another shape": state._replace(average=(state.average[1], state.average[0])),
        "no average": state._replace(average=()),
        "an average that is none": state._replace(average=(None, None)),
        "a leaf too few": state._replace(leaves=state.leaves[:1]),
        "a count too few": state._replace(counts=(0,)),
        "another rule's state": state._replace(leaves=other.leaves),
        "another rule's last leaf": state._replace(leaves=(state.leaves[0], other.leaves[1])),
        "gathered gradients without accumulation": state._replace(gathered=(None, None)),
        "a shared field too many": state._replace(shared=(np.zeros(()),)),
        "moments of another shape": state._replace(leaves=state.leaves[::-1]),
        "no state": {"step": 0},
    }
    kept = {n: x.copy() for n, x in params.items()}
    moments = [x.copy() for leaf in state.leaves for x in leaf]
    for name, given in wrong.items():
        with pytest.raises((TypeError, ValueError), match="init"):
            opt.update(params, grads, given, donate=True)
        for n in params:
            np.testing.assert_array_equal(params[n], kept[n], err_msg=name)
        for x, y in zip([x for leaf in state.leaves for x in leaf], moments, strict=True):
            np.testing.assert_array_equal(x, y, err_msg=name)
