"""States of other arguments and of torch's own: taken over, or refused by name before anything moves."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from resuming import (
    CASES,
    END,
    ORDERS,
    STOP,
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

READABLE = [n for n in CASES if not n.startswith(("LambdaLR", "Reduce")) and "factor" not in n and "torch's" not in n]
"""Schedulers without functions, all of which a state tells; a plateau has no step."""


@pytest.mark.parametrize("name", READABLE)
def test_a_state_of_other_arguments_brings_its_own(name: str) -> None:
    """A loaded state brings its own arguments, as in torch; a scheduler of another kind becomes the saved one."""
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
    """torch's classes keep every entry that they are given, ours too, and ignore those that they do not know."""
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
