"""Run by test_keras.py with KERAS_BACKEND set: what is given to a Keras optimizer acts, or is refused by name."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

import optcore
from optcore import Recipe, schedules
from optcore.adapters import keras as ours

KIND = keras.backend.backend()
FALL = schedules.linear(start=0.5, end=0.1, steps=4)
OPTIONS: dict[str, Recipe] = {
    "clip": Recipe("sgd", lr=0.1, clip=optcore.clip_by_global_norm(max_norm=0.5)),
    "clips": Recipe("adam", lr=0.1, clip=[optcore.clip_by_value(limit=1.0), optcore.clip_by_norm(max_norm=0.5)]),
    "no_decay": Recipe("adamw", lr=0.1, weight_decay=0.5, no_decay=["b$"]),
    "layout": Recipe("lars", lr=0.1, layout={"a$": "out_in"}),
    "leaves": Recipe("sgd", lr=0.1, leaves={"b$": {"lr": 0.01}}),
    "leaves' switch": Recipe("adamw", lr=0.1, weight_decay=0.5, leaves={"b$": {"weight_decay": 0.0, "beta1": 0.5}}),
    "accumulate": Recipe("adam", lr=0.1, accumulate=2),
    "accumulate by a schedule": Recipe("sgd", lr=0.1, accumulate=schedules.piecewise(start=1.0, points=[(1, 2.0)])),
    "average": Recipe("sgd", lr=0.1, average=0.5),
    "average of gathered": Recipe("sgd", lr=0.1, average=0.5, accumulate=2),
    "skip": Recipe("adam", lr=0.1, on_nonfinite="skip"),
    "state_dtype": Recipe("adam", lr=0.1, state_dtype="param"),
    "seed": Recipe("noisy_sgd", lr=0.1, seed=3),
    "schedules": Recipe("adamw", lr=FALL, beta1=FALL, weight_decay=FALL),
    "start from values": Recipe("schedule_free_sgd", lr=0.1),
    "shared": Recipe("prodigy", weight_decay=0.1),
}
START = {"a": np.linspace(-1.0, 1.0, 6).reshape(3, 2), "b": np.array([0.5, -0.25])}
RNG = np.random.default_rng(4)
GRADIENTS = [{k: RNG.standard_normal(v.shape) for k, v in START.items()} for _ in range(6)]


@pytest.fixture(autouse=True)
def floatx() -> Any:
    yield
    keras.config.set_floatx("float32")


def values(variables: Any) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(keras.ops.cast(v, "float64")), dtype=float) for v in variables]


def tensor(x: Any, dtype: str) -> Any:
    return keras.ops.cast(keras.ops.convert_to_tensor(np.asarray(x)), dtype)


def made(dtype: str) -> list[Any]:
    return [keras.Variable(tensor(x, dtype), dtype=dtype, name=k) for k, x in START.items()]


def pure(recipe: Recipe, dtype: str, gradients: Any, paths: Any = tuple(START)) -> Any:
    opt = optcore.backends.Optimizer(recipe.replace(layout=recipe.layout or "in_out"))
    params = {path: v.astype(dtype) for path, v in zip(paths, START.values(), strict=True)}
    state = opt.init(params)
    for grads in gradients:
        given = [None if g is None else g.astype(dtype) for g in grads.values()]
        params, state = opt.update(params, dict(zip(paths, given, strict=True)), state)
    return list(params.values()), state


def stepped(optimizer: Any, variables: Any, gradients: Any, dtype: str) -> None:
    optimizer.build(variables)
    for grads in gradients:
        optimizer.apply([None if g is None else tensor(g, dtype) for g in grads.values()], variables)


@pytest.mark.parametrize("name", list(OPTIONS))
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_every_option_of_a_recipe_is_the_pure_optimizers(name: str, dtype: str) -> None:
    """In float16 the parameters agree to one rounding of numbers of size 2 in each of 6 steps."""
    keras.config.set_floatx(dtype if dtype == "float64" else "float32")
    recipe = OPTIONS[name]
    gradients = GRADIENTS if dtype == "float64" else GRADIENTS[:3]
    variables = made(dtype)
    optimizer = ours.from_recipe(recipe)
    stepped(optimizer, variables, gradients, dtype)
    want, state = pure(recipe, dtype, gradients)
    tolerance = 1e-12 if dtype == "float64" else 6 * 2.0**-10
    for got, x in zip(values(variables), want, strict=True):
        np.testing.assert_allclose(got, x.astype(float), rtol=tolerance, atol=tolerance)
    if recipe.average is not None:
        assert {str(v.dtype) for v in optimizer._model_variables_moving_average} == {
            "float64" if dtype == "float64" else "float32"
        }
        optimizer.finalize_variable_values(variables)
        for got, x in zip(values(variables), state.average, strict=True):
            np.testing.assert_allclose(got, x.astype(float), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["accumulate", "average", "average of gathered", "start from values", "shared"])
def test_a_variable_without_a_gradient_takes_part_as_in_the_pure_optimizer(name: str) -> None:
    """On JAX and TensorFlow, whose state keeps its structure, a cycle without any gradient counts as one of zeros."""
    keras.config.set_floatx("float64")
    gradients = [GRADIENTS[0], {**GRADIENTS[1], "b": None}, {**GRADIENTS[2], "b": None}, GRADIENTS[3]]
    variables = made("float64")
    optimizer = ours.from_recipe(OPTIONS[name])
    stepped(optimizer, variables, gradients, "float64")
    want, _ = pure(OPTIONS[name], "float64", gradients)
    for got, x in zip(values(variables), want, strict=True):
        np.testing.assert_allclose(got, x, rtol=1e-12, atol=1e-12)


class Given(keras.Model):
    """A model whose gradient is its input, and whose weights have the names and values in START."""

    def __init__(self) -> None:
        super().__init__()
        for k, x in START.items():
            setattr(self, k, self.add_weight(shape=x.shape, name=k, initializer="zeros"))
            getattr(self, k).assign(x)

    def call(self, x: Any) -> Any:
        a = keras.ops.sum(keras.ops.reshape(self.a, (1, 6)) * x[:, :6], axis=1)
        return a + keras.ops.sum(self.b * x[:, 6:], axis=1)


@pytest.mark.parametrize("name", list(OPTIONS))
def test_fit_moves_as_the_pure_optimizer_for_every_option(name: str) -> None:
    """The tolerance of 1e-5 in float32 is 80 roundings, for 6 steps of about ten operations each."""
    model, recipe = Given(), OPTIONS[name]
    model.compile(optimizer=ours.from_recipe(recipe), loss=lambda y, out: keras.ops.mean(out))
    x = np.stack([np.concatenate([np.ravel(v) for v in g.values()]) for g in GRADIENTS]).astype("float32")
    model.fit(x, np.zeros(len(x), "float32"), batch_size=1, shuffle=False, verbose=0)
    params, state = pure(recipe, "float32", GRADIENTS, [model.a.path, model.b.path])
    want = params if recipe.average is None else state.average
    for got, each in zip(values([model.a, model.b]), want, strict=True):
        np.testing.assert_allclose(got, each, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_slots_and_sums_have_the_dtype_of_the_driver(dtype: str) -> None:
    squares = "float32" if dtype == "float16" else dtype  # for which float16 has no room
    for state, want in (("compute", {"float32"}), ("param", {dtype, squares})):
        optimizer = ours.from_recipe(Recipe("adam", lr=0.1, state_dtype=state, average=0.5, accumulate=2))
        variables = made(dtype)
        stepped(optimizer, variables, GRADIENTS[:3], dtype)
        kept = optimizer._own.kept
        assert {str(s.dtype) for slots in kept.slots for s in slots if s is not None} == want
        assert {str(v.dtype) for v in (*kept.average, *kept.gathered)} == {"float32"}
        store: dict[str, Any] = {}
        optimizer.save_own_variables(store)
        again = ours.from_recipe(Recipe("adam", lr=0.1, state_dtype=state, average=0.5, accumulate=2))
        again.build(variables)
        again.load_own_variables(store)
        assert [v.dtype for v in again.variables] == [v.dtype for v in optimizer.variables]
        for a, b in zip(values(again.variables), values(optimizer.variables), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_second_moment_of_a_bfloat16_variable_falls_by_less_than_its_spacing() -> None:
    """100 gradients of 1, 300 of .01: v = (1 - .999^100) .999^300 + .01^2 (1 - .999^300) = .0705; .0977 in bfloat16."""
    v = keras.Variable(np.ones(1), dtype="bfloat16")
    optimizer = ours.from_recipe(Recipe("adam", lr=1e-3))
    for g in [1.0] * 100 + [0.01] * 300:
        optimizer.apply([tensor(np.full(1, g), "bfloat16")], [v])
    (_, second) = optimizer._own.kept.slots[0]
    want = (1 - 0.999**100) * 0.999**300 + 0.01**2 * (1 - 0.999**300)
    np.testing.assert_allclose(values([second])[0], want, rtol=400 * 2**-23)  # a rounding at each step


def test_an_average_of_a_bfloat16_variable_moves_by_less_than_its_spacing() -> None:
    """The average goes as 2 - .999^n from 1 to 2; from n = 700 on a step is below the spacing of bfloat16."""
    n = 800
    v = keras.Variable(np.ones(2), dtype="bfloat16")
    gradient = tensor(np.zeros(2), "bfloat16")
    for average in ("recipe", "keras"):
        v.assign(np.ones(2))
        recipe = Recipe("sgd", lr=0.0, average=0.999 if average == "recipe" else None)
        base = {} if average == "recipe" else {"use_ema": True, "ema_momentum": 0.999}
        optimizer = ours.from_recipe(recipe, **base)
        optimizer.apply([gradient], [v])
        v.assign(np.full(2, 2.0))
        for _ in range(n):
            optimizer.apply([gradient], [v])
        (mean,) = values(optimizer._model_variables_moving_average)
        np.testing.assert_allclose(mean, 2.0 - 0.999**n, rtol=n * 2.0**-24)
        optimizer.finalize_variable_values([v])
        np.testing.assert_allclose(values([v])[0], 2.0 - 0.999**n, rtol=2.0**-8)


@pytest.mark.parametrize("frequency", [1, 2])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_takes_the_variables_place_after_every_few_updates(frequency: int, accumulate: int) -> None:
    recipe = Recipe("sgd", lr=1.0, average=0.5, accumulate=accumulate)
    optimizer = ours.from_recipe(recipe, ema_overwrite_frequency=frequency)
    v = keras.Variable(np.zeros(1))
    p = mean = 0.0
    for update in range(1, 5):
        for _ in range(accumulate):
            optimizer.apply([tensor([1.0], "float32")], [v])
        p -= 1.0
        mean = p if update == 1 else 0.5 * mean + 0.5 * p
        p = mean if update % frequency == 0 else p
        np.testing.assert_allclose(values([v])[0], p)


def test_before_the_first_update_the_average_is_the_variable() -> None:
    optimizer = ours.from_recipe(Recipe("sgd", lr=1.0, average=0.5, accumulate=3))
    v = keras.Variable(np.ones(1))
    optimizer.apply([tensor([1.0], "float32")], [v])
    optimizer.finalize_variable_values([v])
    np.testing.assert_array_equal(values([v])[0], 1.0)


@pytest.mark.parametrize("floatx", ["bfloat16", "float16", "float64"])
def test_no_number_is_in_floatx(floatx: str) -> None:
    """600 compiled or traced steps, with schedules beyond step 256, give the same as with floatx float32."""
    rates = schedules.piecewise(start=2.0**-9, points=[(300, 2.0**-10), (550, 2.0**-11)])
    found = []
    for each in ("float32", floatx):
        keras.config.set_floatx(each)
        v = keras.Variable(np.ones(2), dtype="float32")
        optimizer = ours.AdamW(learning_rate=rates, weight_decay=schedules.linear(start=0.5, end=0.1, steps=600))
        optimizer.build([v])
        many(optimizer, v, 600)
        assert int(optimizer.iterations) == 600
        law = ours.schedule(rates)
        assert [float(law(e)) for e in (299, 300, 551)] == [2.0**-9, 2.0**-10, 2.0**-11]
        found.append(values([v])[0])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4 if floatx == "float64" else 1e-6)


def many(optimizer: Any, v: Any, steps: int) -> None:
    """Make steps with a gradient of 0.1, compiled if Keras compiles on this backend."""
    g = tensor(np.full(2, 0.1), "float32")
    if KIND == "tensorflow":
        import tensorflow as tf

        step = tf.function(lambda: optimizer.apply([g], [v]))
        for _ in range(steps):
            step()
    elif KIND == "jax":
        import jax

        step = jax.jit(lambda state, values: optimizer.stateless_apply(state, [g], values))
        state, now = [x.value for x in optimizer.variables], [v.value]
        for _ in range(steps):
            now, state = step(state, now)
        for x, value in zip([v, *optimizer.variables], [*now, *state], strict=True):
            x.assign(value)
    else:
        for _ in range(steps):
            optimizer.apply([g], [v])


# Sparse gradients


@pytest.mark.skipif(KIND != "tensorflow", reason="IndexedSlices are TensorFlow's")
@pytest.mark.parametrize("options", [{}, {"clipnorm": 0.01}, {"global_clipnorm": 0.01}, {"clipvalue": 0.01}], ids=str)
@pytest.mark.parametrize("name", ["AdamW", "Adam", "SGD", "RMSprop"])
def test_an_embedding_trains_as_with_keras_own_optimizer(name: str, options: dict[str, float]) -> None:
    """No row occurs twice, since Keras takes norms and squares of repeated rows before it adds them up."""
    x, y = np.array([[1, 3, 2], [4, 0, 5], [6, 7, 8], [9, 2, 1]]), np.ones((4, 1))
    found = []
    for module in (keras.optimizers, ours):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Input((3,)), keras.layers.Embedding(10, 4), keras.layers.Flatten()]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile(getattr(module, name)(learning_rate=0.01, **options), "mse")
        model.fit(x, y, epochs=4, batch_size=1, shuffle=False, verbose=0)
        found.append(np.concatenate([np.ravel(w) for w in model.get_weights()]))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(KIND != "tensorflow", reason="IndexedSlices are TensorFlow's")
@pytest.mark.parametrize("recipe", [OPTIONS[k] for k in ("clip", "accumulate", "average", "skip", "shared")], ids=str)
def test_a_sparse_gradient_is_its_dense_one_with_rows_given_twice_added(recipe: Recipe) -> None:
    import tensorflow as tf

    rows = tf.IndexedSlices(
        tf.constant([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]]), tf.constant([2, 0, 2]), tf.constant([3, 2])
    )
    found = []
    for g in (rows, tf.constant([[3.0, -1.0], [0.0, 0.0], [1.5, 2.5]])):
        v = keras.Variable(START["a"], name="a")
        optimizer = ours.from_recipe(recipe)
        optimizer.build([v])
        step = tf.function(partial(optimizer.apply, [g], [v]))
        for _ in range(4):
            step()
        found.append(values([v])[0])
    np.testing.assert_array_equal(found[0], found[1])


# Saving


@pytest.mark.parametrize("name", ["average of gathered", "start from values", "shared", "schedules", "clip"])
@pytest.mark.parametrize("moment", ["before fit", "after fit"])
def test_a_loaded_model_goes_on_as_the_saved_one_whenever_it_was_saved(name: str, moment: str, tmp_path: Any) -> None:
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Input((8,)), keras.layers.Dense(2), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(optimizer=ours.from_recipe(OPTIONS[name]), loss="mse")
    x = np.random.default_rng(2).standard_normal((6, 8)).astype("float32")
    y = x[:, :1]
    fit = {"batch_size": 2, "shuffle": False, "verbose": 0}
    if moment == "after fit":
        model.fit(x, y, **fit)
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    fresh = keras.models.clone_model(model)
    fresh.compile(optimizer=ours.FromRecipe.from_config(model.optimizer.get_config()), loss="mse")
    fresh.optimizer.build(fresh.trainable_variables)
    fresh.load_weights(tmp_path / "m.weights.h5")
    for each in (model, loaded, fresh):
        each.fit(x, y, **fit)
    for each in (loaded, fresh):
        assert int(each.optimizer.iterations) == int(model.optimizer.iterations)
        for a, b in zip(values(each.weights), values(model.weights), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_state_starts_from_the_weights_that_the_first_update_finds() -> None:
    found = []
    for early in (False, True):
        v = keras.Variable(np.zeros(2))
        optimizer = ours.from_recipe(OPTIONS["start from values"])
        if early:
            optimizer.build([v])
        v.assign(np.ones(2))
        for _ in range(3):
            optimizer.apply([tensor(np.ones(2), "float32")], [v])
        found.append(values([v])[0])
    np.testing.assert_array_equal(found[0], found[1])


def test_slots_of_keras_own_bfloat16_optimizer_are_read() -> None:
    theirs, mine = keras.optimizers.Adam(0.1), ours.from_recipe(Recipe("adam", lr=0.1))
    v, w = (keras.Variable(np.ones(2), dtype="bfloat16", name="v") for _ in range(2))
    theirs.apply([tensor(np.ones(2), "bfloat16")], [v])
    mine.build([w])
    store: dict[str, Any] = {}
    theirs.save_own_variables(store)
    mine.load_own_variables(store)
    assert [str(x.dtype) for x in mine.variables[2:]] == ["float32", "float32"]
    for a, b in zip(values(mine.variables), values(theirs.variables), strict=True):
        np.testing.assert_array_equal(a, b)
