"""The engine for lists of tensors: the memory that its step writes, its kernel launches, the leaves that it takes."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import pytest
import torch
from lists import LAWS, RULES, by_lists, by_operations, equal, job, lawful
from lists import on_cpu as on_cpu
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import optcore
from optcore import backends
from optcore.adapters import torch as ours
from optcore.backends.eager import Eager
from optcore.backends.fused import engines
from optcore.backends.fused.engines import foreach
from optcore.backends.torch import backend
from optcore.requests import Total
from optcore.rule import rule
from optcore.typing import Array, Shared


class Exchanged(NamedTuple):
    a: Array
    b: Array
    old: Array
    new: Array
    same: Array
    size: Array
    best: Shared


def _begin(xp: Any, p: Any) -> Exchanged:
    zero = xp.sum(p) * 0.0
    return Exchanged(p + 1.0, p + 2.0, xp.zeros_like(p), xp.zeros_like(p), p + 3.0, zero, zero)


@rule(Exchanged, owns="p", kind="leafwise", init=_begin)
def exchanged(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    """A law that exchanges two fields, with a 0-d field of each leaf and a shared one."""
    largest = yield Total(xp.max(xp.abs(g)), "max")
    new = p - g * (1.0 / largest)
    return new, Exchanged(s.b, s.a, p, new, s.same, s.size + xp.sum(p), xp.maximum(s.best, largest))


@pytest.mark.parametrize("donate", [False, True])
def test_fields_that_exchange_their_places_are_not_overwritten_before_they_are_read(donate: bool) -> None:
    leaves, shared = job(exchanged, "float32", ((1,), (7,), (4, 3)))
    for one in leaves:
        one.state = one.state._replace(best=None)
    given = [tuple(exchanged.unpack(one.state)) for one in leaves]
    before = [one.p for one in leaves]
    want, best = by_operations(exchanged, leaves, shared)
    want = [[x if x is None else x.clone() for x in row] for row in want]
    got, new = by_lists(exchanged, leaves, shared, donate=donate)
    for x, y in zip(got, want, strict=True):
        equal(x, y)
    equal(new, best)
    for x, state, p in zip(got, given, before, strict=True):
        held = [x[0] is p, *(a is b for a, b in zip(x[1:-1], state[:-1], strict=True))]
        assert all(held) if donate else not any(held)
        assert len({id(a) for a in x}) == len(x)


@pytest.mark.parametrize("name", RULES)
def test_donated_tensors_are_moved_in_place_to_the_same_bits(name: str) -> None:
    law = RULES[name]
    leaves, shared = job(law, "bfloat16")
    kept = [[x if x is None else x.clone() for x in (one.p, one.g, *law.unpack(one.state))] for one in leaves]
    pure, _ = by_lists(law, leaves, shared)
    for one, old in zip(leaves, kept, strict=True):
        equal((one.p, one.g, *law.unpack(one.state)), old)
    moved, _ = by_lists(law, leaves, shared, donate=True)
    for x, y, one in zip(moved, pure, leaves, strict=True):
        equal(x, y)
        assert x[0] is one.p


def test_tensors_that_share_memory_are_not_moved_in_place() -> None:
    whole = torch.ones(8)
    leaves, shared = job(optcore.sgd.bind(lr=1.0), "float32", ((5,), (5,)))
    for one, part in zip(leaves, (whole[:5], whole[3:]), strict=True):
        one.p, one.g = part, torch.ones(5)
        one.values["lr"] = 1.0
    got, _ = by_lists(optcore.sgd, leaves, shared, donate=True)
    assert all(torch.equal(x[0], torch.zeros(5)) for x in got) and torch.equal(whole, torch.ones(8))


@pytest.mark.parametrize("operation", ["_foreach_sqrt_", "_foreach_div", "_foreach_add_"])
def test_nothing_is_written_when_an_operation_raises(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    params = [torch.randn(4, 3), torch.randn(7).bfloat16(), torch.randn(7).double()]
    grads = [torch.ones_like(p) for p in params]
    opt = backends.Optimizer(optcore.Recipe("adamw", lr=0.1))
    params, state = opt.update(params, grads, opt.init(params), donate=True)
    held = [p.clone() for p in params], [[x.clone() for x in s] for s in state.leaves]
    calls = 0
    real = getattr(torch, operation)

    def fails(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:  # the last of the three dtypes
            raise RuntimeError("out of memory")
        return real(*given)

    monkeypatch.setattr(torch, operation, fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        opt.update(params, grads, state, donate=True)
    equal(params, held[0])
    for x, y in zip(state.leaves, held[1], strict=True):
        equal(x, y)


class Watch(TorchDispatchMode):
    """A counter of kernel launches and of the memory in use at once; making an empty tensor launches nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.launches, self.live, self.most = 0, weakref.WeakSet[Any](), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func._schema.name in ("aten::empty_like", "aten::detach"):
            return found
        lists = [x for x in args if isinstance(x, list | tuple) and torch.is_tensor(x[0])]
        alike = all(len({x.shape for x in each}) == 1 for each in zip(*lists, strict=True))
        self.launches += 1 if alike else len(lists[0])  # torch takes unlike shapes one by one
        if not func._schema.name.endswith("_"):
            self.live.update(x for x in (found if isinstance(found, list | tuple) else (found,)) if torch.is_tensor(x))
            self.most = max(self.most, len(self.live))
        return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adamws_launches_do_not_depend_on_the_number_of_tensors(dtype: str) -> None:
    counts = []
    for n in (2, 40):
        leaves, shared = job(optcore.adamw, dtype, ((4, 3), (7,)) * (n // 2))
        for one in leaves:
            one.t = 3
        with Watch() as watch:
            by_lists(optcore.adamw, leaves, shared, donate=True)
        counts.append(watch.launches)
    assert counts[0] == counts[1] <= 24


class Common(NamedTuple):
    d: Shared


@rule(Common, init=lambda xp, p: Common(xp.sum(p) * 0.0))
def of_one_number(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    largest = yield Total(s.d + 2.0, "max")
    return (g - largest) / largest + (largest - p) * s.d + largest, Common(largest)


def test_a_number_for_all_leaves_costs_one_launch_at_each_use() -> None:
    counts = []
    for n in (2, 40):
        leaves, shared = job(of_one_number, "float32", ((4, 3), (7,)) * (n // 2))
        for one in leaves:
            one.values["lr"] = 0.1
        with Watch() as watch:
            by_lists(of_one_number, leaves, shared, donate=True)
        counts.append(watch.launches)
    assert counts[0] == counts[1]


def test_an_intermediate_list_is_used_again_or_freed() -> None:
    @rule()
    def deep(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        x = g * 2.0
        for k in range(30):
            x = xp.sqrt(xp.abs(0.5 - x * 1.5)) + p / (1.0 + x) + (k + 1.0)
        return x, s

    leaves, shared = job(deep, "float32", ((100,), (50,)))
    with Watch() as watch:
        by_lists(deep, leaves, shared)
    assert watch.most <= 3 * len(leaves)


@pytest.mark.parametrize("name", [*RULES, *LAWS])
def test_nothing_waits_for_the_device(name: str) -> None:
    """Tensors of the meta device have no values: reading one on the host would raise."""
    law = RULES[name] if name in RULES else lawful(name)
    leaves, shared = job(law, "float32", ((7,), (4, 3)), "meta")
    got, new = by_lists(law, leaves, shared, donate=True)
    assert all(x is None or x.is_meta for row in (*got, new) for x in row)


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("operation by operation")


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Lion"])
def test_the_torch_adapter_runs_tensors_on_other_devices_by_lists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreach, "ON_CPU", False)
    monkeypatch.setattr(Eager, "_moved", refuse)
    params = [nn.Parameter(torch.zeros(3, device="meta")), nn.Parameter(torch.zeros(2, 2, device="meta"))]
    optimizer = getattr(ours, name)(params, lr=0.1)
    for p in params:
        p.grad = torch.ones_like(p)
    for _ in range(2):
        optimizer.step()
    assert all(optimizer.state[p]["step"] == 2 for p in params)


def test_tensors_on_the_cpu_are_left_to_others_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreach, "ON_CPU", False)
    leaves, shared = job(optcore.adamw, "float32")
    assert not engines.chosen(optcore.adamw, backend, leaves, shared)


def taker(leaves: Any, shared: Any) -> foreach.Foreach:
    found = foreach.Foreach(optcore.adamw, backend, shared, True)
    found.take(dict(enumerate(leaves)))
    return found


def trained(fuse: bool, monkeypatch: pytest.MonkeyPatch, steps: int = 5) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(*((Eager, "_moved", refuse) if fuse else (engines, "chosen", lambda *_, **__: [])))
        draw = torch.Generator().manual_seed(3)
        params = [nn.Parameter(torch.randn(s, generator=draw)) for s in ((7,), (4, 3), (5,), ())]
        groups = [{"params": params[:2], "lr": 0.1}, {"params": params[2:], "lr": 0.01, "weight_decay": 0.3}]
        optimizer = ours.AdamW(groups, amsgrad=True)
        for k in range(steps):
            for i, p in enumerate(params):
                p.grad = None if (i, k) in ((0, 2), (3, 0)) else torch.randn(p.shape, generator=draw)
            optimizer.step()
        return params, optimizer


def test_groups_of_other_rates_and_leaves_of_other_step_counts_move_in_one_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params, mine = trained(True, monkeypatch)
    others, theirs = trained(False, monkeypatch)
    equal(params, others)
    for p, q in zip(params, others, strict=True):
        assert mine.state[p].keys() == theirs.state[q].keys()
        equal(mine.state[p].values(), theirs.state[q].values())


def test_a_step_count_on_the_device_is_left_to_eager_execution() -> None:
    leaves, shared = job(optcore.adamw, "float32")
    leaves[1].t = torch.tensor(1.0)
    found = taker(leaves, shared)
    assert found.taken == {0, 2, 3, 4}


@pytest.mark.parametrize("what", ["complex", "subclass", "shape", "dtype", "stride"])
def test_what_lists_cannot_hold_is_left_to_eager_execution(what: str) -> None:
    (one,), shared = job(optcore.adamw, "float32", ((4, 3),))
    if what == "complex":
        one.p, one.g = one.p + 0j, one.g + 0j
    elif what == "subclass":
        one.p = one.p.as_subclass(type("Own", (torch.Tensor,), {}))
    elif what == "shape":
        one.state = one.state._replace(m=torch.zeros(3))
    elif what == "dtype":
        one.state = one.state._replace(m=one.state.m.double())
    else:
        one.p = torch.zeros(1, 3).expand(4, 3)
    assert not taker([one], shared).taken
