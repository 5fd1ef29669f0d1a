"""The base class of the Keras adapter: options, numbers and the way to the driver and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

from optcore import backends, schedules
from optcore.adapters import native
from optcore.adapters.keras.options import THRESHOLDS, check_base, decoded, encoded, fresh, same_state, settle
from optcore.adapters.keras.state import Start, Variables, dense, summed, traced, values_of
from optcore.adapters.native import Constructor, Native
from optcore.adapters.native.numbers import from_text, to_text
from optcore.backends.base import COMPUTE, Backend, missing
from optcore.backends.leaves import Marks, marks, numbers_at
from optcore.backends.optimizer import advance_all, begin
from optcore.backends.probe import starts_from_values
from optcore.backends.values import numbers
from optcore.recipe import Recipe
from optcore.schedule import Schedule

try:
    import keras
except ImportError:
    raise missing("keras", "keras") from None

__all__ = ["KerasOptimizer", "LearningRate", "schedule"]


def _wide() -> str:
    """The dtype of steps and of what follows from them: bfloat16 counts to 256 only."""
    return COMPUTE[keras.backend.floatx()]


def _backend() -> Backend:
    """Our backend for the tensors of Keras' backend."""
    kind = keras.backend.backend()
    if kind not in ("jax", "torch", "tensorflow"):
        raise ValueError(
            f"optcore.adapters.keras: Keras' backend {kind!r} cannot train; choose jax, torch or tensorflow"
        )
    return backends.named({"tensorflow": "keras"}.get(kind, kind))


@keras.saving.register_keras_serializable(package="optcore")
class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of ours as Keras' own kind, by its text; the step is Keras' iteration.

    ``recipe`` is the word of configurations that were saved before schedules had a text of their own.
    """

    def __init__(self, schedule: str | None = None, *, recipe: str | None = None) -> None:
        text = schedule if recipe is None else recipe
        if text is None or (schedule is not None and recipe is not None):
            raise TypeError("optcore.adapters.keras.LearningRate: give schedule, the text of Schedule.to_json, alone")
        self._schedule = from_text(text)

    def __call__(self, step: Any) -> Any:
        return self._schedule.at(_backend().xp, keras.ops.cast(step, _wide()))

    def get_config(self) -> dict[str, Any]:
        """The schedule as its text."""
        return {"schedule": to_text(self._schedule)}


def schedule(law: Schedule | float) -> LearningRate:
    """The schedule as Keras' own kind, to be saved and loaded with the model; a number stands for a constant one."""
    if isinstance(law, Real) and not isinstance(law, bool):
        law = schedules.constant(value=float(law))
    if not isinstance(law, Schedule):
        raise TypeError(
            f"optcore.adapters.keras.schedule: {law!r} is of type {type(law).__name__}; give a schedule of "
            "optcore.schedules or a number"
        )
    return LearningRate(to_text(law))


@dataclass
class _Own:
    """The attributes of an optimizer beside Keras' own, kept together so that Keras does not track them."""

    plan: Native
    options: dict[str, Any]
    rate: float  #: the learning rate of a state's start
    kept: Variables = field(default_factory=Variables)
    ready: Any = None  #: the fast way on torch, where the last step found one
    late: bool = False  #: whether the state starts from the values before the first update, whenever it was built
    compiled: bool = False  #: whether a step was traced, which keeps the numbers it was traced with


class KerasOptimizer(keras.optimizers.Optimizer):
    """The base of all classes here: keeps state in Keras variables and hands the leaves to the driver.

    Decay is the leaf template's, so Keras' own is switched off; clipping, accumulation, averaging and loss
    scaling by Keras' arguments are Keras' own, a recipe's are the driver's.
    """

    _constructor: Constructor

    def __init__(self, learning_rate: Any, weight_decay: Any, options: dict[str, Any], base: dict[str, Any]) -> None:
        options = {k: decoded(v) for k, v in options.items()}
        rate = learning_rate if isinstance(learning_rate, int | float) else 1.0  # each step is given Keras' own
        plan = self._planned(self._constructor, options, rate)  # raises before anything is kept
        check_base(plan.recipe, base)
        if plan.recipe.average is not None:
            base = {**base, "use_ema": True, "ema_momentum": plan.recipe.average}
        if "recipe" in options:
            weight_decay = plan.recipe.values.get("weight_decay")
        super().__init__(learning_rate=_rate(learning_rate), weight_decay=decoded(weight_decay), **base)
        self._own = _Own(plan, options, rate)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, after a check: it acts from the next step on, or is refused by name."""
        if "_own" in self.__dict__ and not name.startswith("_"):
            if name == "learning_rate":
                value = self._checked_rate(value)
            else:
                settle(self, name, value)
        super().__setattr__(name, value)

    def _checked_rate(self, value: Any) -> Any:
        """A learning rate for Keras' setter; a number goes into a variable, anything else is compiled."""
        value = _rate(value)
        if not isinstance(value, float) and value is not self._learning_rate:
            fresh(self, "learning_rate", value)
        return value

    @staticmethod
    def _planned(constructor: Constructor, options: dict[str, Any], rate: float) -> Native:
        like = options.get("like")
        chosen = native.constructor("keras", constructor.name, like) if like else constructor
        plan = chosen.build(**{k: v for k, v in options.items() if k != "like"}, learning_rate=rate)
        if plan.recipe.layout is None:  # Keras' kernels are in x out on every backend
            plan = replace(plan, recipe=plan.recipe.replace(layout="in_out"))
        return plan

    def build(self, variables: Sequence[Any]) -> None:
        """Make the state of the variables, outside any graph that is being traced."""
        if self.built:
            return
        with _outside_graphs():
            super().build(variables)
            plan, backend = self._own.plan, _backend()
            self._own.late = starts_from_values(plan.recipe.rule)
            values = values_of(variables)
            states = [
                None
                if self._overwrite_variable_with_gradient(v)
                else begin(self._recipe_of(v), backend, [value], [v.path])
                for v, value in zip(variables, values, strict=True)
            ]
            self._own.kept.make(self, plan, variables, states)

    def add_variable_from_reference(self, reference_variable: Any, name: Any = None, initializer: Any = "zeros") -> Any:
        """A variable that follows the placement of another one; what Keras adds up in it is float32 or wider."""
        if initializer == "zeros":
            initializer = Start(summed(reference_variable.dtype))
        return super().add_variable_from_reference(reference_variable, name=name, initializer=initializer)

    def add_variable(
        self, shape: Any, initializer: Any = "zeros", dtype: Any = None, *args: Any, **options: Any
    ) -> Any:
        """A variable of the optimizer, in the dtype of its start where that has one."""
        dtype = initializer.dtype if isinstance(initializer, Start) else dtype
        return super().add_variable(shape, initializer, dtype, *args, **options)

    @property
    def iterations(self) -> Any:
        """The updates made: Keras' count of steps, but for those that gathered a gradient or were skipped."""
        updates = self._own.kept.updates
        return super().iterations if updates is None else updates.value

    def _get_current_learning_rate(self) -> Any:
        """Our schedules count updates, as everywhere; Keras hands its own the micro-steps."""
        if isinstance(self._learning_rate, LearningRate):
            return self._learning_rate(self.iterations)
        return super()._get_current_learning_rate()

    def _set(self, **options: Any) -> None:
        """Change constructor options, after a check."""
        words = ", ".join(f"{name}={value!r}" for name, value in options.items())
        for name, value in options.items():
            fresh(self, name, value)
        changed = {**self._own.options, **options}
        plan = self._planned(self._constructor, changed, self._own.rate)
        if self.built:
            same_state(self, plan, words)
        self._own.plan, self._own.options = plan, changed

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        """Keras' own, from the next step on; RuntimeError where a train step has been compiled."""
        fresh(self, "exclude_from_weight_decay", var_list or var_names)
        super().exclude_from_weight_decay(var_list, var_names)
        self._own.ready = None

    def _of_leaf(self, v: Any) -> tuple[dict[str, Any], Marks]:
        """The numbers that the constructor gives one variable, and the marks that the recipe puts on it."""
        plan, dtype = self._own.plan, keras.backend.standardize_dtype(v.dtype)
        mark = marks(plan.recipe, v.path, "in_out")
        mark = mark._replace(decays=mark.decays and self._use_weight_decay(v))
        return plan.numbers_of(v.path, tuple(v.shape), dtype), mark

    def _recipe_of(self, v: Any) -> Recipe:
        extra, _ = self._of_leaf(v)
        return self._own.plan.recipe.replace(**extra) if extra else self._own.plan.recipe

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: decay is part of the leaf's update."""

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """One step, Keras' own way around ours: gradients are dense, and wide where Keras makes sums of them."""
        clips = any(getattr(self, name) is not None for name in THRESHOLDS)
        wide = clips or self.gradient_accumulation_steps is not None or self.loss_scale_factor is not None
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        if len(grads) == len(variables):
            grads = [dense(g, v, wide) for g, v in zip(grads, variables, strict=True)]
        super().apply(grads, trainable_variables)

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        """Keras' own; a recipe's average, and what it overwrites, is part of the update."""
        hidden = {"use_ema": False} if self._own.plan.recipe.average is not None else {}
        try:
            self.__dict__.update(hidden)
            super()._backend_apply_gradients(grads, trainable_variables)
        finally:
            self.__dict__.update(dict.fromkeys(hidden, True))

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        """Keras' average of every step, in the dtype of the average."""
        wide = [keras.ops.cast(v, summed(v.dtype)) for v in trainable_variables]
        super()._update_model_variables_moving_average(wide)

    def _overwrite_model_variables_with_average_value(self, trainable_variables: Any) -> None:
        """Keras' own, in the dtype of the variable; before the first update there is no average."""
        counter = self._iterations if self._own.plan.recipe.average is None else self.iterations
        count = keras.ops.convert_to_tensor(counter)
        averages = self._model_variables_moving_average
        for v, average in zip(trainable_variables, averages, strict=True):
            if average is not None:
                value = keras.ops.cast(keras.ops.convert_to_tensor(average), v.dtype)
                self.assign(v, _backend().cond(count == 0, lambda _, v=v: keras.ops.convert_to_tensor(v), value))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable; what ``apply`` calls for all of them at once."""
        self._backend_update_step([gradient], [variable], learning_rate)

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        at = [self._get_variable_index(v) for v in trainable_variables]
        kept, recipe = self._own.kept, self._own.plan.recipe
        if recipe.gathers or recipe.average is not None or self._own.late:  # a variable without a gradient takes part
            given = dict(zip(at, grads, strict=True))
            at = [i for i, slots in enumerate(kept.slots) if slots is not None]
            grads = [given.get(i) for i in at]
        variables = [self._trainable_variables[i] for i in at]
        if keras.backend.backend() == "torch" and self._ready_step(at, variables, grads, learning_rate):
            return
        number = isinstance(learning_rate, int | float)
        rate = learning_rate if number else keras.ops.convert_to_tensor(learning_rate)
        count = keras.ops.convert_to_tensor(self.iterations)
        targets = [*variables, *kept.of(at)]
        self._own.compiled |= traced(count)
        if keras.backend.backend() == "tensorflow":
            self._distribute(at, variables, targets, grads, rate, count)
            return
        before = [v.value for v in targets]
        new = self._advance(at, variables, before, grads, rate, count)
        for v, x, old in zip(targets, new, before, strict=True):
            if x is not old:
                self.assign(v, x)

    def _ready_step(self, at: list[int], variables: list[Any], grads: Any, rate: Any) -> bool:
        """Make the step on torch without a look at any single tensor; False, with nothing moved, where it cannot."""
        slots = [self._own.kept.slots[i] for i in at]
        if not _backend().unwatched() or None in slots or (self._own.late and int(self.iterations) == 0):
            return False
        from optcore.adapters.keras.fast import FastStep

        ready: FastStep | None = self._own.ready
        if ready is None or not ready.holds(self, variables, slots, grads):
            ready = self._own.ready = FastStep.of(self, variables, slots)
            if ready is not None and not ready.holds(self, variables, slots, grads):
                ready = self._own.ready = None
        return ready is not None and ready.step(float(rate), int(self.iterations))

    def _distribute(
        self, at: list[int], variables: list[Any], targets: list[Any], grads: list[Any], rate: Any, count: Any
    ) -> None:
        """Under tf.distribute: all-reduce the gradients, then move all variables on each device at once."""
        import tensorflow as tf

        every = [v.value for v in targets]
        there = [pair for pair in zip(grads, every, strict=False) if pair[0] is not None]
        reduced = iter(self._all_reduce_sum_gradients(there))
        grads = [g if g is None else next(reduced)[0] for g in grads]

        def move(_: Any, targets: list[Any], grads: list[Any], rate: Any, count: Any) -> None:
            values = [tf.convert_to_tensor(v) for v in targets]
            for v, x in zip(targets, self._advance(at, variables, values, grads, rate, count), strict=True):
                v.assign(tf.cast(x, v.dtype))

        def merged(strategy: Any, grads: list[Any], rate: Any, count: Any) -> None:
            strategy.extended.update(every[0], move, args=(every, grads, rate, count), group=False)

        call = tf.__internal__.distribute.interim.maybe_merge_call
        call(merged, self._distribution_strategy, grads, rate, count)

    def _advance(
        self, at: list[int], variables: list[Any], values: list[Any], grads: list[Any], rate: Any, count: Any
    ) -> list[Any]:
        """The new values of the variables and of what is kept beside them, in order."""
        recipe, backend, kept = self._own.plan.recipe, _backend(), self._own.kept
        values, beside = values[: len(at)], values[len(at) :]
        fuse = backend.name == "torch" and backend.unwatched()
        if fuse:  # its numbers are at hand, and the variables are the memory that the pass writes to
            count, rate = int(count), float(rate)
        step = count if fuse else keras.ops.cast(count, _wide())
        state = kept.read(at, beside, step, count)
        if self._own.late:
            pairs = zip(variables, values, strict=True)
            begun = tuple(begin(self._recipe_of(v), backend, [p], [v.path]).leaves[0] for v, p in pairs)
            state = state._replace(leaves=backend.cond(count == 0, lambda _: begun, state.leaves))
        dtypes = [backend.dtype(p) if fuse else summed(p.dtype) for p in values]
        grads = [g if g is None else backend.cast(g, dtype) for g, dtype in zip(grads, dtypes, strict=True)]
        rule = recipe.rule
        common = {**numbers(rule.complete(), backend, step, rule.hypers), "lr": rate}
        own = [
            numbers_at(rule, common, mark, backend, step, extra)
            for extra, mark in (self._of_leaf(v) for v in variables)
        ]
        paths = [v.path for v in variables]
        moved, after = advance_all(recipe, backend, values, grads, paths, state, own, fuse=fuse, donate=fuse)
        new = [m.p for m in moved]
        if recipe.average is not None and self.ema_overwrite_frequency:
            due = (after.step != state.step) & (after.step % self.ema_overwrite_frequency == 0)
            pairs = zip(after.average, new, strict=True)
            averages = [backend.cast(a, backend.dtype(p)) for a, p in pairs]
            new = backend.cond(due, lambda _: averages, new)
        return [*new, *kept.write(at, after)]

    def get_config(self) -> dict[str, Any]:
        """Every constructor argument, as Keras' serialisation wants it."""
        config, options = super().get_config(), self._own.options
        config = {**config, **{k: v for k, v in options.items() if k not in ("learning_rate", "weight_decay")}}
        if "weight_decay" not in options:
            config.pop("weight_decay", None)
        return {k: encoded(v) for k, v in config.items()}


def _rate(value: Any) -> Any:
    """A learning rate as Keras' base class takes it: a float, its own kind of schedule or a callable."""
    if isinstance(value, Schedule):
        return schedule(value)
    if isinstance(value, Mapping):
        return keras.saving.deserialize_keras_object(value)
    if callable(value) or isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        return value
    return float(value)


def _outside_graphs() -> AbstractContextManager[Any]:
    """State that starts from values is made eagerly: inside a graph it would start anew at every step."""
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    import tensorflow as tf

    return tf.init_scope()
