"""Run by test_keras.py with KERAS_BACKEND set: Keras' schedules and its plateau callback, value by value."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optcore import schedules as s
from optcore.adapters import keras as ours
from optcore.adapters.native import schedules
from optcore.plateau import reduce_on_plateau

KIND = keras.backend.backend()


def rows(n: int) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("ExponentialDecay", {"decay_steps": n, "decay_rate": 0.5}),
        ("ExponentialDecay", {"decay_steps": 3, "decay_rate": 0.5, "staircase": True}),
        ("InverseTimeDecay", {"decay_steps": n, "decay_rate": 0.5}),
        ("InverseTimeDecay", {"decay_steps": 3, "decay_rate": 0.5, "staircase": True}),
        ("PolynomialDecay", {"decay_steps": n}),
        ("PolynomialDecay", {"decay_steps": n, "end_learning_rate": 0.01, "power": 2.0, "cycle": True}),
        ("CosineDecay", {"decay_steps": n, "alpha": 0.1}),
        ("CosineDecay", {"decay_steps": n, "alpha": 0.1, "warmup_target": 0.5, "warmup_steps": 4}),
        ("CosineDecay", {"decay_steps": n, "warmup_target": 0.5}),
        ("CosineDecayRestarts", {"first_decay_steps": 4, "t_mul": 1.0, "m_mul": 0.7, "alpha": 0.1}),
        ("CosineDecayRestarts", {"first_decay_steps": 4, "m_mul": 0.7}),
    ]


@pytest.mark.parametrize("n", [5, 20, 60])
def test_the_same_values_as_keras(n: int) -> None:
    """Values agree to 1e-6, since Keras' schedules compute in float32 whatever floatx is."""
    theirs = keras.optimizers.schedules
    for name, options in rows(n):
        want, mine = getattr(theirs, name)(0.3, **options), getattr(ours, name)(0.3, **options)
        law = schedules.table("keras")[name](0.3, **options)
        for e in range(0, 2 * n, 1 + n // 12):
            np.testing.assert_allclose(float(mine(e)), float(want(e)), rtol=2e-6, atol=1e-6)
            np.testing.assert_allclose(float(mine(e)), law(e), rtol=2e-6, atol=1e-7)
    want = theirs.PiecewiseConstantDecay([3, n], [1.0, 0.5, 0.1])
    mine = ours.PiecewiseConstantDecay([3, n], [1.0, 0.5, 0.1])
    assert [float(mine(e)) for e in range(2 * n)] == pytest.approx([float(want(e)) for e in range(2 * n)], rel=1e-6)


def test_names_and_parameters_are_keras_own() -> None:
    for name, build in schedules.table("keras").items():
        theirs = inspect.signature(getattr(keras.optimizers.schedules, name)).parameters
        mine = inspect.signature(build).parameters
        assert list(mine) == list(theirs), name
        assert {k: p.default for k, p in mine.items() if k != "name"} == {
            k: p.default for k, p in theirs.items() if k != "name"
        }
        assert name in dir(ours)


def test_a_schedule_is_saved_with_its_optimizer() -> None:
    rate = ours.schedule(s.warmup(steps=3, then=s.sgdr(like="timm", peak=0.1, first=4)))
    assert isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    optimizer = keras.optimizers.Adam(rate)
    back = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert [float(back._learning_rate(e)) for e in range(9)] == [float(rate(e)) for e in range(9)]


@settings(max_examples=5, deadline=None)
@given(
    st.lists(st.integers(0, 12).map(lambda k: 0.1 + k / 8), min_size=30, max_size=30),
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from(["min", "max"]),
)
def test_plateau_of_keras(seen: list[float], patience: int, cooldown: int, mode: str) -> None:
    """Rates agree to 1e-6, since Keras stores the rate in float32."""
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    callback = keras.callbacks.ReduceLROnPlateau(
        "val_loss", factor=0.5, patience=patience, cooldown=cooldown, min_delta=0.2, min_lr=0.02, mode=mode, verbose=0
    )
    callback.set_model(model)
    callback.on_train_begin()
    plateau = reduce_on_plateau(
        like="keras", factor=0.5, patience=patience, cooldown=cooldown, atol=0.2, floor=0.02, mode=mode
    )
    state = plateau.init()
    for epoch, value in enumerate(seen):
        callback.on_epoch_end(epoch, {"val_loss": value})
        state = plateau.update(state, value)
        assert state.scale == pytest.approx(float(model.optimizer.learning_rate), rel=1e-6)


def compiled(rate: float = 1.0, make: Any = keras.optimizers.SGD) -> Any:
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(make(rate), "mse", metrics=["accuracy"])
    return model


def driven(callback: Any, model: Any, seen: list[float], monitor: str = "val_loss") -> list[tuple[Any, ...]]:
    """Return, for each epoch, the rate, the callback's attributes and its entries in the logs."""
    callback.set_model(model)
    found = []
    callback.on_train_begin()
    for epoch, value in enumerate(seen):
        if epoch == 20:
            model.optimizer.learning_rate = 0.7  # by hand: what was at the floor may fall again
        logs = {monitor: value}
        callback.on_epoch_end(epoch, logs)
        rate = float(model.optimizer.learning_rate)
        found.append((rate, callback.wait, callback.cooldown_counter, float(callback.best), logs["learning_rate"]))
    return found


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.integers(0, 12).map(lambda k: 0.1 + k / 8), min_size=30, max_size=30),
    st.fixed_dictionaries(
        {
            "factor": st.sampled_from([0.5, 0.1]),
            "patience": st.integers(0, 4),
            "cooldown": st.integers(0, 3),
            "mode": st.sampled_from(["min", "max", "auto"]),
            "min_delta": st.sampled_from([1e-4, 0.2]),
            "min_lr": st.sampled_from([0.0, 0.1, 0.3]),
        }
    ),
)
def test_the_callback_lowers_the_rates_that_keras_lowers(seen: list[float], options: dict[str, Any]) -> None:
    """Rate, wait, cooldown and logs agree for Keras' optimizer and ours; to 1e-6, since Keras' rate is float32."""
    want = driven(keras.callbacks.ReduceLROnPlateau(**options), compiled(), seen)
    for make in (keras.optimizers.SGD, ours.SGD):
        got = driven(ours.ReduceLROnPlateau(**options), compiled(make=make), seen)
        np.testing.assert_allclose(np.array(got), np.array(want), rtol=1e-6)


def test_the_callback_has_the_signature_of_keras_and_takes_the_direction_from_it() -> None:
    theirs = inspect.signature(keras.callbacks.ReduceLROnPlateau.__init__).parameters.values()
    mine = inspect.signature(ours.ReduceLROnPlateau.__init__).parameters.values()
    assert [(p.name, p.kind, p.default) for p in mine] == [(p.name, p.kind, p.default) for p in theirs]
    assert issubclass(ours.ReduceLROnPlateau, keras.callbacks.ReduceLROnPlateau)
    rising = [0.1 * k for k in range(9)]
    for name in ("val_loss", "val_accuracy"):
        found = []
        for module in (keras.callbacks, ours):
            model = compiled()
            model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0)  # the metrics are built by a first batch
            callback = module.ReduceLROnPlateau(name, patience=3)
            found.append(driven(callback, model, rising, name))
        np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


def test_the_callback_says_what_it_does_and_what_it_misses(capsys: Any) -> None:
    callback = ours.ReduceLROnPlateau(patience=1, verbose=1)
    driven(callback, compiled(), [1.0, 1.0])
    assert "Epoch 2: ReduceLROnPlateau reducing learning rate to 0.1" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="metric `val_loss` which is not available"):
        callback.on_epoch_end(0, {"loss": 1.0})
    for options, words in (
        ({"factor": 1.0}, "factor=1.0 is out of range"),
        ({"min_delta": "x"}, "min_delta='x' is of type str"),
        ({"min_lr": -1.0}, "min_lr=-1.0 is out of range"),
        ({"patience": 2.5}, "patience=2.5 is no count"),
    ):
        with pytest.raises((TypeError, ValueError), match=words):
            ours.ReduceLROnPlateau(**options)


def test_a_first_value_that_is_no_number_is_no_best_one() -> None:
    """Keras would keep a NaN as the best value, and no value is better than a NaN (docs/differences.md)."""
    seen = [float("nan"), 3.0, 2.0, 1.0, 0.5]
    theirs = driven(keras.callbacks.ReduceLROnPlateau(patience=2), compiled(), seen)
    mine = driven(ours.ReduceLROnPlateau(patience=2), compiled(), seen)
    assert theirs[-1][0] < 1.0 and mine[-1][0] == 1.0


def test_the_callback_lowers_the_rate_in_fit() -> None:
    found = []
    for module in (keras.callbacks, ours):
        model = compiled(0.0)  # nothing is learnt, so the loss stays
        model.optimizer.learning_rate = 1e-30
        x = np.ones((4, 1), "float32")
        history = model.fit(
            x, x, epochs=6, verbose=0, callbacks=[module.ReduceLROnPlateau("loss", factor=0.5, patience=2)]
        )
        found.append(history.history["learning_rate"])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    assert found[1][-1] < found[1][0]
