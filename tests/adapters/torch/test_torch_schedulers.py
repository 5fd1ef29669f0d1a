"""torch's schedulers as users combine them, compared with torch value by value."""

from __future__ import annotations

import copy
import inspect
import pickle
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
LEFT = {
    "LRScheduler": "the base class",
    "MultiplicativeLR": "a function multiplied up has no closed form; schedules.multiplicative takes a table",
}
"""What is left to torch's own, by reason."""


def groups() -> list[dict[str, Any]]:
    return [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in RATES]


def sgd(make: Any = torch.optim.SGD) -> Any:
    return make(groups(), lr=0.1, momentum=0.9)


def walk(scheduler: Any, steps: int, key: str = "lr") -> np.ndarray:
    """Return the rates of the groups for each update, before the scheduler's step."""
    found, optimizer = [], scheduler.optimizer
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torch")
        for _ in range(steps):
            found.append([group[key] for group in optimizer.param_groups])
            optimizer.step()
            scheduler.step()
    return np.array(found)


def near(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)


def same(make: Callable[[Any, Any], Any], steps: int = 30, key: str = "lr") -> None:
    """Assert that torch's schedulers and ours, made by ``make(module, optimizer)``, give the same rates."""
    want = walk(make(torch_module, sgd()), steps, key)
    near(walk(make(ours, sgd()), steps, key), want)
    near(walk(make(ours, sgd(ours.SGD)), steps, key), want)


class torch_module:  # noqa: N801
    """A namespace of torch's schedulers, SWALR included."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.optim.swa_utils if name == "SWALR" else L, name)


torch_module: Any = torch_module()  # type: ignore[no-redef]


def test_every_scheduler_of_torch_is_here_or_left_with_a_reason() -> None:
    theirs = {n for n, x in vars(L).items() if inspect.isclass(x) and issubclass(x, L.LRScheduler)} | {"SWALR"}
    theirs = {n for n in theirs if not n.startswith("_")}
    here = set(dir(ours)) & theirs
    assert here == theirs - set(LEFT) and set(LEFT) <= theirs
    for name in LEFT:
        assert not hasattr(ours, name)
    for name in here:
        want = inspect.signature(getattr(torch_module, name)).parameters.values()
        got = inspect.signature(getattr(ours, name)).parameters.values()
        assert [(p.name, p.kind) for p in got] == [(p.name, p.kind) for p in want], name
        for mine, p in zip(got, want, strict=True):
            assert mine.default == p.default, (name, p)


# The rate that a group has


@pytest.mark.parametrize("shape", ["cos", "linear"])
@pytest.mark.parametrize("early", [True, False], ids=["made first", "made at the switch"])
def test_swalr_goes_from_the_rate_a_group_has(shape: str, early: bool) -> None:
    """Another scheduler runs until swa_start, then this one, as in torch's documentation."""

    def run(module: Any, make: Any) -> list[list[float]]:
        optimizer, found = sgd(make), []
        swa = module.SWALR(optimizer, [0.01, 0.02], 5, shape) if early else None
        first = module.CosineAnnealingLR(optimizer, 20)
        for epoch in range(20):
            found.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            if epoch < 10:
                first.step()
            else:
                swa = swa or module.SWALR(optimizer, [0.01, 0.02], 5, shape)
                swa.step()
        return found

    want = run(torch_module, torch.optim.SGD)
    assert abs(want[11][0] - want[10][0]) < 0.03 and want[-1] == pytest.approx([0.01, 0.02])
    near(run(ours, torch.optim.SGD), want)
    near(run(ours, ours.SGD), want)


def test_swalr_resumes_from_our_state_and_from_torchs() -> None:
    want = walk(torch_module.SWALR(sgd(), 0.01, 8), 12)
    for module in (ours, torch_module):
        first = module.SWALR(sgd(), 0.01, 8)
        walk(first, 3)
        optimizer = sgd()
        other = ours.SWALR(optimizer, 0.01, 8)
        optimizer.load_state_dict(first.optimizer.state_dict())
        other.load_state_dict(first.state_dict())
        near(walk(other, 9), want[3:])


def test_swalr_with_a_last_epoch_goes_on_and_one_cycle_stays_at_its_end() -> None:
    """torch anneals anew, and raises after the last step (docs/differences.md)."""
    whole = walk(ours.SWALR(sgd(), 0.01, 8), 12)
    found = []
    for module in (ours, torch_module):
        optimizer = sgd()
        walk(torch_module.SWALR(optimizer, 0.01, 8), 4)
        found.append(walk(module.SWALR(optimizer, 0.01, 8, last_epoch=3), 8))
    near(found[0], whole[4:])
    assert np.abs(found[1] - whole[4:]).max() > 0.01
    assert walk(ours.OneCycleLR(sgd(), 0.5, 5), 9)[-1] == pytest.approx([0.5 / 25 / 1e4] * 2)
    with pytest.raises(ValueError, match="Tried to step"):
        walk(torch_module.OneCycleLR(sgd(), 0.5, 5), 9)


# Schedulers of schedulers


def test_chained_schedulers_multiply() -> None:
    same(lambda m, o: m.ChainedScheduler([m.StepLR(o, 2, 0.5), m.ExponentialLR(o, 0.9)]))
    same(lambda m, o: m.ChainedScheduler([m.ConstantLR(o, 0.1, 4), m.CosineAnnealingLR(o, 50), m.LinearLR(o)], o))
    inner = lambda m, o: m.ChainedScheduler([m.StepLR(o, 2, 0.5), m.PolynomialLR(o, 20, 2.0)])  # noqa: E731
    same(lambda m, o: m.ChainedScheduler([inner(m, o)]))


def test_a_chain_of_schedules_is_their_product() -> None:
    optimizer = sgd()
    laws = s.linear(start=0.6, end=0.0, steps=20), s.exponential(start=0.3, rate=0.9)
    got = walk(ours.ChainedScheduler([ours.scheduler(optimizer, law) for law in laws]), 25)
    near(got, [[laws[0](e) * laws[1](e) / rate for rate in RATES] for e in range(25)])


def test_what_sets_the_rate_is_refused_in_a_chain() -> None:
    optimizer = sgd()
    decay = ours.ExponentialLR(optimizer, 0.9)
    for other in (ours.OneCycleLR(optimizer, 0.5, 20), ours.CosineAnnealingLR(optimizer, 20, 0.01)):
        with pytest.raises(ValueError, match="does not multiply"):
            ours.ChainedScheduler([decay, other])
    with pytest.raises(ValueError, match=r"schedulers\[1\]=StepLR is none of ours"):
        ours.ChainedScheduler([decay, L.StepLR(optimizer, 2)])
    with pytest.raises(ValueError, match="belongs to another optimizer"):
        ours.ChainedScheduler([decay, ours.ExponentialLR(sgd(), 0.9)])


def test_torchs_chain_of_ours_raises_instead_of_losing_one() -> None:
    optimizer = sgd()
    chain = L.ChainedScheduler([ours.StepLR(optimizer, 2, 0.5), ours.ExponentialLR(optimizer, 0.9)])
    with pytest.raises(RuntimeError, match=r"two schedules move one optimizer.*torch\.ChainedScheduler"):
        walk(chain, 3)
    chain = L.ChainedScheduler([L.ExponentialLR(sgd(), 0.9)])
    chain._schedulers.append(ours.ExponentialLR(chain.optimizer, 0.9))
    with pytest.warns(UserWarning, match="the change is lost"):
        for _ in range(3):
            chain.optimizer.step()
            chain.step()


def test_a_rate_edited_by_hand_lasts_until_the_next_step_which_warns() -> None:
    scheduler = ours.StepLR(sgd(), 2, 0.5)
    walk(scheduler, 3)
    scheduler.optimizer.param_groups[0]["lr"] = 7.0
    with pytest.warns(UserWarning, match="the change is lost"):
        scheduler.step()
    assert scheduler.get_last_lr() == [r / 4 for r in RATES]


def test_sequences_are_torchs() -> None:
    same(lambda m, o: m.SequentialLR(o, [m.LinearLR(o, 0.1, 1.0, 4), m.CosineAnnealingLR(o, 20)], [4]))
    same(
        lambda m, o: m.SequentialLR(
            o, [m.ConstantLR(o, 0.1, 2), m.CosineAnnealingWarmRestarts(o, 3, 2), m.ExponentialLR(o, 0.9)], [3, 15]
        )
    )
    same(lambda m, o: m.SequentialLR(o, [m.StepLR(o, 2, 0.5), m.SWALR(o, [0.01, 0.02], 6)], [7]))
    same(lambda m, o: m.SequentialLR(o, [m.StepLR(o, 2, 0.5)], []))
    for key in ("lr", "momentum"):
        same(lambda m, o: m.SequentialLR(o, [m.LinearLR(o, 0.1, 1.0, 4), m.OneCycleLR(o, 0.4, 20)], [4]), 24, key)


def test_a_sequence_of_ours_and_torchs_is_torchs_own() -> None:
    def made(m: Any, o: Any) -> Any:
        return m.SequentialLR(o, [m.LinearLR(o, 0.1, 1.0, 4), L.LambdaLR(o, lambda e: 1 / (1 + e))], [4])

    same(made)


def test_compositions_are_plain_data_that_resumes(tmp_path: Any) -> None:
    def made(o: Any) -> Any:
        chain = ours.ChainedScheduler([ours.StepLR(o, 2, 0.5), ours.ExponentialLR(o, 0.9)])
        return ours.SequentialLR(o, [ours.LinearLR(o, 0.1, 1.0, 4), chain], [4])

    want, first = walk(made(sgd()), 20), made(sgd())
    walk(first, 6)
    torch.save({"o": first.optimizer.state_dict(), "s": first.state_dict()}, tmp_path / "state")
    found = torch.load(tmp_path / "state", weights_only=True)
    other = ours.scheduler(sgd(), 1.0)
    other.optimizer.load_state_dict(found["o"])
    other.load_state_dict(found["s"])
    near(walk(other, 14), want[6:])
    for copied in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        near(walk(copied, 14), want[6:])


def test_a_lambda_is_a_schedule_or_torchs_own() -> None:
    half = s.step(start=1.0, every=3, rate=0.5)
    mine = ours.LambdaLR(sgd(), half)
    assert isinstance(mine, ours.ScheduleLR)
    near(walk(mine, 20), walk(L.LambdaLR(sgd(), lambda e: half(e)), 20))
    same(lambda m, o: m.LambdaLR(o, [lambda e: 0.5**e, lambda e: 1 / (1 + e)]))
    same(lambda m, o: m.LambdaLR(o, [half, lambda e: 1 / (1 + e)]) if m is ours else m.LambdaLR(
        o, [lambda e: half(e), lambda e: 1 / (1 + e)]))  # fmt: skip
    assert isinstance(ours.LambdaLR(sgd(), lambda e: 0.5**e), L.LambdaLR)
    with pytest.raises(ValueError, match="Expected 2 lr_lambdas, but got 1"):
        ours.LambdaLR(sgd(), [half])
    with pytest.raises(TypeError, match=r"lr_lambda=0\.5 is of type float; give a schedule or a function"):
        ours.LambdaLR(sgd(), 0.5)


def test_a_chain_that_torch_would_cut_to_its_last_is_what_the_notes_say() -> None:
    """After a scheduler that sets the rate, torch multiplies by one step's factor alone (docs/differences.md)."""
    optimizer = sgd()
    chain = L.ChainedScheduler([L.CosineAnnealingWarmRestarts(optimizer, 50), L.ExponentialLR(optimizer, 0.5)])
    got, cosine = walk(chain, 9), s.sgdr(peak=RATES[0], first=50)
    near(got[1:, 0], [0.5 * cosine(e) for e in range(1, 9)])
    optimizer = sgd()
    with pytest.raises(ValueError, match="does not multiply"):
        ours.ChainedScheduler([ours.CosineAnnealingWarmRestarts(optimizer, 50), ours.ExponentialLR(optimizer, 0.5)])


# Arguments


@pytest.mark.parametrize("key", ["lr", "momentum", "initial_lr"])
def test_each_group_may_have_its_own(key: str) -> None:
    momenta = {"base_momentum": [0.7, 0.8], "max_momentum": [0.9, 0.95]}
    same(lambda m, o: m.OneCycleLR(o, [0.5, 0.7], 30, **momenta), 30, key)
    same(lambda m, o: m.CyclicLR(o, [0.1, 0.2], [0.5, 0.7], 4, **momenta), 30, key)
    same(lambda m, o: m.CyclicLR(o, 0.1, 0.5, 4, None, "exp_range", 0.9, None, "cycle", True, 0.7, 0.9), 30, key)
    same(lambda m, o: m.SWALR(o, [0.01, 0.02]), 30, key)
    for name, args in (("OneCycleLR", ([0.5], 30)), ("SWALR", ([0.1] * 3,)), ("CyclicLR", (0.1, [0.5]))):
        with pytest.raises(ValueError, match="must have the same length as"):
            getattr(ours, name)(sgd(), *args)


def test_a_function_that_scales_a_cycle_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"scale_fn=<function.* no state dict can keep"):
        ours.CyclicLR(sgd(), 0.1, 0.5, scale_fn=lambda x: 1.0)
    with pytest.raises(ValueError, match="scale_mode='x' is no choice"):
        ours.CyclicLR(sgd(), 0.1, 0.5, scale_mode="x")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("StepLR", {"step_size": 3, "gamma": 0}),
        ("ExponentialLR", {"gamma": 0.0}),
        ("LinearLR", {"total_iters": 0}),
        ("PolynomialLR", {"total_iters": 0}),
        ("PolynomialLR", {"power": 0.0}),
        ("MultiStepLR", {"milestones": [9, 2, 5]}),
        ("MultiStepLR", {"milestones": [5, 2, 5, 5], "gamma": 0.5}),
        ("MultiStepLR", {"milestones": [2, 5], "gamma": 0.0}),
        ("MultiStepLR", {"milestones": []}),
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3, "mode": "exp_range", "gamma": 0.0}),
    ],
)
def test_the_ends_of_the_ranges_are_torchs(name: str, options: dict[str, Any]) -> None:
    same(lambda m, o: getattr(m, name)(o, **options), 12)


def test_milestones_may_be_read_once() -> None:
    same(lambda m, o: m.MultiStepLR(o, (k for k in (2, 5)), 0.5), 8)
    with pytest.raises(TypeError, match=r"milestones=\[1, 'b'\] is no list of steps"):
        ours.MultiStepLR(sgd(), [1, "b"])


def test_numbers_are_constants_and_anything_else_is_refused_where_it_is_given() -> None:
    scheduler = ours.scheduler(sgd(), [0.1, s.exponential(start=0.2, rate=0.5)], momentum=0.8)
    near(walk(scheduler, 3), [[0.1, 0.2], [0.1, 0.1], [0.1, 0.05]])
    assert sgd().param_groups[0]["momentum"] == 0.9 and scheduler.optimizer.param_groups[0]["momentum"] == 0.8
    near(walk(ours.scheduler(sgd(), 1), 2), [[1.0, 1.0]] * 2)
    for given, words in (
        (None, "schedule=None is of type NoneType"),
        (True, "schedule=True is of type bool"),
        ([0.1, "x"], r"schedule\[1\]='x' is of type str"),
        (lambda e: 1.0, "schedule=<function.*or a function to LambdaLR"),
        (s.cosine, "cosine: peak is not given"),
        ([0.1, s.cosine(peak=0.1)], "cosine: steps is not given"),
    ):
        with pytest.raises(TypeError, match=words):
            ours.scheduler(sgd(), given)
    with pytest.raises(TypeError, match="momentum='x' is of type str"):
        ours.scheduler(sgd(), 0.1, momentum="x")


# States and groups


@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR", "OneCycleLR", "ExponentialLR", "ChainedScheduler"])
def test_torchs_own_state_is_taken_over(name: str) -> None:
    def made(m: Any) -> Any:
        o = sgd()
        if name == "ChainedScheduler":
            return m.ChainedScheduler([m.StepLR(o, 3), m.ExponentialLR(o, 0.9)])
        options: Any = {"StepLR": {"step_size": 3}, "CosineAnnealingLR": {"T_max": 20}, "ExponentialLR": {"gamma": 0.9}}
        return getattr(m, name)(o, **options.get(name, {"max_lr": 0.5, "total_steps": 20}))

    want, first, mine = walk(made(torch_module), 18), made(torch_module), made(ours)
    walk(first, 7)
    mine.optimizer.load_state_dict(first.optimizer.state_dict())
    mine.load_state_dict(first.state_dict())
    near(walk(mine, 11), want[7:])
    with pytest.raises(ValueError, match=r"\['lr'\] is none of a scheduler"):
        mine.load_state_dict({"lr": 0.1})


@pytest.mark.parametrize("make", [torch.optim.SGD, ours.SGD], ids=["torch", "optcore"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("StepLR", {"step_size": 3}),
        ("CosineAnnealingLR", {"T_max": 20, "eta_min": 0.01}),
        ("LinearLR", {"total_iters": 9}),
        ("PolynomialLR", {"total_iters": 20, "power": 2.0}),
        ("ExponentialLR", {"gamma": 0.9}),
        ("MultiStepLR", {"milestones": [2, 6]}),
        ("ChainedScheduler", {}),
    ],
)
def test_a_group_that_is_added_goes_on_from_its_rate_as_in_torch(make: Any, name: str, options: dict[str, Any]) -> None:
    found = []
    for module, cls in ((torch_module, torch.optim.SGD), (ours, make)):
        o = sgd(cls)
        if name == "ChainedScheduler":
            scheduler = module.ChainedScheduler([module.StepLR(o, 3), module.ExponentialLR(o, 0.9)])
        else:
            scheduler = getattr(module, name)(o, **options)
        walk(scheduler, 4)
        scheduler.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.7})
        found.append(walk(scheduler, 10))
    near(found[1], found[0])


def test_a_group_that_is_added_takes_the_one_schedule_or_is_refused() -> None:
    law = s.exponential(start=0.2, rate=0.5)
    for given in (law, [law, law]):
        scheduler = ours.scheduler(sgd(), given)
        scheduler.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
        if given is law:
            near(walk(scheduler, 3)[1:], [[0.1] * 3, [0.05] * 3])
        else:
            with pytest.raises(ValueError, match="3 parameter groups and 2 schedules"):
                walk(scheduler, 1)
