"""The torch adapter in one pass: whatever is done between steps, the numbers are those of eager execution."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import optcore
from optcore.adapters import torch as ours
from optcore.backends.torch import TorchBackend
from optcore.rule import rule

Act = Callable[[list[nn.Parameter], Any, int], None]


def trained(act: Act, name: str = "AdamW", steps: int = 5, dtype: Any = torch.float64, **options: Any) -> Any:
    """Make steps with an action before each; return the parameters and the number of steps on the fast route."""
    torch.manual_seed(0)
    params = [nn.Parameter(torch.randn(s, dtype=dtype)) for s in ((6, 4), (4,), (3, 4, 5, 5), ())]
    optimizer = getattr(ours, name)(params, lr=0.01, **options)
    fast = 0
    for step in range(steps):
        for p in params:
            p.grad = torch.randn(p.shape, dtype=dtype).to(p.dtype)
        act(params, optimizer, step)
        optimizer.step()
        fast += optimizer._ready is not None
    return [p.detach().clone() for p in params], fast


def _nothing(params: Any, optimizer: Any, step: int) -> None:
    pass


def _swap_data(params: Any, optimizer: Any, step: int) -> None:
    for p in params:
        p.data = p.data.clone()


def _channels_last(params: Any, optimizer: Any, step: int) -> None:
    if step == 1:
        params[2].data = params[2].data.to(memory_format=torch.channels_last)
    if step > 2:
        params[2].grad = params[2].grad.to(memory_format=torch.channels_last)


def _odd_gradient(params: Any, optimizer: Any, step: int) -> None:
    params[0].grad = params[0].grad.t().contiguous().t()
    params[1].grad = torch.ones(1, dtype=params[1].dtype).expand(4)


def _aliased_gradient(params: Any, optimizer: Any, step: int) -> None:
    params[0].grad = params[0].detach()
    params[1].grad = params[1].detach().flip(0)


def _none_now_and_then(params: Any, optimizer: Any, step: int) -> None:
    params[step % 4].grad = None


def _options_change(params: Any, optimizer: Any, step: int) -> None:
    optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
    optimizer.param_groups[0]["weight_decay"] = [0.0, 0.1][step % 2]
    optimizer.param_groups[0]["maximize"] = step == 3


def _tensor_rate(params: Any, optimizer: Any, step: int) -> None:
    optimizer.param_groups[0]["lr"] = torch.tensor(0.05, dtype=torch.float64) if step % 2 else 0.01


def _reload(params: Any, optimizer: Any, step: int) -> None:
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def _state_replaced(params: Any, optimizer: Any, step: int) -> None:
    if step:
        mine = optimizer.state[params[0]]
        mine["exp_avg"] = mine["exp_avg"] * 0.5
        optimizer.state[params[1]] = {k: v.clone() for k, v in optimizer.state[params[1]].items()}


def _state_moved(params: Any, optimizer: Any, step: int) -> None:
    for mine in optimizer.state.values():
        mine["exp_avg"].data = mine["exp_avg"].data.clone()


def _count_set(params: Any, optimizer: Any, step: int) -> None:
    if step == 2:
        optimizer.state[params[0]]["step"].fill_(40.0)


def _another_group(params: Any, optimizer: Any, step: int) -> None:
    if step == 2:
        params.append(nn.Parameter(torch.ones(3, dtype=params[0].dtype)))
        optimizer.add_param_group({"params": [params[-1]], "lr": 0.3, "betas": (0.5, 0.6)})
        params[-1].grad = torch.ones_like(params[-1])


def _frozen(params: Any, optimizer: Any, step: int) -> None:
    params[0].requires_grad_(step < 2)
    if step >= 2:
        params[0].grad = None


def _count_replaced(params: Any, optimizer: Any, step: int) -> None:
    if step == 2:
        optimizer.state[params[0]]["step"] = torch.tensor(3)
        optimizer.state[params[1]]["step"] = torch.tensor(3.0, dtype=torch.float64)


def _count_shared(params: Any, optimizer: Any, step: int) -> None:
    if step == 2:
        optimizer.state[params[0]]["step"] = optimizer.state[params[1]]["step"].clone()


def _state_dtype(params: Any, optimizer: Any, step: int) -> None:
    if step == 2:
        mine = optimizer.state[params[0]]["exp_avg"]
        mine.data = mine.data.float()


def _state_order(params: Any, optimizer: Any, step: int) -> None:
    if step == 2:
        mine = optimizer.state[params[0]]["exp_avg"]
        mine.data = mine.data.t().contiguous().t()


def _order_switched(params: Any, optimizer: Any, step: int) -> None:
    if step == 0:
        params[2].data = params[2].data.to(memory_format=torch.channels_last)
    if step == 3:
        params[2].data = params[2].data.contiguous()
    if step < 3:
        params[2].grad = params[2].grad.to(memory_format=torch.channels_last)


def _group_replaced(params: Any, optimizer: Any, step: int) -> None:
    if step == 2:
        optimizer.param_groups[0] = dict(optimizer.param_groups[0], lr=0.5)


def _list_changed(params: Any, optimizer: Any, step: int) -> None:
    if "betas" in optimizer.param_groups[0]:
        if step == 1:
            optimizer.param_groups[0]["betas"] = [0.9, 0.99]
        if step == 3:
            optimizer.param_groups[0]["betas"][0] = 0.1


def _negative_bit(params: Any, optimizer: Any, step: int) -> None:
    params[0].grad = torch._neg_view(params[0].grad)


def _no_gradient(params: Any, optimizer: Any, step: int) -> None:
    if step in (0, 3):
        for p in params:
            p.grad = None


ACTS = [
    _nothing, _swap_data, _channels_last, _odd_gradient, _aliased_gradient, _none_now_and_then, _options_change,
    _tensor_rate, _reload, _state_replaced, _state_moved, _count_set, _another_group, _frozen,
    _count_replaced, _count_shared, _state_dtype, _state_order, _order_switched, _group_replaced, _list_changed,
    _negative_bit, _no_gradient,
]  # fmt: skip


ON_ADAM = (_state_replaced, _state_moved, _state_dtype, _state_order)  # they name a field of its state
CASES = [(name, act) for name in ("AdamW", "Adagrad") for act in ACTS if name == "AdamW" or act not in ON_ADAM]


@pytest.mark.parametrize(("name", "act"), CASES, ids=lambda x: x if isinstance(x, str) else x.__name__.strip("_"))
def test_what_is_done_between_steps_changes_no_number(name: str, act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    got, _ = trained(act, name)
    monkeypatch.setattr(TorchBackend, "unwatched", lambda self: False)
    want, fast = trained(act, name)
    assert fast == 0
    for x, y in zip(got, want, strict=True):  # a product with the reciprocal for a quotient: 1 unit of a step each time
        torch.testing.assert_close(x, y, rtol=1e-14, atol=1e-15)


def test_the_fast_way_is_taken_from_the_first_step_on() -> None:
    assert trained(_nothing)[1] == 5
    assert trained(_swap_data)[1] == 5
    assert trained(_options_change)[1] == 5
    assert trained(_odd_gradient)[1] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_is_rounded_once_as_in_eager_execution(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    got, fast = trained(_nothing, "Lion", dtype=dtype)
    assert fast == 5
    monkeypatch.setattr(TorchBackend, "unwatched", lambda self: False)
    want, _ = trained(_nothing, "Lion", dtype=dtype)
    assert all(torch.equal(x, y) for x, y in zip(got, want, strict=True))


def test_parameters_that_are_views_of_one_memory_are_moved_one_after_the_other() -> None:
    whole = torch.zeros(6, dtype=torch.float64)
    params = [nn.Parameter(whole[:4]), nn.Parameter(whole[2:])]
    optimizer = ours.SGD(params, lr=1.0)
    for p in params:
        p.grad = torch.ones(4, dtype=torch.float64)
    optimizer.step()
    assert optimizer._ready is None
    reference = torch.zeros(6, dtype=torch.float64)
    views = [nn.Parameter(reference[:4]), nn.Parameter(reference[2:])]
    for p in views:
        p.grad = torch.ones(4, dtype=torch.float64)
    torch.optim.SGD(views, lr=1.0).step()
    assert torch.equal(whole[:2], reference[:2]) and torch.equal(whole[4:], reference[4:])


def test_a_graph_that_saved_a_parameter_notices_the_step() -> None:
    w = nn.Parameter(torch.ones(3))
    x = torch.ones(3, requires_grad=True)
    loss = (w * x).sum()
    w.grad = torch.ones(3)
    ours.SGD([w], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_many_groups_with_rates_and_counts_of_their_own_are_one_pass() -> None:
    torch.manual_seed(0)
    start = [torch.randn(5, dtype=torch.float64) for _ in range(6)]
    grads = [torch.randn(5, dtype=torch.float64) for _ in range(6)]
    found = {}
    for library in (ours, torch.optim):
        params = [nn.Parameter(x.clone()) for x in start]
        groups = [{"params": [p], "lr": 0.01 * (i + 1), "betas": (0.5 + i / 20, 0.9)} for i, p in enumerate(params)]
        optimizer = library.AdamW(groups)
        for step in range(4):
            for i, p in enumerate(params):
                p.grad = grads[i] if i <= step + 2 else None
            optimizer.step()
        found[library] = params
    for x, y in zip(found[ours], found[torch.optim], strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=0)


def test_a_step_that_is_watched_is_eager() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = ours.AdamW([p])
    with Watch():
        optimizer.step()
    assert seen and optimizer._ready is None


def test_clipping_by_global_norm_is_over_every_group() -> None:
    recipe = optcore.Recipe("sgd", lr=1.0, clip=optcore.clipping.clip_by_global_norm(max_norm=1.0))
    params = [nn.Parameter(torch.zeros(4, dtype=torch.float64)) for _ in range(2)]
    optimizer = ours.from_recipe(recipe, [{"params": [params[0]]}, {"params": [params[1]], "lr": 0.5}])
    for p in params:
        p.grad = torch.full((4,), 3.0, dtype=torch.float64)
    optimizer.step()
    assert optimizer._ready is not None
    n = (8 * 9.0) ** 0.5
    torch.testing.assert_close(params[0].detach(), torch.full((4,), -3.0 / n, dtype=torch.float64))
    torch.testing.assert_close(params[1].detach(), torch.full((4,), -1.5 / n, dtype=torch.float64))


def test_an_optimizer_that_is_deleted_is_freed_at_once() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = ours.AdamW([p])
    optimizer.step()
    gone = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer
        assert gone() is None
    finally:
        gc.enable()


def test_a_rule_that_is_defined_again_is_the_new_one() -> None:
    moved = []
    for factor in (1.0, 10.0):

        def again(xp: Any, p: Any, g: Any, s: Any, t: Any, *, factor: float = factor) -> Any:
            return factor * g, s

        p = nn.Parameter(torch.zeros(1))
        p.grad = torch.ones(1)
        ours.from_recipe(optcore.Recipe(rule()(again), lr=1.0), [p]).step()
        moved.append(float(p.detach()))
    assert moved == [-1.0, -10.0]


def test_a_checkpoint_whose_unused_buffer_is_none_loads() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = ours.SGD([p], lr=0.1, momentum=0.9)
    state = torch.optim.SGD([p], lr=0.1, momentum=0.9).state_dict()
    state["state"] = {0: {"momentum_buffer": None}}
    optimizer.load_state_dict(state)
    optimizer.step()
    assert torch.equal(p.detach(), torch.full((3,), 0.9))


def test_a_group_added_late_follows_the_schedule_where_it_is() -> None:
    params = [nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = ours.SGD(params[:1], lr=optcore.schedules.cosine(peak=1.0, steps=10))
    for step in range(6):
        if step == 5:
            optimizer.add_param_group({"params": params[1:]})
        for p in params:
            p.grad = torch.ones(1)
        optimizer.step()
    assert optimizer.param_groups[0]["lr"] == optimizer.param_groups[1]["lr"] == pytest.approx(0.5)
    assert float(params[1].detach()) == pytest.approx(0.5)


def test_a_state_that_was_replaced_is_freed() -> None:
    p = nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = ours.AdamW([p])
    optimizer.step()
    old = weakref.ref(optimizer.state[p]["exp_avg"])
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    assert old() is None


def test_gradients_that_come_and_go_keep_the_fast_way() -> None:
    params = [nn.Parameter(torch.ones(3)) for _ in range(3)]
    optimizer = ours.AdamW(params)
    seen = set()
    for step in range(8):
        for i, p in enumerate(params):
            p.grad = None if step > 1 and i == step % 2 else torch.ones(3)
        optimizer.step()
        seen.add(id(optimizer._ready))
    assert None not in seen and len(seen) == 3
