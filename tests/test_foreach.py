"""Lists of tensors: the graph of a law, run by torch's foreach, is the law."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import optcore
from optcore import backends
from optcore import leaf as template
from optcore.adapters import torch as ours
from optcore.backends import drive, fused
from optcore.backends.drive import Leaf, eager, laid_out, numbers, start
from optcore.backends.fused import elsewhere
from optcore.backends.torch import backend
from optcore.effects import Max
from optcore.rule import rule
from optcore.testing import Bounded, BoundNamespace, subjects
from optcore.testing.bound import TINY, UNITS
from optcore.testing.laws import ready
from optcore.typing import Array, Shared

SHAPES = ((), (1,), (7,), (4, 3), (0,))
DTYPES = ("float32", "float64", "bfloat16")
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors on the CPU take the way of those elsewhere."""
    monkeypatch.setattr(elsewhere, "ON_CPU", True)
    monkeypatch.setattr(fused, "usable", lambda: False)


def job(law: Any, dtype: str, shapes: Any = SHAPES, device: str = "cpu", odd: Any = None) -> tuple[Any, Any]:
    """Leaves of two groups, of different rates and step counts, and the shared fields."""
    draw = torch.Generator().manual_seed(1)
    leaves = []
    for k, shape in enumerate(shapes):
        values = laid_out(numbers(law.bind(lr=0.01 * (1 + k % 2)).complete(), backend, 0), "out_in")
        p, g = (torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
        for x, shift in ((p, 0), (g, 2)) if odd is not None else ():
            x.view(-1)[:] = odd.roll(shift * k)[: x.numel()]
        p, g = (x.to(getattr(torch, dtype)).to(device) for x in (p, g))
        leaves.append(Leaf(p, g, start(law, backend, p, values), 1 + k % 3, values))
    return leaves, common(law, leaves[0].state)


def common(law: Any, state: Any) -> list[Any]:
    return [x for x, f in zip(law.unpack(state), law.fields, strict=True) if f.shared]


def by_lists(law: Any, leaves: Any, shared: Any, *, donate: bool = False) -> tuple[list[Any], list[Any]]:
    """For each leaf its new parameter and its state's arrays, and the shared fields."""
    found = elsewhere.beside(None, law, leaves, shared, donate, False)
    assert found.taken == set(range(len(leaves)))
    results, new = found.run(1)
    return [(results[i][0], *results[i][1]) for i in range(len(leaves))], new


def by_operations(law: Any, leaves: Any, shared: Any) -> tuple[list[Any], list[Any]]:
    done, new = eager(law, backend, leaves, shared)
    return [(moved.p, *arrays) for moved, arrays in done], new


def after(law: Any, leaves: Any, arrays: Any) -> list[Leaf]:
    """The next step's leaves."""
    draw = torch.Generator().manual_seed(int(leaves[0].t))
    return [
        Leaf(x[0], torch.randn(old.p.shape, generator=draw).to(old.g), law.pack(list(x[1:])), old.t + 1, old.values)
        for old, x in zip(leaves, arrays, strict=True)
    ]


def taken(law: Any) -> bool:
    try:
        leaves, shared = job(law, "float32", ((4, 3),))
    except ValueError:  # a rule of matrices alone
        return False
    return elsewhere.Foreach(law, leaves, shared, False, False).add(0)


def rounds_alike(law: Any) -> bool:
    """Whether every node is rounded once and in one way by whoever computes it.

    Not so: library functions, sums in another order (totals), and a number over an array, where torch's operator
    multiplies by a reciprocal.
    """
    leaves, shared = job(law, "float32", ((4, 3),))
    found = elsewhere.Foreach(law, leaves, shared, False, False)
    found.add(0)
    ((_, group),) = found.groups.items()
    nodes, numbers = group.program.nodes, group.constants[0]
    divides = [nodes[args[0]] for op, args, _ in nodes if op == "div"]
    if any(op == "constant" and numbers[at] != 1.0 for op, _, at in divides):
        return False
    return not {"exp", "expm1", "log", "cos", "pow", "total"} & {op for op, _, _ in nodes}


RULES = {name: law for name, law in ((n, ready(r)) for n, r in subjects().items()) if taken(law)}
ALIKE = [name for name, law in RULES.items() if rounds_alike(law)]


def equal(first: Any, second: Any) -> None:
    """Same bits, but for the sign of a zero and what a NaN carries; same dtype and shape."""
    for x, y in zip(first, second, strict=True):
        if x is None or y is None:
            assert x is y
        else:
            torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


def test_every_rule_without_rows_columns_and_matrices_is_run_by_lists() -> None:
    assert set(RULES) == {name for name, law in subjects().items() if not law.axes}


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
    """For each leaf the parameter and the state's arrays with the bounds of a step from these very inputs."""
    compute = "float64" if dtype == "float64" else "float32"
    ns: Any = BoundNamespace(compute)
    exact = lambda x: None if x is None else ns.exact(backend.numpy(backend.cast(x, compute)))  # noqa: E731
    laws = []
    for one in leaves:
        of_all, fields = iter(shared), zip(law.fields, law.unpack(one.state), strict=True)
        state = [exact(next(of_all) if f.shared else x) for f, x in fields]
        laws.append(template.update(law, ns, exact(one.p), exact(one.g), law.pack(state), one.t, one.values))
    answer: Any = None
    results = []
    while not results:
        requests = []
        for each in laws:
            try:
                requests.append(each.send(answer))
            except StopIteration as stop:
                results.append(stop.value)
        if requests:
            several = isinstance(requests[0], tuple)
            totals = [total(ns, parts) for parts in zip(*(r if several else (r,) for r in requests), strict=True)]
            answer = tuple(totals) if several else totals[0]
    return [(new, *law.unpack(state)) for (new, _), state in results]


def total(ns: Any, parts: Any) -> Bounded:
    """A total with the bound of any order of its sum."""
    largest = isinstance(parts[0], Max)
    local = [x.value if largest else x for x in parts]
    whole = Bounded(ns, np.stack([x.value for x in local]), np.stack([x.error for x in local]))
    return ns.max(whole) if largest else ns.sum(whole)


def lies_within(x: Any, want: Bounded, dtype: str, compute: str) -> bool:
    error = want.error * (2.0 if compute == "float64" else 1.0)  # in float64 the reference is rounded as well
    if dtype != compute:
        error = error + UNITS[dtype] * (np.abs(want.value) + error) + TINY[dtype]
    return bool(np.all(np.abs(backend.numpy(x).astype(np.float64) - want.value) <= error))


def proven(law: Any, dtype: str, device: str = "cpu") -> None:
    """Three steps, each from the inputs that the one before gave."""
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
    """To 16 units of float32 for what is kept in it: eager execution forms the sums in another order."""
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
    """To 16 units of float32: the sums are formed in another order."""
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


UNARY = ("abs", "sign", "sqrt", "exp", "log", "expm1", "cos", "floor")
LAWS: dict[str, Any] = {
    **{name: lambda xp, p, g, name=name: getattr(xp, name)(g) for name in UNARY},
    "a number less an array": lambda xp, p, g: 2.5 - g,
    "a number over an array": lambda xp, p, g: 2.5 / (1.0 + g * g),
    "one over an array": lambda xp, p, g: 1.0 / g,
    "a power": lambda xp, p, g: xp.abs(g) ** 0.7,
    "largest": lambda xp, p, g: xp.maximum(g, p) + xp.maximum(g, xp.zeros_like(g)),
    "smallest": lambda xp, p, g: xp.minimum(g, p) + xp.minimum(g, xp.ones_like(g)),
    "choice": lambda xp, p, g: xp.where((g > 0.5) & ~(p <= g) | (g == 0), xp.ones_like(g), xp.zeros_like(g)),
    "choice of arrays": lambda xp, p, g: xp.where(xp.isfinite(g), p, g),
    "choice of a choice": lambda xp, p, g: xp.where((g < p) | (g >= 1) | (g != g), p * g, xp.sign(p)),
    "an array and a sum": lambda xp, p, g: (g - xp.sum(g)) / xp.sum(p * p) + xp.sum(p),
    "a sum and an array": lambda xp, p, g: xp.sum(g) - g + xp.maximum(xp.sum(p), p) + xp.sum(p) / (p * p + 1),
    "a sum of ones": lambda xp, p, g: g / (xp.sum(xp.ones_like(g)) + 1.0),
    "largest of all": lambda xp, p, g: g / xp.max(xp.abs(g)) - xp.max(g),
    "nothing": lambda xp, p, g: xp.zeros_like(g),
    "itself": lambda xp, p, g: g,
}


def lawful(name: str) -> Any:
    """A rule whose new parameter is one of these expressions."""

    @rule(owns="p", kind="leafwise")
    def law(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return LAWS[name](xp, p, g), s

    return law


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAWS)
def test_each_operation_is_that_of_the_namespace(name: str, dtype: str) -> None:
    """To 16 units: a library function may be 8 off on either side (optcore.testing.bound.ELEMENTARY)."""
    law = lawful(name)
    leaves, shared = job(law, dtype, ((), (1,), (7,), (4, 3)))
    want, _ = by_operations(law, leaves, shared)
    got, _ = by_lists(law, leaves, shared)
    room = 16 * UNITS[dtype]
    for x, y in zip(got, want, strict=True):
        torch.testing.assert_close(x[0], y[0], rtol=room, atol=room, equal_nan=True)
    for x, one in zip(got, leaves, strict=True):
        assert x[0] is not one.g and x[0].is_contiguous()


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
    """Fields that take one another's place, a single number for each leaf and one for all."""
    largest = yield Max(xp.max(xp.abs(g)))
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
    """Counts what is launched and what memory is live at once; making an empty tensor launches nothing."""

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
    largest = yield Max(s.d + 2.0)
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
    monkeypatch.setattr(elsewhere, "ON_CPU", False)
    monkeypatch.setattr(drive, "eager", refuse)
    params = [nn.Parameter(torch.zeros(3, device="meta")), nn.Parameter(torch.zeros(2, 2, device="meta"))]
    optimizer = getattr(ours, name)(params, lr=0.1)
    for p in params:
        p.grad = torch.ones_like(p)
    for _ in range(2):
        optimizer.step()
    assert all(optimizer.state[p]["step"] == 2 for p in params)


def test_tensors_on_the_cpu_are_left_to_others_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "ON_CPU", False)
    leaves, shared = job(optcore.adamw, "float32")
    assert fused.prepare(optcore.adamw, backend, leaves, shared) is None


def trained(fuse: bool, monkeypatch: pytest.MonkeyPatch, steps: int = 5) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(*((drive, "eager", refuse) if fuse else (fused, "prepare", lambda *_, **__: None)))
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
    found = elsewhere.beside(None, optcore.adamw, leaves, shared, True, False)
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
    assert elsewhere.beside(None, optcore.adamw, [one], shared, True, False) is None
