"""The torch adapter's groups, schedules, totals and loading, where several parts must agree."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from typing import Any

import pytest
import torch
from test_torch import every_class, run
from torch import nn

import optcore
from optcore import schedules
from optcore.adapters import native
from optcore.adapters import torch as ours

STEEP = schedules.piecewise(start=1.0, points=[(1, 0.1)])


def test_any_option_may_be_a_schedule_in_named_classes_and_groups() -> None:
    a, b = (nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    optimizer = ours.SGD(
        [{"params": [a], "weight_decay": schedules.constant(value=0.5)}, {"params": [b], "lr": 0.5}], lr=STEEP
    )
    seen = []
    for _ in range(3):
        a.grad, b.grad = torch.ones_like(a), torch.ones_like(b)
        optimizer.step()
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"]))
    assert seen == [(1.0, 0.5), (0.1, 0.5), (0.1, 0.5)]
    assert b.item() == -1.5 and a.item() == pytest.approx(-1.0 - 0.1 * 0.5 - 0.1 * (1 - 0.5 * 1.05))
    again = pickle.loads(pickle.dumps(optimizer))
    assert again.param_groups[0]["schedules"] == optimizer.param_groups[0]["schedules"]


def constant(value: float) -> Any:
    """Return a number of either sign as a schedule."""
    size, sign = abs(value), 1.0 if value >= 0 else -1.0
    return schedules.proportion(of=size, low=0.0, high=1.0, to_low=0.0, to_high=sign)


@pytest.mark.parametrize("name", every_class())
def test_a_constant_schedule_is_its_number_in_every_option_of_every_class(name: str) -> None:
    cls = getattr(ours, name)
    want, _ = run(cls, shapes=((4, 3), (3, 5)), steps=2)
    for option in inspect.signature(cls).parameters.values():
        given = option.default
        if isinstance(given, tuple):
            law: Any = tuple(x if x is None else constant(x) for x in given)
        elif isinstance(given, float) or option.annotation == "float":
            law = constant(given)
        else:
            continue
        got, optimizer = run(lambda p, o={option.name: law}: cls(p, **o), shapes=((4, 3), (3, 5)), steps=2)
        assert all(map(torch.equal, got, want)), option.name
        assert optimizer.param_groups[0][option.name] == given


def ones(n: int = 1) -> list[nn.Parameter]:
    params = [nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(n)]
    for p in params:
        p.grad = torch.full_like(p, 0.5)
    return params


SINKING = schedules.proportion(
    of=schedules.linear(start=1.0, end=0.0, steps=1), low=0.0, high=1.0, to_low=-1.0, to_high=1.0
)
FALLING = schedules.linear(start=0.9, end=0.5, steps=4)


def test_a_schedule_inside_a_tuple_is_shown_as_its_number_and_kept_as_text() -> None:
    """The parameters are those of the pure optimizer, also after loading a saved state and in a group of its own."""
    (p,) = params = ones()
    optimizer = ours.AdamW(params, lr=0.1, betas=(FALLING, 0.99))
    recipe = optcore.Recipe("adam", lr=0.1, beta1=FALLING, beta2=0.99, weight_decay=1e-2, decay="before")
    pure, tree = optcore.backends.Optimizer(recipe), {"p": p.detach().clone()}
    state, shown = pure.init(tree), [optimizer.param_groups[0]["betas"]]
    for i in range(6):
        if i == 2:  # elsewhere, from the file alone
            file = io.BytesIO()
            torch.save(optimizer.state_dict(), file)
            file.seek(0)
            optimizer = ours.AdamW(params, lr=0.1, betas=(FALLING, 0.99))
            optimizer.load_state_dict(torch.load(file, weights_only=True))
        p.grad = torch.full_like(p, 0.5 - i)
        optimizer.step()
        tree, state = pure.update(tree, {"p": p.grad}, state)
        torch.testing.assert_close(p.detach(), tree["p"], rtol=1e-14, atol=0)
        shown.append(optimizer.param_groups[0]["betas"])
    assert shown == [(FALLING(e), 0.99) for e in (0, 0, 1, 2, 3, 4, 5)]
    for betas in ((0.7, 0.99), (schedules.constant(value=0.7), 0.99)):
        optimizer.add_param_group({"params": ones(), "betas": betas})
    optimizer.add_param_group({"params": ones()})
    optimizer.step()
    assert [g["betas"][0] for g in optimizer.param_groups] == [0.5, 0.7, 0.7, 0.5]
    a, b, _ = (g["params"][0] for g in optimizer.param_groups[1:])
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("AdamW", {"betas": (schedules.linear(start=0.9, end=1.5, steps=2), 0.99)}, "step 1: beta1=1.2"),
        ("SGD", {"momentum": schedules.linear(start=0.5, end=1.5, steps=2)}, "step 1: beta=1.0"),
        ("SGD", {"weight_decay": SINKING}, "step 1: weight_decay=-1.0"),
        ("SGD", {"lr": SINKING}, "learning rate: -1.0"),
    ],
)
@pytest.mark.parametrize("fuse", [True, False])
def test_a_schedule_that_leaves_its_bounds_is_refused_before_anything_moves(
    name: str, options: dict[str, Any], words: str, fuse: bool, monkeypatch: Any
) -> None:
    if not fuse:
        monkeypatch.setattr("optcore.backends.fused.usable", lambda: False)
    params = ones(2)
    optimizer = getattr(ours, name)([{"params": params[:1]}, {"params": params[1:], **options}])
    optimizer.step()
    before, updates = [p.detach().clone() for p in params], [g["updates"] for g in optimizer.param_groups]
    for _ in range(2):
        with pytest.raises(ValueError, match=words):
            optimizer.step()
    assert all(map(torch.equal, params, before)) and [g["updates"] for g in optimizer.param_groups] == updates


@pytest.mark.parametrize("nesterov", [True, False])
def test_a_momentum_that_starts_at_zero_is_a_momentum(nesterov: bool) -> None:
    """The rule does not depend on the value of a schedule, so the average is kept from the first step on."""
    (p,) = params = ones()
    rising = schedules.linear(start=0.0, end=0.8, steps=2)
    optimizer = ours.SGD(params, lr=0.1, momentum=rising, nesterov=nesterov)
    recipe = optcore.Recipe("nesterov" if nesterov else "momentum", lr=0.1, beta=rising)
    pure, tree = optcore.backends.Optimizer(recipe), {"p": p.detach().clone()}
    state = pure.init(tree)
    for _ in range(4):
        optimizer.step()
        tree, state = pure.update(tree, {"p": p.grad}, state)
        torch.testing.assert_close(p.detach(), tree["p"], rtol=1e-14, atol=0)
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum and zero dampening"):
        ours.SGD(params, momentum=rising, dampening=constant(0.0), nesterov=True)


def test_accumulation_counts_a_missing_gradient_as_zero() -> None:
    """Gradients 4, none, none, 2 over cycles of two have the means 2 and 1, as in the tree optimizer."""
    recipe = optcore.Recipe("sgd", lr=1.0, accumulate=2)
    p, other = (nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    optimizer = ours.from_recipe(recipe, [p, other])
    opt = optcore.backends.Optimizer(recipe)
    params, seen = {"p": torch.zeros(1, dtype=torch.float64)}, []
    state = opt.init(params)
    for g in (4.0, None, None, 2.0):
        p.grad = None if g is None else torch.full_like(p, g)
        optimizer.step()
        params, state = opt.update(params, {"p": None if g is None else torch.full_like(p, g)}, state)
        seen.append((p.item(), params["p"].item()))
    assert seen == [(0, 0), (-2, -2), (-2, -2), (-3, -3)]


def test_prodigys_estimate_does_not_depend_on_the_order_of_groups() -> None:
    def estimate(order: int) -> float:
        params = [nn.Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(2)]
        groups = [{"params": [params[0]], "lr": 1.0}, {"params": [params[1]], "lr": 0.1}]
        optimizer = ours.Prodigy(groups[::order])
        for _ in range(60):
            for p in params:
                p.grad = 2 * (p.detach() - 5)
            optimizer.step()
        return optimizer.param_groups[0]["d"].item()

    assert estimate(1) == pytest.approx(estimate(-1), rel=1e-12) and estimate(1) > 0.1


def test_shared_fields_refuse_numbers_that_differ_between_groups() -> None:
    params = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    optimizer = ours.Prodigy([{"params": params[:1]}, {"params": params[1:], "betas": (0.8, 0.99)}])
    for p in params:
        p.grad = torch.ones(2)
    with pytest.raises(ValueError, match=r"prodigy: beta1=0.8 for '1/0' and 0.9 elsewhere"):
        optimizer.step()
    assert not optimizer.state


def test_nothing_moves_where_one_pass_is_refused() -> None:
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = ours.SGD([{"params": [a]}, {"params": [b], "momentum": 0.9}], lr=1.0)
    a.grad, b.grad = torch.ones(2), torch.ones(2).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()
    assert not a.detach().any() and not optimizer.state
    with pytest.raises(ValueError, match="muon: the parameter '0/1' has shape"):
        ours.Muon([nn.Parameter(torch.zeros(2, 2)), a])
    optimizer = ours.from_recipe(optcore.Recipe("sgd", lr=1.0), [a])
    optimizer.param_groups[0]["lr"] = -1.0
    with pytest.raises(ValueError, match=r"Invalid learning rate: -1.0"):
        optimizer.step()
    with pytest.raises(ValueError, match=r"Invalid learning rate: -1.0"):
        ours.SGD([a], lr=torch.tensor(-1.0))


@pytest.mark.parametrize("name", ["Lion", "Prodigy", "AdamW"])
def test_loading_keeps_the_dtype_of_state(name: str) -> None:
    params, optimizer = run(getattr(ours, name), dtype=torch.bfloat16, steps=2)
    twin = getattr(ours, name)(copy.deepcopy(params))
    twin.load_state_dict(optimizer.state_dict())
    for p, q in zip(params, twin.param_groups[0]["params"], strict=True):
        for key, value in optimizer.state[p].items():
            assert twin.state[q][key].dtype == value.dtype and torch.equal(twin.state[q][key], value)


def test_complex_state_moves_between_torch_and_here() -> None:
    z, w = (nn.Parameter(torch.ones(3, dtype=torch.complex128)) for _ in range(2))
    theirs, mine = torch.optim.AdamW([z]), ours.AdamW([w])
    draw = torch.Generator().manual_seed(0)
    for _ in range(3):
        z.grad = torch.randn(3, dtype=torch.complex128, generator=draw)
        w.grad = z.grad.clone()
        theirs.step()
        mine.step()
    assert mine.state[w]["exp_avg"].dtype == torch.complex128
    mine.load_state_dict(theirs.state_dict())
    theirs.step()
    mine.step()
    torch.testing.assert_close(w.detach(), z.detach(), rtol=1e-12, atol=1e-14)


def test_a_capturable_state_keeps_its_addresses() -> None:
    p = nn.Parameter(torch.ones(3))
    optimizer, plain = ours.AdamW([p], capturable=True), None
    p.grad = torch.ones(3)
    optimizer.step()
    before = {k: v.data_ptr() for k, v in optimizer.state[p].items()}
    optimizer.step()
    assert {k: v.data_ptr() for k, v in optimizer.state[p].items()} == before
    q = nn.Parameter(torch.ones(3))
    plain = ours.AdamW([q])
    for _ in range(2):
        q.grad = torch.ones(3)
        plain.step()
    torch.testing.assert_close(p, q)
    assert optimizer.state[p]["step"].item() == 2.0


def _conventions() -> list[tuple[str, str]]:
    """Return pairs of every class and every library that has a convention for it."""
    found = []
    for name in every_class():
        for like in native.LIBRARIES:
            try:
                native.constructor("torch", name, like)
            except ValueError:
                continue
            found.append((name, like))
    assert len(found) > 40
    return found


@pytest.mark.parametrize(("name", "like"), _conventions())
def test_every_class_steps_with_every_convention(name: str, like: str) -> None:
    got, _ = run(lambda p: getattr(ours, name)(p, like=like), shapes=((4, 3), (3, 5)), steps=2)
    assert all(torch.isfinite(p).all() for p in got)
