"""The engine for lists of tensors: the graph of a law, run by torch's foreach, gives the law's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lists import ALIKE, DTYPES, LAWS, RULES, after, by_lists, by_operations, common, equal, job, lawful
from lists import on_cpu as on_cpu
from loops import LOOPS

from optcore import leaf as template
from optcore.backends.torch import backend
from optcore.requests import Handler, interpret
from optcore.testing import Bounded, BoundNamespace
from optcore.testing.bound import TINY, UNITS

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_every_rule_without_rows_columns_and_matrices_is_run_by_lists() -> None:
    """It also runs some rules that distinguish axes, for values of a switch with which they do not."""
    assert set(RULES) >= set(LOOPS)


def test_which_rules_round_alike_is_read_off_their_operations() -> None:
    assert "adamw" in ALIKE and "lamb" in ALIKE
    assert "exponentiated_gradient" not in ALIKE and "clip_by_global_norm" not in ALIKE


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALIKE)
def test_rules_of_operations_rounded_once_equal_eager_execution_bit_for_bit(name: str, dtype: str) -> None:
    law = RULES[name]
    leaves, shared = job(law, dtype)
    for _ in range(3):
        want, _ = by_operations(law, leaves, shared)
        got, shared = by_lists(law, leaves, shared)
        for x, y in zip(got, want, strict=True):
            equal(x, y)
        leaves = after(law, leaves, got)


def certified(law: Any, leaves: Any, shared: Any, dtype: str) -> list[tuple[Any, ...]]:
    """Return, for each leaf, parameter and state with the error bounds of one step from exactly these inputs."""
    compute = "float64" if dtype == "float64" else "float32"
    ns: Any = BoundNamespace(compute)
    exact = lambda x: None if x is None else ns.exact(backend.numpy(backend.cast(x, compute)))  # noqa: E731
    laws = []
    for one in leaves:
        of_all, fields = iter(shared), zip(law.fields, law.unpack(one.state), strict=True)
        state = [exact(next(of_all) if f.shared else x) for f, x in fields]
        laws.append(template.update(law, ns, exact(one.p), exact(one.g), law.pack(state), one.t, one.values))
    return [(new, *law.unpack(state)) for (new, _), state in interpret(laws, Bounds(ns))]


class Bounds(Handler):
    """A handler that gives totals a bound which holds for any order of summation."""

    def __init__(self, ns: Any) -> None:
        self.ns = ns

    def total(self, parts: Any) -> Any:
        local = [part.value for part in parts]
        whole = Bounded(self.ns, np.stack([x.value for x in local]), np.stack([x.error for x in local]))
        return [self.ns.max(whole) if parts[0].how == "max" else self.ns.sum(whole)] * len(parts)


def lies_within(x: Any, want: Bounded, dtype: str, compute: str) -> bool:
    error = want.error * (2.0 if compute == "float64" else 1.0)  # in float64 the reference is rounded as well
    if dtype != compute:
        error = error + UNITS[dtype] * (np.abs(want.value) + error) + TINY[dtype]
    return bool(np.all(np.abs(backend.numpy(x).astype(np.float64) - want.value) <= error))


def proven(law: Any, dtype: str, device: str = "cpu") -> None:
    """Assert that three steps, each from the results of the one before, lie in their bounds."""
    compute = "float64" if dtype == "float64" else "float32"
    leaves, shared = job(law, dtype, device=device)
    for _ in range(3):
        with np.errstate(all="ignore"):
            bounds = certified(law, leaves, shared, dtype)
        got, shared = by_lists(law, leaves, shared)
        for x, want in zip(got, bounds, strict=True):
            assert lies_within(x[0], want[0], dtype, compute)
            assert all(a is None or lies_within(a, b, compute, compute) for a, b in zip(x[1:], want[1:], strict=True))
        leaves = after(law, leaves, got)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_every_rule_lies_in_the_bound_certified_from_its_law(name: str, dtype: str) -> None:
    with np.errstate(all="ignore"):
        proven(RULES[name], dtype)


@pytest.mark.gpu
@CUDA
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_on_cuda_every_rule_lies_in_the_bound_that_the_cpu_lies_in(name: str, dtype: str) -> None:
    with np.errstate(all="ignore"):
        proven(RULES[name], dtype, "cuda")


@pytest.mark.parametrize("name", ["clip_by_global_norm", "prodigy"])
def test_totals_are_over_the_leaves_of_all_dtypes(name: str) -> None:
    """Arrays in float32 agree to 16 units, since eager execution sums in another order."""
    law = RULES[name]
    leaves = [one for dtype in DTYPES for one in job(law, dtype)[0]]
    shared = common(law, leaves[0].state)
    want, best = by_operations(law, leaves, shared)
    got, new = by_lists(law, leaves, shared)
    for x, y in zip([*got, new], [*want, best], strict=True):
        for a, b in zip(x, y, strict=True):
            if a is not None:
                room = 2.0**-7 if a.dtype is torch.bfloat16 else 2.0**-20  # a unit, which another last bit may cost
                torch.testing.assert_close(a, b, rtol=room, atol=room)


@pytest.mark.gpu
@CUDA
@pytest.mark.parametrize("name", ["clip_by_global_norm", "prodigy"])
def test_totals_are_over_the_leaves_of_all_devices(name: str) -> None:
    """They agree to 16 units of float32, since the sums are formed in another order."""
    law = RULES[name]
    leaves, shared = job(law, "float32")
    want, _ = by_lists(law, leaves, shared)
    for one in leaves[::2]:
        one.p, one.g = one.p.cuda(), one.g.cuda()
        one.state = law.pack([x if x is None else x.cuda() for x in law.unpack(one.state)])
    got, _ = by_lists(law, leaves, shared)
    for x, y in zip(got, want, strict=True):
        for a, b in zip(x, y, strict=True):
            if a is not None:
                torch.testing.assert_close(a.cpu(), b.cpu(), rtol=2.0**-20, atol=2.0**-20)


SPECIAL = torch.tensor([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.5, 1e30, -1e-30, 3e38, 1e-40, 7.0])


@pytest.mark.parametrize("name", RULES)
def test_nan_and_inf_come_out_as_in_eager_execution(name: str) -> None:
    law = RULES[name]
    for k in range(len(SPECIAL)) if law.kind == "leafwise" else [0]:  # a norm spreads what it meets
        shapes = ((1,),) if law.kind == "leafwise" else ((12,), (3, 4))
        leaves, shared = job(law, "float32", shapes, odd=SPECIAL.roll(k))
        want, _ = by_operations(law, leaves, shared)
        got, _ = by_lists(law, leaves, shared)
        for x, y in zip(got, want, strict=True):
            if name in ALIKE:
                equal(x, y)
            else:
                assert all(a is None or torch.equal(a.isnan(), b.isnan()) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAWS)
def test_each_operation_is_that_of_the_namespace(name: str, dtype: str) -> None:
    """They agree to 16 units, since each library function may be 8 off (optcore.testing.bound.ELEMENTARY)."""
    law = lawful(name)
    leaves, shared = job(law, dtype, ((), (1,), (7,), (4, 3)))
    want, _ = by_operations(law, leaves, shared)
    got, _ = by_lists(law, leaves, shared)
    room = 16 * UNITS[dtype]
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x[0], y[0], rtol=room, atol=room, equal_nan=True)
    for x, one in zip(got, leaves, strict=True):
        assert x[0] is not one.g and x[0].is_contiguous()
