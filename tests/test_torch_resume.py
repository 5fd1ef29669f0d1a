"""Schedulers that go on where a run was interrupted: all of them, in every order of loading, from torch and back."""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from optcore import schedules as s
from optcore.adapters import torch as ours

L = torch.optim.lr_scheduler
RATES = (0.3, 0.05)
STOP, END = 13, 30


class Torch:
    """torch's schedulers in one place."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.optim.swa_utils if name == "SWALR" else L, name)


theirs: Any = Torch()
OPTIMIZERS: dict[str, Callable[[list[Any]], Any]] = {
    "SGD": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    "our SGD": lambda groups: ours.SGD(groups, lr=0.1, momentum=0.9),
    "our AdamW": lambda groups: ours.AdamW(groups, lr=0.1),
}


def factor(m: Any) -> Any:
    """A factor of the rate: a schedule to ours, a function to torch's."""
    law = s.exponential(start=1.0, rate=0.9)
    return law if m is ours else lambda e: law(e)


CASES: dict[str, Callable[[Any, Any], Any]] = {
    "ConstantLR": lambda m, o: m.ConstantLR(o, 0.25, 15),
    "ConstantLR, done": lambda m, o: m.ConstantLR(o, 0.25, 9),
    "LinearLR": lambda m, o: m.LinearLR(o, 0.25, 0.75, 20),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.9),
    "StepLR": lambda m, o: m.StepLR(o, 4, 0.5),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [15, 5, 5, 9], 0.5),
    "PolynomialLR": lambda m, o: m.PolynomialLR(o, 25, 2.0),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 10, 0.01),
    "CosineAnnealingWarmRestarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "CosineAnnealingWarmRestarts, even": lambda m, o: m.CosineAnnealingWarmRestarts(o, 7),
    "CyclicLR": lambda m, o: m.CyclicLR(o, 0.1, 0.5, 4, 3),
    "CyclicLR, halved": lambda m, o: m.CyclicLR(o, 0.1, 0.5, 4, None, "triangular2"),
    "CyclicLR, falling": lambda m, o: m.CyclicLR(o, 0.1, 0.5, 4, 3, "exp_range", 0.9, cycle_momentum=False),
    "OneCycleLR": lambda m, o: m.OneCycleLR(o, 0.5, 31),
    "OneCycleLR, three phases": lambda m, o: m.OneCycleLR(
        o, 0.5, epochs=5, steps_per_epoch=7, pct_start=0.3, anneal_strategy="linear", three_phase=True
    ),
    "SWALR": lambda m, o: m.SWALR(o, 0.01, 20),
    "SWALR, done": lambda m, o: m.SWALR(o, 0.01, 9, "linear"),
    "LambdaLR": lambda m, o: m.LambdaLR(o, factor(m)),
    "LambdaLR, a function": lambda m, o: m.LambdaLR(o, lambda e: 1 / (1 + e)),
    "ChainedScheduler": lambda m, o: m.ChainedScheduler([m.StepLR(o, 4, 0.5), m.ExponentialLR(o, 0.9)]),
    "SequentialLR": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 4), m.CosineAnnealingWarmRestarts(o, 3, 2), m.ExponentialLR(o, 0.9)], [4, 20]
    ),
    "SequentialLR, a cycle": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 4), m.OneCycleLR(o, 0.4, 40)], [4]
    ),
    "SequentialLR, annealed": lambda m, o: m.SequentialLR(o, [m.StepLR(o, 2, 0.5), m.SWALR(o, 0.01, 9)], [7]),
    "SequentialLR, a factor": lambda m, o: m.SequentialLR(o, [m.StepLR(o, 2, 0.5), m.LambdaLR(o, factor(m))], [7]),
    "SequentialLR, one": lambda m, o: m.SequentialLR(o, [m.CosineAnnealingLR(o, 20)], []),
    "SequentialLR, torch's parts": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 4), L.CyclicLR(o, 0.1, 0.5, 4, 3)], [4]
    ),
    "ReduceLROnPlateau": lambda m, o: m.ReduceLROnPlateau(o, factor=0.5, patience=2, cooldown=1),
}
"""torch's schedulers, interrupted behind a restart, a milestone or between two."""
ALONE: dict[str, Callable[[Any], Any]] = {
    "scheduler": lambda o: ours.scheduler(o, s.wsd(peak=0.2, warmup=5, stable=4, decay=16), momentum=0.8),
    "scheduler of each": lambda o: ours.scheduler(
        o, [s.rex(peak=0.1 * (k + 1), steps=25) for k, _ in enumerate(o.param_groups)]
    ),
    "ChainedScheduler of schedules": lambda o: ours.ChainedScheduler(
        [ours.scheduler(o, s.linear(start=0.6, end=0.1, steps=20)), ours.LambdaLR(o, factor(ours)), ours.StepLR(o, 4)]
    ),
    "SequentialLR of a chain": lambda o: ours.SequentialLR(
        o, [ours.StepLR(o, 4), ours.ChainedScheduler([ours.StepLR(o, 4), ours.ExponentialLR(o, 0.9)])], [6]
    ),
}  # fmt: skip
"""Schedulers that torch does not have."""
WHERE = (("SGD", 2), ("our SGD", 1), ("our AdamW", 2))
"""Optimizers and numbers of their groups."""
ORDERS = [("build", "optimizer", "scheduler"), ("build", "scheduler", "optimizer"), ("optimizer", "build", "scheduler")]
"""A scheduler takes a state once it is built."""


def optimizer(kind: str = "SGD", groups: int = 2, scale: float = 1.0) -> Any:
    members = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": scale * lr} for lr in RATES[:groups]]
    return OPTIMIZERS[kind](members)


def now(o: Any) -> list[float]:
    """The rates of the groups, and their momenta."""
    momenta = [g["betas"][0] if "betas" in g else g["momentum"] for g in o.param_groups]
    return [float(g["lr"]) for g in o.param_groups] + momenta


def run(scheduler: Any, steps: int, start: int = 0) -> np.ndarray:
    """What each update is made with, before the steps of the scheduler; a plateau sees a loss that stops falling."""
    found = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torch")
        for e in range(start, start + steps):
            found.append(now(scheduler.optimizer))
            scheduler.optimizer.step()
            scheduler.step(*([max(1.0 - e / 5, 0.2)] if isinstance(scheduler, L.ReduceLROnPlateau) else []))
    return np.array(found)


def saved(scheduler: Any) -> tuple[Any, Any]:
    """The states of the optimizer and the scheduler, through a file that holds plain data."""
    file = io.BytesIO()
    torch.save([scheduler.optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    first, second = torch.load(file, weights_only=True)
    return first, second


def resumed(make: Callable[[Any], Any], states: tuple[Any, Any], order: Any, o: Any) -> Any:
    scheduler = None
    for what in order:
        if what == "build":
            scheduler = make(o)
        elif what == "optimizer":
            o.load_state_dict(states[0])
        else:
            scheduler.load_state_dict(states[1])
    return scheduler


def near(got: Any, want: Any) -> None:
    """torch's products of the steps drift from the closed forms by some units in the last place each step."""
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)


def test_the_walk_is_over_every_scheduler_of_torch_that_is_here() -> None:
    named = {n for n in dir(ours) if n == "SWALR" or issubclass(getattr(L, n, int), L.LRScheduler)}
    assert named == {name.split(",")[0] for name in CASES}


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
    """At the first step, at an odd one, and at the last of a cycle; those of how often it was called aside."""
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
    """Equal, numbers to the rounding of torch's products."""
    if isinstance(b, dict | list):
        pairs = zip(a.values(), b.values(), strict=True) if isinstance(b, dict) else zip(a, b, strict=True)
        return (not isinstance(b, dict) or a.keys() == b.keys()) and all(alike(x, y) for x, y in pairs)
    return a == (pytest.approx(b, rel=1e-9) if isinstance(b, float) else b)


KEPT = ("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr")
UNSAID = ("optcore", "_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial")


def plain(state: Any, prefix: str = "") -> dict[str, Any]:
    """The entries of a state and of its parts, in one table."""
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
    """The state holds the rates of the groups, whoever wrote them."""

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


# Other arguments, and what does not fit


READABLE = [n for n in CASES if not n.startswith(("LambdaLR", "Reduce")) and "factor" not in n and "torch's" not in n]
"""Schedulers without functions, all of which a state tells; a plateau has no step."""


@pytest.mark.parametrize("name", READABLE)
def test_a_state_of_other_arguments_brings_its_own(name: str) -> None:
    """As in torch; a scheduler of another kind becomes the one that was saved."""
    for source in (ours, theirs):
        want, first = run(CASES[name](source, optimizer()), END), CASES[name](source, optimizer())
        run(first, STOP)
        for make in (lambda o: ours.scheduler(o, 1.0), lambda o: ours.CosineAnnealingLR(o, 50)):
            second = resumed(make, saved(first), ("build", "optimizer", "scheduler"), optimizer(scale=2.0))
            near(run(second, END - STOP, STOP), want[STOP:])
            third = resumed(make, saved(second), ORDERS[-1], optimizer())
            near(run(third, 1), run(second, 1))


def test_the_arguments_of_torchs_state_are_taken_over() -> None:
    want = run(L.CosineAnnealingLR(optimizer(), 100), 60)
    first = L.CosineAnnealingLR(optimizer(), 100)
    run(first, 50)
    second = resumed(lambda o: ours.CosineAnnealingLR(o, 50), saved(first), ORDERS[-1], optimizer())
    near(run(second, 10), want[50:])
    assert second.state_dict()["T_max"] == 100
    longer = saved(second)[1] | {"T_max": 200}
    with pytest.raises(ValueError, match=r"the rate of group 0 in the state is .* and its schedule gives"):
        ours.CosineAnnealingLR(optimizer(), 100).load_state_dict(longer)


def refused(make: Callable[[Any, Any], Any], change: Callable[[Any], Any], words: str, steps: int = 5) -> None:
    first, second = make(theirs, optimizer()), make(ours, optimizer())
    run(first, steps)
    state = saved(first)[1]
    before = (now(second.optimizer), second.state_dict())
    with pytest.raises(ValueError, match=words):
        second.load_state_dict(change(state))
    assert (now(second.optimizer), second.state_dict()) == before


def test_what_fits_no_schedule_is_refused_by_name_before_anything_moves() -> None:
    restarts = CASES["CosineAnnealingWarmRestarts"]
    refused(restarts, lambda x: x | {"T_cur": 1}, "CosineAnnealingWarmRestarts at last_epoch=5 with T_cur=1 is no")
    refused(restarts, lambda x: x | {"warmup": 3}, r"'warmup'\] is of no scheduler")
    refused(CASES["StepLR"], lambda x: x | {"last_epoch": 2.5}, "last_epoch=2.5 is no whole step")
    refused(
        CASES["StepLR"], lambda x: x | {"_last_lr": [0.3, 0.05]}, "the rate of group 0 in the state is 0.3 at step 5"
    )
    refused(CASES["StepLR"], lambda x: {"lr": 0.1}, r"\['lr'\] is none of a scheduler")
    refused(CASES["OneCycleLR"], lambda x: x | {"total_steps": 44}, "OneCycleLR at .* with _schedule_phases=")
    cyclic = CASES["CyclicLR"]
    refused(cyclic, lambda x: x | {"step_ratio": 0.45}, "CyclicLR at .* with step_ratio=0.45")
    refused(cyclic, lambda x: x | {"scale_mode": "iterations"}, "with scale_mode='iterations' is no schedule")
    refused(CASES["SWALR"], lambda x: x | {"_step_count": 9}, "SWALR at _step_count=9 and last_epoch=5 counts from")
    refused(
        CASES["LambdaLR"], lambda x: x | {"lr_lambdas": [{"a": 1}, None]}, "holds what only torch's LambdaLR can take"
    )
    refused(CASES["LambdaLR"], lambda x: x | {"_last_lr": [0.1, 0.1]}, "the rate of group 0 in the state is 0.1")
    chain = CASES["ChainedScheduler"]
    refused(
        chain, lambda x: x | {"_schedulers": [x["_schedulers"][0], x["_schedulers"][1] | {"last_epoch": 9}]}, "at steps"
    )
    refused(chain, lambda x: x | {"_schedulers": [x["_schedulers"][0]]}, "its schedule gives")
    sequence = CASES["SequentialLR"]
    refused(sequence, lambda x: x | {"last_epoch": 9}, "part 1 of the sequence is at step 1, and from last_epoch=9")
    plateau = CASES["ReduceLROnPlateau"]
    refused(plateau, lambda x: x | {"T_max": 9}, r"\['T_max'\] of the state mean nothing here")
    refused(plateau, lambda x: x | {"factor": 2.0}, "factor=2.0")
    refused(plateau, lambda x: x | {"min_lrs": [0.0], "default_min_lr": None}, "is for 1 parameter groups")
    refused(plateau, lambda x: {"T_max": 9}, "is none of ReduceLROnPlateau")
    with pytest.raises(ValueError, match="does not hold its functions"):
        ours.SequentialLR(o := optimizer(), [ours.StepLR(o, 2), ours.StepLR(o, 3)], [7]).load_state_dict(
            CASES["SequentialLR, a factor"](theirs, optimizer()).state_dict()
        )


def test_a_fraction_of_a_step_goes_on_as_in_torch() -> None:
    def steps(scheduler: Any, epoch: float | None) -> list[float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step(epoch)
        return now(scheduler.optimizer)

    for m, order in itertools.product((ours, theirs), ORDERS):
        first = CASES["CosineAnnealingWarmRestarts"](m, optimizer())
        steps(first, 4.5)
        second = resumed(lambda o: CASES["CosineAnnealingWarmRestarts"](ours, o), saved(first), order, optimizer())
        near(now(second.optimizer), now(first.optimizer))
        for _ in range(9):
            near(steps(second, None), steps(first, None))


def test_an_entry_that_torch_left_behind_does_not_count() -> None:
    """torch's classes keep every entry that they were given, ours too, and go on."""
    first = ours.StepLR(optimizer(), 4, 0.5)
    run(first, 6)
    second = resumed(lambda o: L.StepLR(o, 4, 0.5), saved(first), ("build", "optimizer", "scheduler"), optimizer())
    run(second, 7)
    assert second.state_dict()["optcore"]["last_epoch"] == 6
    third = resumed(lambda o: ours.StepLR(o, 4, 0.5), saved(second), ORDERS[-1], optimizer())
    assert third.last_epoch == 13 and now(third.optimizer)[0] == pytest.approx(0.3 / 8)


def test_a_schedule_of_momentum_is_refused_where_there_is_none() -> None:
    o = ours.Adagrad([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    mine = ours.scheduler(o, 0.1)
    with pytest.raises(ValueError, match="must support momentum"):
        mine.load_state_dict(ours.OneCycleLR(optimizer(groups=1), 0.5, 20).state_dict())
    with pytest.raises(ValueError, match="must support momentum"):
        ours.CyclicLR(o, 0.2, 0.5)
    assert o.param_groups[0]["lr"] == 0.1 and mine.last_epoch == 0
