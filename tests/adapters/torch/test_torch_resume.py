"""Schedulers that go on where a run was interrupted: all of them, in every order of loading, from torch and back."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from resuming import (
    ALONE,
    CASES,
    END,
    ORDERS,
    STOP,
    WHERE,
    L,
    near,
    now,
    optimizer,
    resumed,
    run,
    saved,
    theirs,
)  # fmt: skip

from optcore.adapters import torch as ours


def test_the_walk_is_over_every_scheduler_of_torch_that_is_here() -> None:
    named = {n for n in dir(ours) if n == "SWALR" or issubclass(getattr(L, n, int), L.LRScheduler)}
    assert named == {name.split(",")[0] for name in CASES}


@pytest.mark.exhaustive(share=3)
@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
@pytest.mark.parametrize("name", [*CASES, *ALONE])
def test_a_run_goes_on_with_its_rates_in_every_order_of_loading(name: str, order: Any) -> None:
    def make(o: Any) -> Any:
        return CASES[name](ours, o) if name in CASES else ALONE[name](o)

    for kind, groups in WHERE:
        want, first = run(make(optimizer(kind, groups)), END), make(optimizer(kind, groups))
        run(first, STOP)
        second = resumed(make, saved(first), order, optimizer(kind, groups))
        np.testing.assert_array_equal(run(second, END - STOP, STOP), want[STOP:])
        assert second.last_epoch == END


@pytest.mark.parametrize("name", CASES)
def test_a_run_of_torchs_schedulers_goes_on_with_ours_and_back(name: str) -> None:
    make = CASES[name]
    for kind, groups in WHERE:
        want = run(make(theirs, optimizer(kind, groups)), END)
        first = make(theirs, optimizer(kind, groups))
        run(first, STOP)
        for order in ORDERS:
            second = resumed(lambda o: make(ours, o), saved(first), order, optimizer(kind, groups))
            near(run(second, END - STOP, STOP), want[STOP:])
        order = ("build", "optimizer", "scheduler")  # torch's own resume in no other
        second = resumed(lambda o: make(ours, o), saved(first), order, optimizer(kind, groups))
        run(second, 4, STOP)
        third = resumed(lambda o: make(theirs, o), saved(second), order, optimizer(kind, groups))
        near(run(third, 5, STOP + 4), want[STOP + 4 : STOP + 9])
        fourth = resumed(lambda o: make(ours, o), saved(third), ORDERS[-1], optimizer(kind, groups))
        near(run(fourth, END - STOP - 9, STOP + 9), want[STOP + 9 :])


@pytest.mark.parametrize("name", CASES)
def test_a_state_of_ours_has_the_entries_of_torchs_own(name: str) -> None:
    """They agree at the first step, at an odd one and at the last of a cycle, except the counts of calls."""
    for steps in (0, 3, 6, 7, STOP, 20, 21):
        found = []
        for m in (ours, theirs):
            scheduler = CASES[name](m, optimizer())
            run(scheduler, steps)
            found.append(plain(scheduler.state_dict()))
            for i, group in enumerate(scheduler.optimizer.param_groups):
                found[-1] |= {f"group {i} {k}": group.get(k) for k in KEPT}
        mine, its = found
        assert mine.keys() == its.keys()
        for key, value in its.items():
            assert alike(mine[key], value), (key, mine[key], value)


def alike(a: Any, b: Any) -> bool:
    """Tell whether two entries are equal, numbers up to the rounding of torch's products."""
    if isinstance(b, dict | list):
        pairs = zip(a.values(), b.values(), strict=True) if isinstance(b, dict) else zip(a, b, strict=True)
        return (not isinstance(b, dict) or a.keys() == b.keys()) and all(alike(x, y) for x, y in pairs)
    return a == (pytest.approx(b, rel=1e-9) if isinstance(b, float) else b)


KEPT = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr")
UNSAID = ("optcore", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial")


def plain(state: Any, prefix: str = "") -> dict[str, Any]:
    """Return the entries of a state and of its parts in one dictionary."""
    found = {}
    for key, value in state.items():
        if key == "_schedulers":
            for k, part in enumerate(value):
                found |= plain(part, f"{prefix}{k}.")
        elif key not in UNSAID:
            found[prefix + key] = value
    return found


# Right values


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_the_first_interval_of_a_resumed_cosine_is_at_its_rate(order: Any) -> None:
    def make(o: Any) -> Any:
        return ours.CosineAnnealingLR(o, 100)

    for source in (ours, theirs):
        one = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        first = source.CosineAnnealingLR(one, 100)
        for _ in range(50):
            one.step()
            first.step()
        o = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        second = resumed(make, saved(first), order, o)
        assert o.param_groups[0]["lr"] == pytest.approx(0.05, rel=1e-12)
        assert second.get_last_lr() == [o.param_groups[0]["lr"]]
        o.step()
        second.step()
        assert o.param_groups[0]["lr"] == pytest.approx(0.05 * (1 + math.cos(0.51 * math.pi)), rel=1e-12)


def test_a_rate_that_is_a_tensor_is_written_in_place() -> None:
    def made() -> Any:
        p = torch.nn.Parameter(torch.ones(2))
        return torch.optim.AdamW([p], lr=torch.tensor(0.25), foreach=False, capturable=False)

    for source in (ours, theirs):
        first = source.CosineAnnealingLR(made(), 20)
        run(first, 10)
        o = made()
        o.load_state_dict(first.optimizer.state_dict())
        second = ours.CosineAnnealingLR(o, 20)
        rate = o.param_groups[0]["lr"]
        second.load_state_dict(saved(first)[1])
        assert o.param_groups[0]["lr"] is rate and float(rate) == pytest.approx(0.125, rel=1e-5)


def test_a_rate_edited_by_hand_and_a_second_scheduler_survive() -> None:
    """The state holds the rates of the groups, whatever wrote them."""

    def made(o: Any) -> Any:
        return ours.CosineAnnealingLR(o, 20), ours.SWALR(o, 0.01, 8)

    o = optimizer()
    first, swa = made(o)
    run(first, 6)
    for _ in range(3):
        swa.step()
    want = now(o)
    states = o.state_dict(), first.state_dict(), swa.state_dict()
    for order in itertools.permutations((0, 1, 2)):
        other = optimizer()
        if order[0] == 0:
            other.load_state_dict(states[0])
        parts = made(other)
        for k in order:
            (other, *parts)[k].load_state_dict(states[k])
        assert now(other) == want
        parts[1].step()
    first.optimizer.param_groups[0]["lr"] = 7.0
    second = resumed(lambda o: made(o)[0], (o.state_dict(), first.state_dict()), ORDERS[-1], optimizer())
    assert second.optimizer.param_groups[0]["lr"] == 7.0


def test_groups_that_were_added_are_resumed() -> None:
    def grown() -> Any:
        o = optimizer()
        o.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.7})
        return o

    for name in ("StepLR", "ExponentialLR", "PolynomialLR", "ChainedScheduler"):
        for source in (ours, theirs):
            first = CASES[name](source, optimizer())
            run(first, 3)
            first.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.7})
            if source is ours:
                assert resumed(lambda o, n=name: CASES[n](ours, o), saved(first), ORDERS[-1], grown()).last_epoch == 3
            run(first, 4)
            states = saved(first)
            want = run(first, 9)
            near(run(resumed(lambda o, n=name: CASES[n](ours, o), states, ORDERS[-1], grown()), 9), want)
            with pytest.raises(ValueError, match=r"of 3 parameter groups, the optimizer has 2"):
                CASES[name](ours, optimizer()).load_state_dict(states[1])
