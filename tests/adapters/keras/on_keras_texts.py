"""Run by test_keras.py with KERAS_BACKEND set: the texts by which Keras' configurations keep schedules and laws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import optcore
from optcore import registry, schedules
from optcore.adapters import keras as ours
from optcore.rule import rule
from optcore.schedule import Schedule, schedule
from optcore.typing import NonNegative

COSINE = schedules.cosine(peak=0.5, steps=4)
LINE = schedules.linear(start=0.5, end=0.9, steps=4)
OLD: dict[str, Any] = {
    "name": "sgd",
    "learning_rate": {
        "module": "optcore.adapters.keras.optimizer",
        "class_name": "LearningRate",
        "config": {
            "recipe": '{"optcore": 1, "rule": {"name": "sgd", "lr": {"schedule": "cosine", "peak": 0.5, "steps": 4}}}'
        },
        "registered_name": "optcore>LearningRate",
    },
    "weight_decay": None,
    "momentum": {
        "optcore": '{"optcore": 1, "rule": {"name": "muon", "a": {"schedule": "linear", "start": 0.5, "end": 0.9, '
        '"steps": 4}}}'
    },
    "nesterov": False,
}
"""The configuration of an SGD, as it was written when schedules were kept as recipes."""


@schedule()
def hyperbola(xp: Any, e: Any, *, peak: NonNegative) -> Any:
    """The peak over the count. Source: no one."""
    return peak / (1.0 + e)


@rule()
def halved(xp: Any, p: Any, g: Any, s: Any, t: Any, *, share: NonNegative = 0.5) -> Any:
    """A share of the gradient. Source: no one."""
    return share * g, s


def path(optimizer: Any, steps: int = 4) -> list[float]:
    """The values of a variable that starts at 1, over steps with gradients of 1."""
    v = keras.Variable(np.ones(2, "float32"))
    optimizer.build([v])
    found = []
    for _ in range(steps):
        optimizer.apply([keras.ops.ones(2)], [v])
        found.append(float(keras.ops.convert_to_numpy(v)[0]))
    return found


def test_a_schedule_is_kept_as_its_own_text() -> None:
    config = ours.SGD(learning_rate=COSINE, momentum=LINE).get_config()
    text = config["learning_rate"]["config"]["schedule"]
    assert json.loads(text) == {"optcore": 1, "schedule": {"schedule": "cosine", "peak": 0.5, "steps": 4}}
    assert Schedule.from_json(config["momentum"]["optcore"]) == LINE
    assert "muon" not in repr(config)


def test_an_old_configuration_is_read() -> None:
    want = path(ours.SGD(learning_rate=COSINE, momentum=LINE))
    again = ours.SGD.from_config(OLD)
    assert path(again) == want and again.get_config()["learning_rate"]["config"].keys() == {"schedule"}
    for options in ({}, {"schedule": COSINE.to_json(), "recipe": COSINE.to_json()}):
        with pytest.raises(TypeError, match="LearningRate: give schedule, the text of"):
            ours.LearningRate(**options)


@pytest.mark.parametrize("registered", [True, False])
def test_a_schedule_of_ones_own_is_kept(registered: bool) -> None:
    if registered:
        optcore.register(hyperbola)
    try:
        optimizer = ours.SGD(learning_rate=hyperbola(peak=0.5))
        again = ours.SGD.from_config(optimizer.get_config())
        assert path(again) == path(optimizer) == pytest.approx([0.5, 0.25, 1 / 12, 1 / 12 - 0.125], abs=1e-6)
    finally:
        if registered:
            registry.forget("hyperbola")


def test_a_law_that_is_registered_later_has_a_class_and_is_loaded_with_a_model(tmp_path: Path) -> None:
    """Keras does not ask the module for a name; it looks into it."""
    assert not hasattr(ours, "Halved")
    optcore.register(halved)
    try:
        assert vars(ours)["Halved"] is ours.Halved
        model = keras.Sequential([keras.layers.Input([2]), keras.layers.Dense(1)])
        model.compile(optimizer=ours.Halved(learning_rate=0.1, share=0.25), loss="mse")
        model.fit(np.ones((2, 2)), np.ones((2, 1)), verbose=0)
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert type(again.optimizer) is ours.Halved and again.optimizer.share == 0.25
        assert path(ours.from_recipe(optcore.Recipe("halved", lr=1.0)), 1) == [0.5]
    finally:
        registry.forget("halved")
    assert not hasattr(ours, "Halved")
