"""Run by test_keras.py with KERAS_BACKEND set: Keras' numbers, configuration, saving and fit."""

from __future__ import annotations

import inspect
import json
import pickle
from typing import Any

import keras
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import SHAPES, Row, clipping_names, draw

import optcore
from optcore import schedules
from optcore.adapters import keras as ours
from optcore.adapters import native

KIND = keras.backend.backend()
if KIND == "tensorflow":
    import tensorflow

    cpu = tensorflow.config.list_physical_devices("CPU")[0]  # two devices for two replicas, before any is used
    tensorflow.config.set_logical_device_configuration(cpu, [tensorflow.config.LogicalDeviceConfiguration()] * 2)

TOLERANCE = 1e-12 if KIND != "tensorflow" else 2e-6
"""On TensorFlow Keras itself casts its hyper-parameters through float32 (``ops.cast(0.9, "float64")``)."""


@pytest.fixture(autouse=True)
def float64() -> Any:
    keras.backend.set_floatx("float64")
    yield
    keras.backend.set_floatx("float32")


def run(optimizer: Any, steps: int = 12, shapes: Any = SHAPES) -> np.ndarray:
    rng = np.random.default_rng(1)
    variables = [keras.Variable(rng.standard_normal(s), name=f"v{i}") for i, s in enumerate(shapes)]
    optimizer.build(variables)
    for _ in range(steps):
        grads = [rng.standard_normal(v.shape) * 10 ** rng.uniform(-2, 1) for v in variables]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in grads], variables)
    return np.concatenate([np.ravel(keras.ops.convert_to_numpy(v)) for v in variables])


RATE = keras.optimizers.schedules.CosineDecay(0.1, 20)
SCHEDULED = [
    Row("SGD", {"learning_rate": RATE, "momentum": 0.9, "weight_decay": 0.1}),
    Row("RMSprop", {"learning_rate": RATE, "momentum": 0.9, "centered": True}),
]
NATIVE = [*oracles.gather("KERAS"), *SCHEDULED]


@pytest.mark.parametrize("row", NATIVE, ids=repr)
@settings(max_examples=2)
@given(st.data())
def test_the_same_numbers_as_keras(row: Row, data: Any) -> None:
    if row.name == "ScheduleFreeAdamW" and KIND != "jax":
        pytest.skip("no oracle: Keras' own is wrong on torch and TensorFlow (docs/differences.md); compared on JAX")
    options = draw(data, row.options)
    want = run(getattr(keras.optimizers, row.name)(**options), shapes=row.shapes)
    got = run(getattr(ours, row.name)(**options), shapes=row.shapes)
    tolerance = max(TOLERANCE, row.tolerance)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", sorted({row.name for row in NATIVE}))
def test_the_same_parameters_and_defaults_as_keras(name: str) -> None:
    theirs = inspect.signature(getattr(keras.optimizers, name).__init__).parameters
    mine = inspect.signature(getattr(ours, name)).parameters
    own = {k: p.default for k, p in mine.items() if k != "kwargs"}
    assert own == {k: p.default for k, p in theirs.items() if k in own}
    assert set(theirs) - set(own) <= {"self", "kwargs", *ours.BASE}


@pytest.mark.parametrize("row", NATIVE, ids=repr)
@settings(max_examples=1)
@given(st.data())
def test_configuration_round_trips(row: Row, data: Any) -> None:
    optimizer = getattr(ours, row.name)(**draw(data, row.options))
    again = type(optimizer).from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config() and dir(again) == dir(optimizer)
    loaded = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(loaded) is type(optimizer) and loaded.get_config() == optimizer.get_config()


CHECKPOINTS = ["SGD", "Adam", "AdamW", "Adagrad", "Lion", "Lamb", "Muon"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_variables_have_keras_own_order(name: str) -> None:
    options = {"momentum": 0.9} if name == "SGD" else {}
    want, got = getattr(keras.optimizers, name)(**options), getattr(ours, name)(**options)
    run(want)
    run(got)
    assert [v.shape for v in got.variables] == [v.shape for v in want.variables]
    for a, b in zip(got.variables, want.variables, strict=True):
        x, y = keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
        np.testing.assert_allclose(x, y, rtol=max(TOLERANCE, 1e-8), atol=1e-7)


def model() -> Any:
    return keras.Sequential([keras.layers.Dense(6, activation="tanh"), keras.layers.Dense(2)])


RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 5)).astype("float32")
Y = np.stack([X.sum(1), X[:, 0]], axis=1).astype("float32")


def of_every_kind() -> dict[str, Any]:
    names = [n for n in native.names("keras") if n not in clipping_names("keras")]
    found = {n: getattr(ours, n) for n in names}
    recipes = {
        "totals and shared": optcore.Recipe(
            "prodigy",
            weight_decay=0.1,
            average=0.9,
            accumulate=2,
            on_nonfinite="skip",
            lr=schedules.cosine(peak=1.0, steps=50),
            clip=optcore.clip_by_global_norm(max_norm=1.0),
        ),
        "combinator and refresh": optcore.Recipe(optcore.cautious(optcore.soap), weight_decay=0.1),
        "split by shape": optcore.Recipe(optcore.matrices(optcore.muon, optcore.adam)),
    }
    return {**found, **{n: lambda r=r: ours.from_recipe(r) for n, r in recipes.items()}}


@pytest.mark.parametrize("name", list(of_every_kind()))
def test_fit_on_a_model_that_was_not_built(name: str) -> None:
    """Every kind of rule moves the parameters it should, and keeps its state from step to step."""
    keras.backend.set_floatx("float32")
    m = model()
    optimizer = of_every_kind()[name]()
    m.compile(optimizer=optimizer, loss="mse")
    history = m.fit(X, Y, epochs=3, batch_size=16, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert int(optimizer._iterations) == 9
    state = [v for v in optimizer.variables if "iteration" not in v.path and "learning_rate" not in v.path]
    moved = [bool(np.any(keras.ops.convert_to_numpy(v))) for v in state]
    assert not state or any(moved)


def test_state_that_starts_from_values_starts_once() -> None:
    """Prodigy's start is the parameter before the first step, also if fit builds the model."""
    keras.backend.set_floatx("float32")
    m = model()
    optimizer = ours.Prodigy(d0=0.1)
    m.compile(optimizer=optimizer, loss="mse")
    seen: list[Any] = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            starts = [v for v in optimizer.variables if v.path.endswith("start")]
            seen.append([np.array(keras.ops.convert_to_numpy(v)) for v in starts])

    callbacks = [] if KIND == "jax" else [Look()]  # on JAX the variables are written back after the epoch
    m.fit(X, Y, epochs=2, batch_size=16, verbose=0, callbacks=callbacks)
    starts = [np.array(keras.ops.convert_to_numpy(v)) for v in optimizer.variables if v.path.endswith("start")]
    weights = [keras.ops.convert_to_numpy(v) for v in m.trainable_variables]
    assert all(np.any(s) or s.ndim == 1 for s in starts)
    assert any(not np.allclose(s, w) for s, w in zip(starts, weights, strict=True))
    if seen:
        for first, later in zip(seen[0], starts, strict=True):
            np.testing.assert_array_equal(first, later)


FALLING = schedules.linear(start=0.5, end=0.0, steps=6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("AdamW", {"learning_rate": 0.01}),
        ("AdamW", {"learning_rate": 0.01, "weight_decay": FALLING, "beta_1": FALLING}),
        ("SGD", {"learning_rate": FALLING, "momentum": FALLING, "nesterov": True, "weight_decay": FALLING}),
        ("Muon", {"learning_rate": 0.01, "weight_decay": FALLING, "adam_weight_decay": FALLING}),
    ],
    ids=str,
)
def test_a_saved_model_goes_on_where_it_was(name: str, options: dict[str, Any], tmp_path: Any) -> None:
    keras.backend.set_floatx("float32")
    m = model()
    m.compile(optimizer=getattr(ours, name)(**options), loss="mse")
    m.fit(X, Y, epochs=1, batch_size=16, verbose=0, shuffle=False)
    m.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for each in (m, again):
        each.fit(X, Y, epochs=1, batch_size=16, verbose=0, shuffle=False)
    for a, b in zip(m.weights, again.weights, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


def test_a_recipe_walks_the_path_of_the_pure_optimizer() -> None:
    recipe = optcore.Recipe(
        optcore.matrices(optcore.muon, optcore.adam),
        lr=schedules.warmup(steps=3, then=schedules.cosine(peak=0.1, steps=9)),
        weight_decay=0.1,
        clip=[optcore.clip_by_percentile(percentile=30.0, window=4), optcore.clip_by_global_norm(max_norm=1.0)],
        no_decay=["v0"],
    )
    got = run(ours.from_recipe(recipe), steps=8)
    rng = np.random.default_rng(1)
    opt = optcore.backends.Optimizer(recipe)
    params = {f"v{i}": rng.standard_normal(s) for i, s in enumerate(SHAPES)}
    state = opt.init(params)
    for _ in range(8):
        grads = {k: rng.standard_normal(v.shape) * 10 ** rng.uniform(-2, 1) for k, v in params.items()}
        params, state = opt.update(params, grads, state)
    want = np.concatenate([np.ravel(v) for v in params.values()])
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)


def test_decay_can_be_excluded_and_errors_name_their_reason() -> None:
    a, b = (keras.Variable(np.ones(2), name=n) for n in ("kernel", "bias"))
    optimizer = ours.SGD(learning_rate=1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([keras.ops.zeros((2,)), keras.ops.zeros((2,))], [a, b])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(a), 0.5)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(b), 1.0)
    with pytest.raises(ValueError, match=r"adam: beta1=1.5 is out of range"):
        ours.Adam(beta_1=1.5)
    with pytest.raises(TypeError, match="no argument 'beta1'; did you mean beta_1"):
        ours.Adam(beta1=0.5)
    with pytest.raises(AttributeError, match="no optimizer 'Adamm'; did you mean Adam"):
        ours.Adamm  # noqa: B018
    assert ours.AdamW(learning_rate=np.float32(0.5), like="torch").get_config()["weight_decay"] == 0.01


STEEP = schedules.piecewise(start=1.0, points=[(1, 0.1)])


GROWING = {"accumulate": schedules.piecewise(start=1.0, points=[(1, 2.0), (2, 1.5)])}


@pytest.mark.parametrize("average", [None, 0.5])
@pytest.mark.parametrize("options", [{"accumulate": 2}, GROWING, {"on_nonfinite": "skip"}], ids=str)
def test_accumulation_averages_and_schedules_count_updates_as_the_pure_optimizer_does(
    options: Any, average: float | None
) -> None:
    recipe = optcore.Recipe("sgd", lr=STEEP, average=average, **options)
    grads = [1.0, 1.0, 0.5, 1.5, 1.0] if "accumulate" in options else [np.nan, 1.0, np.nan, 1.0]
    v = keras.Variable(np.zeros(2))
    optimizer, opt = ours.from_recipe(recipe), optcore.backends.Optimizer(recipe)
    params = {"v": np.zeros(2)}
    state = opt.init(params)
    for g in grads:
        optimizer.apply([keras.ops.convert_to_tensor(np.full(2, g))], [v])
        params, state = opt.update(params, {"v": np.full(2, g)}, state)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(v), params["v"], rtol=1e-12)
    assert int(optimizer.iterations) == state.step >= 2
    if average is not None:
        optimizer.finalize_variable_values([v])
        np.testing.assert_allclose(keras.ops.convert_to_numpy(v), state.average[0], rtol=1e-12)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), "x", True])
def test_thresholds_are_checked_at_construction(bad: Any) -> None:
    for name in ("clipnorm", "clipvalue", "global_clipnorm"):
        with pytest.raises((TypeError, ValueError), match=f"{name}.*give"):
            ours.SGD(**{name: bad})


def test_keras_arguments_for_single_gradients_are_refused_beside_a_recipe_that_gathers_them() -> None:
    recipe = optcore.Recipe("sgd", accumulate=2)
    for options in ({"clipnorm": 1.0}, {"gradient_accumulation_steps": 3}):
        with pytest.raises(ValueError, match=rf"{next(iter(options))}=.* is for each gradient"):
            ours.from_recipe(recipe, **options)


def test_options_can_be_set_and_schedules_are_saved() -> None:
    mine, theirs = ours.AdamW(learning_rate=0.1, weight_decay=0.0), keras.optimizers.AdamW(0.1, weight_decay=0.0)
    values = []
    for optimizer in (mine, theirs):
        optimizer.weight_decay = 0.5
        optimizer.beta_1 = 0.5
        values.append(run(optimizer, steps=3))
    np.testing.assert_allclose(values[0], values[1], rtol=max(TOLERANCE, 1e-12), atol=TOLERANCE)
    assert mine.beta_1 == mine.get_config()["beta_1"] == 0.5
    with pytest.raises(ValueError, match=r"beta1=1.5 is out of range"):
        mine.beta_1 = 1.5
    with pytest.raises(TypeError, match="no argument 'weight_decay'"):
        ours.from_recipe(optcore.Recipe("sgd"), weight_decay=0.5)
    slow = schedules.polynomial(peak=0.9, steps=9)
    given = {"learning_rate": slow, "weight_decay": slow, "beta_1": slow}
    first = ours.Adam(**given)
    again = ours.Adam.from_config(json.loads(json.dumps(first.get_config())))
    assert again.beta_1 == again.weight_decay == slow and again.get_config() == first.get_config()
    np.testing.assert_array_equal(run(again, steps=3), run(first, steps=3))


@pytest.mark.parametrize("name", sorted({row.name for row in NATIVE}))
def test_a_constant_schedule_is_its_number_in_every_option(name: str) -> None:
    for option in native.constructor("keras", name).parameters:
        given = 0.1 if option.name == "weight_decay" else option.default
        if not isinstance(given, float) or option.name == "learning_rate":
            continue
        law = schedules.proportion(of=abs(given), low=0.0, high=1.0, to_low=0.0, to_high=-1.0 if given < 0 else 1.0)
        want, got = (run(getattr(ours, name)(**{option.name: each}), steps=2) for each in (given, law))
        np.testing.assert_allclose(got, want, rtol=TOLERANCE, atol=TOLERANCE, err_msg=option.name)


def test_a_number_is_a_constant_schedule_and_what_is_neither_is_refused_by_name() -> None:
    law = ours.schedule(0.25)
    assert [float(law(e)) for e in (0, 9)] == [0.25, 0.25]
    assert ours.schedule(schedules.constant(value=0.25)).get_config() == law.get_config()
    for wrong in ("0.1", None, True, [0.1]):
        with pytest.raises(TypeError, match=r"keras.schedule: .* is of type .*; give a schedule"):
            ours.schedule(wrong)


def test_optimizers_pickle() -> None:
    again = pickle.loads(pickle.dumps(ours.AdamW(learning_rate=0.25)))
    assert float(again.learning_rate) == 0.25


@pytest.mark.skipif(KIND != "tensorflow", reason="tf.distribute and IndexedSlices are TensorFlow's")
def test_tensorflow_replicas_sum_gradients_and_agree() -> None:
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        v = keras.Variable(np.array([1.0, 2.0]))
        recipe = optcore.Recipe("sgd", lr=1.0, clip=optcore.clip_by_global_norm(max_norm=1.0))
        optimizer = ours.from_recipe(recipe)
        optimizer.build([v])

    def replica() -> None:
        optimizer.apply([tf.constant([1.5, 2.0], tf.float64)], [v])

    tf.function(lambda: strategy.run(replica))()
    np.testing.assert_allclose(v.numpy(), [1.0 - 0.6, 2.0 - 0.8])  # 2 x (1.5, 2) has norm 5


@pytest.mark.skipif(KIND != "tensorflow", reason="tf.distribute and IndexedSlices are TensorFlow's")
def test_sparse_gradients_are_densified() -> None:
    import tensorflow as tf

    v = keras.Variable(np.ones((4, 2)))
    rows = tf.IndexedSlices(tf.ones((1, 2), tf.float64), tf.constant([2]), (4, 2))
    ours.SGD(learning_rate=1.0).apply([rows], [v])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(v)[:, 0], [1, 1, 0, 1])


@pytest.mark.skipif(KIND != "tensorflow", reason="the Keras namespace serves TensorFlow tensors")
@pytest.mark.parametrize("name", ["adam", "adafactor", "lamb", "prodigy", "muon", "soap", "cautious", "lion"])
def test_the_keras_namespace_obeys_every_law(name: str) -> None:
    from optcore.testing import check_rule, subjects

    (report,) = check_rule(subjects()[name], backends=["keras"], examples=3)
    assert report.failures == {}
