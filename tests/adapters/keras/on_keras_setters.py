"""Run by test_keras.py with KERAS_BACKEND set: an attribute that is set acts from the next step on, or is refused."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from on_keras_silent import FALL, KIND, Given, tensor, values
from oracles import clipping_names

from optcore import Recipe, schedules
from optcore.adapters import keras as ours
from optcore.adapters import native


def other(value: Any, choices: Any = ()) -> Any:
    """Return another value of the same kind; None if none can be found."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.75 if value else 0.125
    if isinstance(value, str):
        return next((c for c in choices if c != value), None)
    return None


NAMES = [n for n in native.names("keras") if n not in clipping_names("keras")]
WALKED = NAMES if KIND == "torch" else ["AdamW", "SGD", "Muon", "Prodigy", "FTRL" if "FTRL" in NAMES else "Ftrl"]
G = np.array([[0.5, -1.0], [2.0, 0.25], [-0.125, 1.0]])


def strip(config: dict[str, Any]) -> dict[str, Any]:
    return {n: x for n, x in config.items() if n != "name"}


def walk(optimizer: Any, v: Any, steps: int) -> None:
    for k in range(steps):
        optimizer.apply([tensor(G * (1.0 + k), "float32")], [v])


@pytest.mark.parametrize("name", WALKED)
def test_every_option_that_is_set_acts_as_given_at_construction_or_is_refused_by_name(name: str) -> None:
    """It is set before the optimizer is built and between two steps; options of Keras' base class are included."""
    cls = getattr(ours, name)
    given = cls().get_config()
    base = {"clipnorm": 0.5, "clipvalue": 0.25, "global_clipnorm": 0.5, "loss_scale_factor": 4.0}
    hypers = cls()._own.plan.recipe.rule.hypers
    options = [k for k in given if k not in ours.BASE and k != "like"]
    changes = {k: other(given[k], getattr(hypers.get(k), "choices", ())) for k in options} | base
    for k, value in changes.items():
        if value is None:
            continue
        try:
            fresh = cls(**{k: value})
        except (TypeError, ValueError, NotImplementedError):
            continue
        early = cls()
        setattr(early, k, value)
        assert strip(early.get_config()) == strip(fresh.get_config()), k
        a, b = (keras.Variable(np.ones((3, 2)), name="v") for _ in range(2))
        late = cls()
        walk(late, a, 1)
        try:
            setattr(late, k, value)
        except AttributeError as error:
            assert k in str(error)
            assert strip(late.get_config()) == strip(cls().get_config())
            continue
        again = cls.from_config(late.get_config())
        assert strip(again.get_config()) == strip(fresh.get_config()) == strip(late.get_config()), k
        b.assign(a)
        again.build([b])
        again.set_weights(values(late.variables))
        again.learning_rate = late.learning_rate
        walk(late, a, 2)
        walk(again, b, 2)
        np.testing.assert_array_equal(values([a])[0], values([b])[0], err_msg=k)


def test_a_recipes_decay_can_be_set_and_its_other_numbers_are_refused() -> None:
    optimizer = ours.from_recipe(Recipe("sgd", lr=1.0, weight_decay=0.5))
    v = keras.Variable(np.ones(2))
    assert optimizer.weight_decay == 0.5
    optimizer.apply([tensor(np.zeros(2), "float32")], [v])
    optimizer.weight_decay = 0.0
    optimizer.apply([tensor(np.zeros(2), "float32")], [v])
    np.testing.assert_array_equal(values([v])[0], 0.5)
    assert ours.FromRecipe.from_config(optimizer.get_config()).weight_decay == 0.0
    for name, value in (("recipe", "{}"), ("accumulate", 2), ("average", 0.5), ("clip", ()), ("lr", 0.1)):
        with pytest.raises(AttributeError, match=name):
            setattr(optimizer, name, value)
    with pytest.raises(AttributeError, match="no attribute 'beta1'; did you mean beta_1"):
        ours.Adam().beta1 = 0.5


def test_what_keras_base_class_is_set_to_is_checked_as_at_construction() -> None:
    optimizer = ours.SGD()
    for name, wrong in (
        ("clipnorm", -1.0), ("clipvalue", float("nan")), ("global_clipnorm", "x"), ("ema_momentum", 1.5),
        ("ema_overwrite_frequency", 0), ("gradient_accumulation_steps", 1), ("loss_scale_factor", 0.0),
        ("use_ema", "yes"),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=name):
            setattr(optimizer, name, wrong)
    optimizer.clipnorm = 1.0
    with pytest.raises(ValueError, match="clipnorm and clipvalue are given"):
        optimizer.clipvalue = 1.0
    optimizer.build([keras.Variable(np.ones(2))])
    for name, late in (("use_ema", True), ("gradient_accumulation_steps", 2)):
        with pytest.raises(AttributeError, match=f"{name}=.* has been built"):
            setattr(optimizer, name, late)
    averaged = ours.from_recipe(Recipe("sgd", average=0.5))
    for name, wrong in (("use_ema", False), ("ema_momentum", 0.25)):
        with pytest.raises(ValueError, match=f"{name}=.* is against the recipe's average"):
            setattr(averaged, name, wrong)
    with pytest.raises(ValueError, match=r"ema_momentum=0.25 is against"):
        ours.from_recipe(Recipe("sgd", average=0.5), ema_momentum=0.25)


def test_a_schedule_can_be_set_as_the_learning_rate() -> None:
    optimizer = ours.SGD(learning_rate=1.0)
    optimizer.learning_rate = schedules.piecewise(start=0.5, points=[(1, 0.25)])
    v = keras.Variable(np.ones(1))
    for want in (0.5, 0.25):
        optimizer.apply([tensor([1.0], "float32")], [v])
        np.testing.assert_array_equal(values([v])[0], want)


@pytest.mark.skipif(KIND == "torch", reason="Keras on torch compiles no step by default; set numbers act at once")
def test_what_is_set_after_a_step_was_compiled_is_refused_by_name() -> None:
    model = Given()
    optimizer = ours.AdamW(learning_rate=0.5)
    model.compile(optimizer=optimizer, loss=lambda y, out: keras.ops.mean(out))
    x = np.ones((1, 8), "float32")
    model.fit(x, x[:, 0], verbose=0)
    changes = {"weight_decay": 0.0, "beta_1": 0.5, "clipnorm": 1.0, "loss_scale_factor": 2.0, "learning_rate": FALL}
    for name, value in changes.items():
        with pytest.raises(RuntimeError, match=f"{name}=.* a train step has been compiled"):
            setattr(optimizer, name, value)
    optimizer.weight_decay = optimizer.weight_decay
    before = values([model.a])[0]
    optimizer.learning_rate = 0.0  # a variable of Keras', which the compiled step reads
    model.fit(x, x[:, 0], verbose=0)
    np.testing.assert_array_equal(values([model.a])[0], before)
