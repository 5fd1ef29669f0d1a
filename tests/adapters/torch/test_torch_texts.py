"""The texts by which torch's groups, schedulers and checkpoints keep schedules and recipes."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch

import optcore
from optcore import registry, schedules
from optcore.adapters import torch as ours
from optcore.adapters.native.numbers import from_text, to_text
from optcore.rule import rule
from optcore.schedule import Schedule, schedule
from optcore.typing import NonNegative

COSINE = schedules.cosine(peak=0.5, steps=4)
LINE = schedules.linear(start=0.5, end=0.9, steps=4)
OLD_COSINE = '{"optcore": 1, "rule": {"name": "muon", "a": {"schedule": "cosine", "peak": 0.5, "steps": 4}}}'
OLD_LINE = '{"optcore": 1, "rule": {"name": "muon", "a": {"schedule": "linear", "start": 0.5, "end": 0.9, "steps": 4}}}'
OLD_POWER = '{"optcore": 1, "rule": {"name": "muon", "a": {"schedule": "polynomial", "peak": 1.0, "steps": 8}}}'
OLD_STATE: dict[str, Any] = {
    "state": {0: {"step": torch.tensor(2.0), "momentum_buffer": torch.tensor([1.6, 1.6])}},
    "param_groups": [
        {
            "lr": 0.42677669529663687, "momentum": 0.6, "dampening": 0, "weight_decay": 0, "nesterov": False,
            "maximize": False, "foreach": None, "differentiable": False, "fused": None, "updates": 2, "micro": 0,
            "schedules": {"lr": OLD_COSINE, "momentum": OLD_LINE}, "params": [0],
        }
    ],
}  # fmt: skip
"""The state of an SGD after two steps, as it was written when schedules were kept as recipes."""


@schedule()
def hyperbola(xp: Any, e: Any, *, peak: NonNegative) -> Any:
    """The peak over the count. Source: no one."""
    return peak / (1.0 + e)


def parameter(value: float = 1.0) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.full([2], value, dtype=torch.float64))


def stepped(optimizer: Any, times: int = 1) -> list[float]:
    """The first elements of the parameters after so many steps with gradients of ones."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for _ in range(times):
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
    return [float(p.detach()[0]) for p in params]


def saved(state: Any) -> Any:
    """The state after a way through a file."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file)


def test_a_schedule_is_kept_as_its_own_text() -> None:
    state = ours.SGD([parameter()], lr=COSINE, momentum=LINE).state_dict()
    kept = state["param_groups"][0]["schedules"]
    assert json.loads(kept["lr"]) == {"optcore": 1, "schedule": {"schedule": "cosine", "peak": 0.5, "steps": 4}}
    assert Schedule.from_json(kept["momentum"]) == LINE
    assert "muon" not in repr(state)


@pytest.mark.parametrize("name", registry.schedules())
def test_every_schedules_text_comes_back(name: str) -> None:
    law = registry.schedules()[name]
    assert from_text(to_text(law)) == law == Schedule.from_json(law.to_json())
    assert Schedule.from_json(law.to_json(indent=None)).to_json() == law.to_json()


def test_schedules_of_schedules_and_tables_come_back() -> None:
    for law in (
        schedules.join(parts=(LINE, 0.5, COSINE), boundaries=(3, 7)),
        schedules.piecewise(start=0.1, points=[(5, 0.2), (9, 0.3)]),
        schedules.product(parts=(schedules.warmup(steps=5, then=COSINE), 2.0)),
        schedules.cosine(peak=0.1, steps=3, like="torch"),
    ):
        again = Schedule.from_json(law.to_json())
        assert (
            again == law and hash(again) == hash(law) and [again(e) for e in range(12)] == [law(e) for e in range(12)]
        )


@pytest.mark.parametrize(("text", "law"), [(OLD_COSINE, COSINE), (OLD_LINE, LINE)])
def test_an_old_text_is_read(text: str, law: Schedule) -> None:
    assert from_text(text) == law
    with pytest.raises(ValueError, match=r"Schedule: .* is a recipe without a schedule"):
        from_text('{"optcore": 1, "rule": {"name": "muon", "a": 1.0}}')
    with pytest.raises(ValueError, match='Schedule: no schedule of format 1; the text must hold "optcore": 1'):
        from_text('{"a": 3}')


def test_an_old_checkpoint_goes_on_as_one_that_was_not_interrupted() -> None:
    whole = ours.SGD([parameter()], lr=COSINE, momentum=LINE)
    want = stepped(whole, 4)
    half = ours.SGD([parameter()], lr=COSINE, momentum=LINE)
    reached = stepped(half, 2)[0]
    again = ours.SGD([parameter(reached)], lr=0.1)
    again.load_state_dict(saved(OLD_STATE))
    assert stepped(again, 2) == pytest.approx(want, rel=1e-6)  # the buffer of the literal is in float32
    text = again.state_dict()["param_groups"][0]["schedules"]["lr"]
    assert from_text(text) == COSINE


@pytest.mark.parametrize("kind", ["LambdaLR", "schedule"])
def test_an_old_state_of_a_scheduler_is_read(kind: str) -> None:
    power = schedules.polynomial(peak=1.0, steps=8)

    def made() -> tuple[Any, Any]:
        optimizer = ours.SGD([parameter()], lr=0.5)
        return optimizer, ours.LambdaLR(optimizer, power) if kind == "LambdaLR" else ours.scheduler(optimizer, COSINE)

    form: list[Any] = ["LambdaLR", [OLD_POWER]] if kind == "LambdaLR" else ["schedule", {"lr": OLD_COSINE}]
    rate = 0.4375 if kind == "LambdaLR" else 0.42677669529663687
    old: dict[str, Any] = {
        "base_lrs": [0.5], "last_epoch": 1, "_step_count": 2, "_is_initial": False,
        "_get_lr_called_within_step": False, "_last_lr": [rate],
        "optcore": {"form": form, "rates": [0.5], "base_lrs": [0.5], "last_epoch": 1, "lr": [rate]},
    }  # fmt: skip
    if kind == "LambdaLR":
        old["lr_lambdas"] = [None]
    whole, scheduler = made()
    for _ in range(2):
        stepped(whole)
        scheduler.step()
    optimizer, again = made()
    stepped(optimizer)
    again.load_state_dict(saved(old))
    assert optimizer.param_groups[0]["lr"] == rate
    stepped(optimizer)
    again.step()
    assert optimizer.param_groups[0]["lr"] == whole.param_groups[0]["lr"]
    assert "muon" not in repr(again.state_dict())


@pytest.mark.parametrize("registered", [True, False])
def test_a_schedule_of_ones_own_works_and_resumes(registered: bool) -> None:
    if registered:
        optcore.register(hyperbola)
    try:
        law = hyperbola(peak=0.5)
        optimizer = ours.SGD([parameter()], lr=law)
        reached = stepped(optimizer, 2)[0]
        assert reached == 1 - 0.5 - 0.25
        again = ours.SGD([parameter(reached)], lr=0.1)
        again.load_state_dict(saved(optimizer.state_dict()))
        assert stepped(again) == pytest.approx([reached - 0.5 / 3], rel=1e-15)
        scheduler = ours.scheduler(again, law)
        other = ours.scheduler(ours.SGD([parameter()], lr=0.5), hyperbola(peak=0.25))
        other.load_state_dict(saved(scheduler.state_dict()))
        assert other.state_dict()["optcore"]["form"] == ["schedule", {"lr": to_text(law)}]
    finally:
        if registered:
            registry.forget("hyperbola")


def test_two_schedules_of_one_name_are_told_apart() -> None:
    def made(share: float) -> Schedule:
        @schedule()
        def slope(xp: Any, e: Any, *, peak: NonNegative) -> Any:
            return peak / (1.0 + share * e)

        return slope(peak=0.5)

    laws = [made(0.0), made(1.0)]
    optimizers = [ours.SGD([parameter()], lr=law) for law in laws]
    assert [stepped(each, 2) for each in optimizers] == [[0.0], [0.25]]
    texts = [to_text(law) for law in laws]
    assert texts[0] != texts[1] and json.loads(texts[0]) == json.loads(texts[1])
    assert list(map(from_text, texts)) == laws


def test_a_law_that_is_defined_anew_takes_the_place_of_a_forgotten_one() -> None:
    """As in a notebook whose cell is run twice: nothing that is looked up by its name is the old one's."""

    def made(factor: float) -> Any:
        @rule(title="Stride")
        def stride(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
            return factor * g, s

        return stride

    reached = []
    for factor in (0.5, 0.25):
        optcore.register(made(factor))
        try:
            cls = ours.Stride
            assert ours.Stride is cls and "Stride" in dir(ours)
            by_text = ours.from_recipe(optcore.Recipe.from_json('{"optcore": 1, "rule": "stride"}'), [parameter()])
            reached.append(stepped(cls([parameter()], lr=1.0)) + stepped(by_text))
        finally:
            registry.forget("stride")
    assert reached == [[0.5, 0.5], [0.75, 0.75]]
    assert not hasattr(ours, "Stride")


def test_a_name_that_the_adapter_has_for_something_else_is_refused() -> None:
    @rule(title="ScheduleLR")
    def laid(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return g, s

    with pytest.raises(ValueError, match=r"laid: optcore\.adapters\.torch has another ScheduleLR; give the law"):
        optcore.register(laid)
    assert "laid" not in registry.own()
