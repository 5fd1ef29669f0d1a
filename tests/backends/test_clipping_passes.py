"""Clipping laws as fused passes over memory, compared with the same laws run operation by operation.

Other tests hold that a pass writes no array but those it may write.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from clips import LAWS, given_params

import optcore
from optcore import clipping
from optcore.adapters import torch as in_torch
from optcore.backends import gradients
from optcore.backends.base import COMPUTE
from optcore.backends.fused.running import compiled
from optcore.backends.fused.running.table import Processors
from optcore.backends.torch import TorchBackend

STATELESS = [name for name, law in LAWS.items() if not law.fields]
PASSES = [name for name in STATELESS if not LAWS[name].axes]
UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def bound(name: str, at: float = 0.5) -> Any:
    need = {n: at for n, h in LAWS[name].hypers.items() if h.default is optcore.hyper.REQUIRED}
    return LAWS[name](**need)


def tree(library: str, dtype: str) -> dict[str, Any]:
    """Return leaves of every kind: 0-d, empty, None, in columns, with gaps, reversed, broadcast, of two blocks."""
    rng = np.random.default_rng(7)
    big = rng.standard_normal(70_001)
    made = {
        "matrix": rng.standard_normal((5, 7)), "number": rng.standard_normal(()), "empty": np.zeros((0, 3)),
        "columns": rng.standard_normal((6, 4)).T, "gaps": rng.standard_normal((9, 8))[::2, 1::3],
        "back": rng.standard_normal(33)[::-1], "spread": np.broadcast_to(rng.standard_normal((1, 5)), (4, 5)),
        "turned": rng.standard_normal((2, 3, 4)).transpose(1, 0, 2), "big": big,
    }  # fmt: skip
    if library == "numpy":
        return {**{k: _like(v, dtype) for k, v in made.items()}, "none": None}
    found: dict[str, Any] = {"none": None}
    for name, x in made.items():
        whole = torch.tensor(np.ascontiguousarray(x)).to(getattr(torch, dtype))
        if name == "columns":
            whole = whole.T.contiguous().T
        elif name == "gaps":
            whole = torch.stack([whole, whole], -1)[..., 0]
        elif name == "spread":
            whole = whole[:1].expand(4, 5)
        elif name == "turned":
            whole = whole.permute(1, 0, 2).contiguous().permute(1, 0, 2)
        elif name == "back" and dtype in ("float32", "float64"):
            whole = torch.complex(torch.zeros_like(whole), -whole).conj().imag  # its sign is not in its memory
            assert whole.is_neg()
        found[name] = whole
    return found


def _like(x: Any, dtype: str) -> Any:
    """Return the values in another dtype with the same memory layout."""
    if 0 in x.strides:
        return np.broadcast_to(x[:1].astype(dtype), x.shape)
    if x.base is not None and x.size * x.itemsize < x.base.nbytes:
        made = np.zeros((2 * x.shape[0], 3 * x.shape[1]), dtype)[::2, 1::3]
    else:
        made = np.empty_like(x, dtype=dtype)  # in the order of its axes
        made = made[::-1] if x.ndim and x.strides[0] < 0 else made
    made[...] = x
    return made


def eagerly(monkeypatch: pytest.MonkeyPatch, call: Any) -> Any:
    with monkeypatch.context() as patch, np.errstate(all="ignore"):
        patch.setattr(gradients, "_fused", lambda *_: None)
        return call()


def watched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that receives, for each piece of work that follows, True if it is done by fused passes."""
    taken: list[bool] = []
    own = gradients._fused

    def spy(*given: Any) -> Any:
        found = own(*given)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(gradients, "_fused", spy)
    return taken


def values(x: Any) -> Any:
    return np.asarray(x.double() if isinstance(x, torch.Tensor) else x, dtype=np.float64)


def agree(got: dict[str, Any], want: dict[str, Any], dtype: str) -> None:
    """Assert equality up to the rounding of sums (one has 70,000 terms), of 64 operations and of the leaf's dtype."""
    slack = (64 + 300) * UNIT[COMPUTE[dtype]] + 2 * UNIT[dtype]  # 300: the root of the terms, eager sums being pairwise
    assert got.keys() == want.keys()
    for name, x in want.items():
        if x is None:
            assert got[name] is None
            continue
        assert got[name].dtype == x.dtype and tuple(got[name].shape) == tuple(x.shape)
        np.testing.assert_allclose(values(got[name]), values(x), rtol=slack, atol=0, err_msg=name)


DTYPES = ["float64", "float32", "float16"]


@pytest.mark.exhaustive(share=6)
@pytest.mark.parametrize(
    ("library", "dtype"), [*(("numpy", d) for d in DTYPES), *(("torch", d) for d in [*DTYPES, "bfloat16"])]
)
@pytest.mark.parametrize("name", STATELESS)
def test_a_pass_and_single_operations_agree(
    name: str, library: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grads, law = tree(library, dtype), bound(name)
    if name == "normalize_by_deviation":
        del grads["empty"]  # which has no mean
    params = {k: None if g is None else g + 1 for k, g in grads.items()} if name == "adaptive_gradient_clip" else None
    if library == "numpy":
        for g in grads.values():
            if g is not None:
                g.flags.writeable = False
    want = eagerly(monkeypatch, lambda: clipping.clipped(law, grads, params))
    taken = watched(monkeypatch)
    agree(clipping.clipped(law, grads, params), want, dtype)
    assert taken == [name in PASSES]


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [0.5, 1.0, 2.0, 3.0, 2.5, math.inf])
def test_norms_agree_on_both_ways(library: str, dtype: str, order: float, monkeypatch: pytest.MonkeyPatch) -> None:
    grads = tree(library, dtype)
    want = eagerly(monkeypatch, lambda: clipping.total_norm(grads, order))
    taken = watched(monkeypatch)
    got = clipping.total_norm(grads, order)
    assert str(got.dtype) == str(want.dtype) and tuple(got.shape) == ()
    slack = (64 + 300) * UNIT[COMPUTE[dtype]]
    assert float(got) == pytest.approx(float(want), rel=slack)
    new, norm = clipping.measured(grads, 0.25, order, 1e-6)
    assert float(norm) == float(got)
    agree(new, clipping.held(grads, got, 0.25, 1e-6), dtype)
    agree(new, eagerly(monkeypatch, lambda: clipping.held(grads, want, 0.25, 1e-6)), dtype)
    assert all(taken)


def test_precisions_are_summed_in_the_widest(monkeypatch: pytest.MonkeyPatch) -> None:
    for make in (np.asarray, torch.tensor):
        grads = [make(np.full(3, 2.0, d)) for d in (np.float16, np.float32, np.float64)] + [make(np.full(2, 1e40))]
        taken = watched(monkeypatch)
        norm = clipping.total_norm(grads)
        assert str(norm.dtype).endswith("float64") and taken == [True]
        assert float(norm) == pytest.approx(math.sqrt(36.0 + 2e80), rel=1e-15)
        monkeypatch.undo()


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-30, 1e-19, 1.0, 1e19, 1e30, 3e38])
def test_a_sum_in_a_wider_dtype_gives_every_float32_norm(size: float) -> None:
    """The norm is right around each border between the law's three sums, alone and beside numbers of another size."""
    g = np.full(100_000, size, np.float32) * (np.arange(100_000, dtype=np.float32) % 2)
    for grads in ([g], [g, np.ones(3, np.float32)], [g, np.full(2, 1e-35, np.float32)]):
        want = math.sqrt(sum(float((x.astype(np.float64) ** 2).sum()) for x in grads))
        least = 2.0**-150  # half of the smallest float32
        limit = float(np.finfo(np.float32).max)
        got = float(clipping.total_norm(grads))
        assert math.isinf(got) if want > limit else abs(got - want) <= 8 * 2.0**-24 * want + least


@pytest.mark.parametrize("size", [1e-170, 1e-155, 1.0, 1e150, 1e160, 1e170])
def test_float64_squares_that_leave_the_range_are_summed_as_the_law_has_them(size: float) -> None:
    """``size`` squared is 0 or infinite beyond 1e154; the three sums reach to 1e178 and 1e-184."""
    got = float(clipping.total_norm([np.full(9, size), np.zeros(2)]))
    assert got == pytest.approx(3 * size, rel=1e-14)


def test_nan_and_infinity_reach_the_norm() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        for bad in (np.nan, np.inf):
            for order in (1.0, 2.0, 3.0, math.inf):
                norm = float(clipping.total_norm([np.ones(3, dtype), np.array([bad, 1.0], dtype)], order))
                assert math.isnan(norm) if math.isnan(bad) else norm == math.inf


def test_empty_leaves_alone_have_the_norm_zero() -> None:
    for make in (np.zeros, torch.zeros):
        for order in (1.0, 2.0, math.inf):
            assert float(clipping.total_norm([make((0, 2))], order)) == 0.0
    assert clipping.total_norm([None]) is None and clipping.total_norm([]) is None


# In place.


def calls() -> list[tuple[str, Any, Any]]:
    nn = torch.nn.utils
    return [
        *((f"norm {p}", lambda m, ps, p=p: m.clip_grad_norm_(ps, 0.5, p), nn) for p in (1.0, 2.0, 3.0, math.inf)),
        ("norm checked", lambda m, ps: m.clip_grad_norm_(ps, 0.5, 2.0, True), nn),
        ("value", lambda m, ps: m.clip_grad_value_(ps, 0.25), nn),
        ("with", lambda m, ps: m.clip_grads_with_norm_(ps, 0.5, torch.tensor(2.0, dtype=torch.float64)), nn),
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "call", "theirs"), calls(), ids=[c[0] for c in calls()])
def test_torchs_functions_write_where_the_gradients_are(name: str, call: Any, theirs: Any, dtype: Any) -> None:
    del name
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(shape) for shape in ((7,), (4, 3), ())]
    mine, other = given_params(arrays, dtype), given_params(arrays, dtype)
    mine[1].grad = mine[1].grad.T.contiguous().T  # in columns: dense, and written in place too
    kept = [(p.grad, p.grad.data_ptr(), p.grad._version) for p in mine]
    call(in_torch, iter(mine))
    call(theirs, other)
    unit = UNIT[str(dtype)[6:]]
    for p, q, (g, place, version) in zip(mine, other, kept, strict=True):
        assert p.grad is g and g.data_ptr() == place and g._version > version
        torch.testing.assert_close(g, q.grad, rtol=16 * unit, atol=0)  # torch rounds every leaf's norm and the whole


def test_addresses_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = watched(monkeypatch)
    (p,) = given_params([np.array([3.0, 4.0])])
    in_torch.clip_grad_norm_([p], 1.0)
    old = p.grad.data
    p.grad.data = torch.tensor([30.0, 40.0], dtype=torch.float64)
    assert float(in_torch.clip_grad_norm_([p], 1.0)) == pytest.approx(50.0)
    np.testing.assert_allclose(p.grad, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(old, [0.6, 0.8], rtol=1e-6)
    assert taken == [True, True]


def test_nothing_is_written_where_all_would_stay_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A norm below its limit takes one reading pass only; a NaN, or a factor for one leaf, makes a pass write."""
    passes: list[bool] = []
    own = Processors.run
    spy = staticmethod(lambda *given, **options: (passes.append(given[9] is None), own(*given, **options))[1])
    monkeypatch.setattr(Processors, "run", spy)
    for limit, grads, written in [
        (9.0, [[3.0, 4.0], [0.0]], False),
        (1.0, [[3.0, 4.0], [0.0]], True),
        (9.0, [[np.nan, 4.0], [1.0]], True),
    ]:
        passes.clear()
        params = given_params([np.array(g) for g in grads], torch.float32)
        in_torch.clip_grad_norm_(params, limit)
        assert passes == [False, *[True] * written]
    passes.clear()
    small, large = np.array([0.5, 0.5]), np.array([3.0, 4.0])
    new = clipping.clipped(clipping.clip_by_norm(max_norm=1.0), [small, large], donate=True)
    assert passes == [False, True] and new[0].tolist() == [0.5, 0.5] and np.allclose(new[1], [0.6, 0.8])


def test_gradients_that_share_memory_are_each_made_of_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def shared() -> list[Any]:
        memory = torch.arange(1.0, 9.0)
        params = [torch.nn.Parameter(torch.zeros(n)) for n in (4, 4, 8)]
        for p, g in zip(params, (memory[:4], memory[2:6], torch.ones(8)), strict=True):
            p.grad = g
        params.append(params[2])
        return params

    got, want = shared(), shared()
    in_torch.clip_grad_norm_(got, 1.0)
    eagerly(monkeypatch, lambda: in_torch.clip_grad_norm_(want, 1.0))
    for p, q in zip(got, want, strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-6, atol=0)


def test_what_is_not_donated_or_may_not_be_written_stays_as_it_is() -> None:
    g = np.array([3.0, 4.0])
    law = clipping.clip_by_global_norm(max_norm=1.0)
    (new,) = clipping.clipped(law, [g])
    assert new is not g and g.tolist() == [3.0, 4.0]
    g.flags.writeable = False
    (new,) = clipping.clipped(law, [g], donate=True)
    assert g.tolist() == [3.0, 4.0] and np.allclose(new, [0.6, 0.8])
    mine = np.array([3.0, 4.0])
    assert clipping.clipped(law, [mine], donate=True)[0] is mine and np.allclose(mine, [0.6, 0.8])


def test_what_torch_records_or_traces_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    law, taken = clipping.clip_by_global_norm(max_norm=1.0), watched(monkeypatch)
    x = torch.tensor([3.0, 4.0], requires_grad=True)
    (new,) = clipping.clipped(law, [x])
    (slope,) = torch.autograd.grad(new.sum(), x)
    want = torch.tensor([3.0, 4.0], requires_grad=True)
    (right,) = torch.autograd.grad((want / want.norm()).sum(), want)
    torch.testing.assert_close(slope, right)
    with torch.no_grad():
        assert not clipping.clipped(law, [x])[0].requires_grad
    assert taken == [False, True]
    slope = torch.func.grad(lambda x: clipping.clipped(law, [x])[0].sum())(torch.tensor([3.0, 4.0]))
    torch.testing.assert_close(slope, right)
    monkeypatch.setattr(TorchBackend, "unwatched", lambda self, arrays=(): False)
    (p,) = given_params([np.array([3.0, 4.0])])
    assert float(in_torch.clip_grad_norm_([p], 1.0)) == 5.0
    np.testing.assert_allclose(p.grad, [0.6, 0.8], rtol=1e-6)
    assert taken == [False, True, False, False]


def test_complex_gradients_and_subclasses_are_left_to_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = watched(monkeypatch)
    masked = np.ma.masked_array([3.0, 4.0, 1e9], mask=[0, 0, 1])
    for g in (torch.tensor([3 + 4j]), np.array([3 + 4j])):
        assert float(clipping.total_norm([g])) == pytest.approx(5.0)
    (new,) = clipping.clipped(clipping.clip_by_value(limit=5.0), [masked])
    assert new.mask.tolist() == masked.mask.tolist() and new[:2].tolist() == [3.0, 4.0]
    assert taken == [False] * 3


def test_other_tensors_and_thresholds_compile_nothing() -> None:
    """No kernel is compiled for new tensors and thresholds: in training each step has new gradients."""

    def step(k: int) -> None:
        params = given_params([np.ones(n + k) for n in (3, 5, 7)], torch.float32)
        in_torch.clip_grad_norm_(params, 0.5 + k)
        in_torch.clip_grad_norm_(params, 0.5 + k, 3.0)
        in_torch.clip_grad_value_(params, 0.5 + k)

    step(0)
    before = compiled.kernels()[1]
    step(1)
    assert compiled.kernels()[1] == before
