"""Every number that is saved is restored: by JSON, state dicts, distributed checkpoints and pickles, in every order."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

import optcore
from optcore import Recipe, registry, schedules
from optcore.adapters import native
from optcore.adapters import torch as ours
from optcore.hyper import REQUIRED
from tests.routes import OPTIONS

SHAPES = ((4, 3), (3, 2))
COSINE = schedules.cosine(peak=0.1, steps=100)


class Model(torch.nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32, shapes: Any = SHAPES) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        every = [torch.randn(s, generator=draw).to(dtype) for s in shapes]
        self.w, self.b = (torch.nn.Parameter(x) for x in every)


def steps(model: Model, optimizer: Any, n: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    for _ in range(n):
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=draw).to(p.dtype)
        optimizer.step()


def state_of(model: Model, optimizer: Any) -> list[Any]:
    found = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        found += [optimizer.state[p][name].clone() for name in sorted(optimizer.state[p])]
    for group in optimizer.param_groups:
        found += [torch.as_tensor(group["updates"]), torch.as_tensor(group["micro"]), torch.as_tensor(group["lr"])]
        found += [v.clone() for v in group.values() if torch.is_tensor(v)]
    return found


Make = Callable[[Model], Any]


def loaded(model: Model, make: Make, saved: Any) -> Any:
    optimizer = make(model)
    optimizer.load_state_dict(saved)
    return optimizer


def loaded_late(model: Model, make: Make, saved: Any) -> Any:
    """Load a state into an optimizer that has made steps of its own."""
    optimizer, weights = make(model), copy.deepcopy(model.state_dict())
    steps(model, optimizer, 3, 99)
    model.load_state_dict(weights)
    optimizer.load_state_dict(saved)
    return optimizer


def through_a_file(model: Model, make: Make, saved: Any) -> Any:
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return loaded(model, make, torch.load(file, weights_only=True))


def with_its_state_made_first(model: Model, make: Make, saved: Any) -> Any:
    optimizer = make(model)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.init_state()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    optimizer.load_state_dict(saved)
    return optimizer


def from_an_empty_step(model: Model, make: Make, saved: Any) -> Any:
    """Load as torch's distributed checkpoints do: a step with rates and gradients of 0 first makes the state."""
    optimizer = make(model)
    before = [p.detach().clone() for p in model.parameters()]
    set_optimizer_state_dict(model, optimizer, saved)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    return optimizer


PLAIN = (loaded, loaded_late, through_a_file, with_its_state_made_first)


def comes_back(make: Make, n: int = 5, dtype: torch.dtype = torch.float32, shapes: Any = SHAPES) -> None:
    """Assert that a run saved after n steps continues as an uninterrupted one, however the state is loaded."""
    model = Model(dtype, shapes)
    optimizer = make(model)
    steps(model, optimizer, n, 1)
    weights = copy.deepcopy(model.state_dict())
    plain = copy.deepcopy(optimizer.state_dict())
    distributed = copy.deepcopy(get_optimizer_state_dict(model, optimizer))
    whole = pickle.dumps((model, optimizer)) if "FromRule" not in type(optimizer).__name__ else None
    steps(model, optimizer, 4, 2)
    want = state_of(model, optimizer)
    ways: list[tuple[str, Callable[[], tuple[Model, Any]]]] = []
    for way, saved in (*((way, plain) for way in PLAIN), (from_an_empty_step, distributed)):

        def resume(way: Any = way, saved: Any = saved) -> tuple[Model, Any]:
            fresh = Model(dtype, shapes)
            fresh.load_state_dict(weights)
            return fresh, way(fresh, make, copy.deepcopy(saved))

        ways.append((way.__name__, resume))
    if whole is not None:
        ways.append(("pickled", lambda: pickle.loads(whole)))
    for name, resume in ways:
        again, resumed = resume()
        steps(again, resumed, 4, 2)
        for x, y in zip(want, state_of(again, resumed), strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True, msg=lambda m, name=name: f"{name}: {m}")


def class_of(name: str) -> Any:
    return getattr(ours, name)


CLASSES = [name for name in native.names("torch") if isinstance(class_of(name), type)]


@pytest.mark.exhaustive(share=5)
@pytest.mark.parametrize("name", CLASSES)
def test_every_native_class_goes_on_from_what_it_saved(name: str) -> None:
    cls = class_of(name)
    given = {p.name: 0.5 for p in cls._constructor.parameters if p.default is p.empty}
    comes_back(lambda model: cls(model.parameters(), **given))


@pytest.mark.exhaustive(share=5)
@pytest.mark.parametrize("name", CLASSES)
def test_every_native_class_goes_on_where_its_rate_is_a_schedule(name: str) -> None:
    cls = class_of(name)
    given = {p.name: 0.5 for p in cls._constructor.parameters if p.default is p.empty}
    comes_back(lambda model: cls(model.parameters(), **{**given, "lr": COSINE}), n=3)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_a_recipe_goes_on_from_what_it_saved(option: str) -> None:
    """It is saved after 5 and 6 micro-steps: within a cycle of two gradients, and at the end of one."""
    for dtype in (torch.float32, torch.bfloat16):
        recipe = Recipe(optcore.adamw(lr=0.01), **OPTIONS[option])
        for n in (5, 6):
            comes_back(lambda model, r=recipe: ours.from_recipe(r, model.named_parameters()), n, dtype)


@pytest.mark.parametrize("name", ["prodigy", "noisy_sgd", "soap", "tiger", "dog", "schedule_free_adamw"])
def test_every_kind_of_state_goes_on_while_gradients_are_gathered(name: str) -> None:
    for n in (5, 6):
        recipe = Recipe(registry.find(name)(lr=0.01), accumulate=2, average=0.9)
        comes_back(lambda model, r=recipe: ours.from_recipe(r, model.named_parameters()), n)


def test_a_second_rules_numbers_go_on(n: int = 5) -> None:
    law = optcore.matrices(optcore.muon(lr=COSINE), optcore.adamw(lr=0.001, weight_decay=0.5))
    comes_back(lambda model: ours.from_recipe(Recipe(law), model.named_parameters()), n, shapes=((4, 3), (3,)))


def numbers_for(law: Any) -> dict[str, Any]:
    return {name: 0.5 for name, value in law.values().items() if value is REQUIRED}


@pytest.mark.exhaustive(share=3)
@pytest.mark.parametrize("name", [*registry.rules(), *registry.clipping(), *registry.combinators()])
def test_every_number_of_a_rule_comes_back_from_json(name: str) -> None:
    """Each number is changed from its default: alone, as a schedule, in a chain, in a combinator and for one leaf."""
    law = registry.find(name)
    law = registry.applied(law) if name in registry.combinators() else law
    law = law.bind(**numbers_for(law))
    for hyper, h in law.hypers.items():
        value = law.values()[hyper]
        if h.static or not isinstance(value, float):
            continue
        moved = schedules.constant(value=value) if value >= 0.0 else value * 0.5  # a schedule has no sign
        made = Recipe(law.bind(**{hyper: moved}))
        assert Recipe.from_json(made.to_json()) == made and made.values[hyper] == moved
        assert Recipe.from_json(made.to_json()).at(3)[hyper] == (value if value >= 0.0 else value * 0.5)
        part = hyper.rpartition(".")[2]
        if value != 0.0 and (part == hyper or part not in ("lr", "weight_decay")):
            own = Recipe(law, leaves={"b": {hyper: value}})
            assert Recipe.from_json(own.to_json()).own("b") == {hyper: value}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_comes_back_from_json_and_a_pickle(option: str) -> None:
    recipe = Recipe(optcore.matrices(optcore.muon, optcore.adamw(lr=0.01)), **OPTIONS[option])
    assert Recipe.from_json(recipe.to_json()) == recipe == pickle.loads(pickle.dumps(recipe)) == copy.deepcopy(recipe)
    assert Recipe.from_json(recipe.to_json()).to_json() == recipe.to_json()


# States that come from elsewhere.


def test_a_schedule_is_kept_when_torchs_own_state_is_loaded_and_stands_at_its_step() -> None:
    """Half a cosine at step 50 of 100 is half its peak."""
    model = Model()
    theirs = torch.optim.AdamW(model.parameters(), lr=0.1)
    steps(model, theirs, 50, 1)
    optimizer = ours.AdamW(model.parameters(), lr=COSINE, betas=(0.9, 0.99))
    optimizer.load_state_dict(theirs.state_dict())
    (group,) = optimizer.param_groups
    assert (group["lr"], group["updates"], group["betas"]) == (pytest.approx(0.05, rel=1e-12), 50, (0.9, 0.999))
    steps(model, optimizer, 10, 2)
    assert group["lr"] == pytest.approx(COSINE(59), rel=1e-12)


def test_what_a_recipe_has_no_place_for_is_refused_before_anything_is_loaded() -> None:
    model = Model()
    theirs = torch.optim.AdamW(model.parameters(), lr=0.1)
    steps(model, theirs, 2, 1)
    optimizer = ours.from_recipe(Recipe("adamw", lr=0.1), model.named_parameters())
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(
        ValueError, match=r"state of parameter 0 holds 'exp_avg(_sq)?', which is none of .*; load it into"
    ):
        optimizer.load_state_dict(theirs.state_dict())
    other = ours.from_recipe(Recipe("adamw", lr=0.1, beta1=0.5), model.named_parameters())
    with pytest.raises(ValueError, match=r"saved with betas=\(0.9, 0.999\), and the recipe has"):
        other.load_state_dict(theirs.state_dict())
    assert optimizer.state_dict() == before


@pytest.mark.exhaustive(share=5)
@pytest.mark.parametrize("name", CLASSES)
def test_moments_keep_the_dtype_in_which_they_were_loaded(name: str) -> None:
    """They are float32 moments of bfloat16 parameters, on the fast route and on the slow one."""
    cls = class_of(name)
    given = {p.name: 0.5 for p in cls._constructor.parameters if p.default is p.empty}
    model = Model()
    optimizer = cls(model.parameters(), **given)
    steps(model, optimizer, 1, 1)
    narrow = Model(torch.bfloat16)
    again = cls(narrow.parameters(), **given)
    again.load_state_dict(optimizer.state_dict())
    for _ in range(2):
        steps(narrow, again, 1, 2)
        for p in narrow.parameters():
            assert all(x.dtype is torch.float32 for x in again.state[p].values()), again.state[p]


def test_a_rate_of_nought_that_we_did_not_write_stops_a_schedule_for_as_long_as_it_stands() -> None:
    model = Model()
    optimizer = ours.AdamW(model.parameters(), lr=COSINE, weight_decay=0.5)
    steps(model, optimizer, 2, 1)
    (group,) = optimizer.param_groups
    before, rate = [p.detach().clone() for p in model.parameters()], group["lr"]
    group["lr"] = 0.0
    steps(model, optimizer, 2, 2)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)) and group["lr"] == 0.0
    group["lr"] = rate
    steps(model, optimizer, 1, 3)
    assert group["lr"] == pytest.approx(COSINE(4), rel=1e-12)
