"""A recipe's state in Keras variables: made in the order in which Keras saves them, read and written as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optcore.adapters.native import Native
from optcore.backends.base import COMPUTE, missing
from optcore.backends.optimizer import OptimizerState
from optcore.rule import Rule

try:
    import keras
except ImportError:
    raise missing("keras", "keras") from None

if TYPE_CHECKING:
    from optcore.adapters.keras.optimizer import KerasOptimizer

__all__ = ["Start", "Variables", "dense", "summed", "traced", "values_of"]


@dataclass
class Variables:
    """Variables by what they hold; those of one parameter stand at its index."""

    plan: Native | None = None  #: the one whose state this is
    slots: list[list[Any] | None] = field(default_factory=list)  #: None where the gradient is the new value
    gathered: list[Any] = field(default_factory=list)
    average: list[Any] = field(default_factory=list)  #: Keras' own, so that it can finalize with them
    shared: list[Any] = field(default_factory=list)
    updates: Any = None  #: updates made, where they are not Keras' iterations
    micro: Any = None

    def make(
        self, optimizer: KerasOptimizer, plan: Native, variables: Sequence[Any], states: Sequence[OptimizerState | None]
    ) -> None:
        """Make the variables, block after block as Keras has them in its files."""
        self.plan, recipe = plan, plan.recipe
        fields = recipe.rule.fields
        arrays = [None if s is None else recipe.rule.unpack(s.leaves[0]) for s in states]
        self.slots = [None if mine is None else [None] * len(fields) for mine in arrays]
        local = tuple(f.name for f in fields if not f.shared)
        for block in plan.blocks or (local,):
            for v, mine, slots in zip(variables, arrays, self.slots, strict=True):
                for i, f in enumerate(fields):
                    if mine is not None and slots is not None and f.name in block and mine[i] is not None:
                        slots[i] = _beside(optimizer, v, plan.slots[i].name, mine[i])
        names = [slot.name for slot in plan.slots if slot.shared]
        begun = [s.shared for s in states if s is not None]
        wide = (x for x in begun if x and keras.backend.standardize_dtype(x[0].dtype) == "float64")
        shared: tuple[Any, ...] = next(wide, begun[0] if begun else ())  # of the widest variable
        self.shared = [_alone(optimizer, name, x) for name, x in zip(names, shared, strict=False)]
        if recipe.on_nonfinite == "skip" or recipe.gathers:
            self.updates = optimizer.add_variable((), "zeros", dtype="int", name="updates")
        if recipe.gathers:
            self.micro = optimizer.add_variable((), "zeros", dtype="int", name="micro")
            self.gathered = [optimizer.add_variable_from_reference(v, name="gathered") for v in variables]
        if recipe.average is not None:
            self.average = optimizer._model_variables_moving_average

    @property
    def _rule(self) -> Rule:
        assert self.plan is not None, "the optimizer is built before it moves"
        return self.plan.recipe.rule

    def of(self, at: Sequence[int]) -> list[Any]:
        """The variables of the parameters at these places, and those of all, in the order of :meth:`write`."""
        found = [s for i in at for s in self.slots[i] or [] if s is not None]
        found += [kept[i] for kept in (self.gathered, self.average) if kept for i in at]
        return [*found, *self.shared, *(v for v in (self.updates, self.micro) if v is not None)]

    def read(self, at: Sequence[int], values: Sequence[Any], step: Any, count: Any) -> OptimizerState:
        """The driver's state from the values of :meth:`of`."""
        rest, rule, n = iter(values), self._rule, len(at)
        leaves = [rule.pack([None if s is None else next(rest) for s in self.slots[i] or ()]) for i in at]
        gathered, average = (tuple(next(rest) for _ in at) if kept else () for kept in (self.gathered, self.average))
        shared = tuple(next(rest) for _ in self.shared)
        micro = 0 if self.micro is None else values[-1]
        return OptimizerState(step, micro, shared, (count,) * n, tuple(leaves), gathered, average)

    def write(self, at: Sequence[int], after: OptimizerState) -> list[Any]:
        """The new values, in the order of :meth:`of`."""
        rule, new = self._rule, []
        for i, leaf in zip(at, after.leaves, strict=True):
            new += [x for s, x in zip(self.slots[i] or (), rule.unpack(leaf), strict=True) if s is not None]
        for i, x in zip(at, after.gathered, strict=False):
            new.append(keras.ops.zeros_like(self.gathered[i]) if x is None else x)
        new += [*after.average, *after.shared]
        counters = ((self.updates, after.step), (self.micro, after.micro))
        return new + [x for v, x in counters if v is not None]


@dataclass(frozen=True)
class Start:
    """The initializer of a variable: a value, or zero, in a dtype that may differ from that of its parameter."""

    dtype: str
    value: Any = None

    def __call__(self, shape: Any, *_: Any, **__: Any) -> Any:
        return keras.ops.zeros(shape, dtype=self.dtype) if self.value is None else self.value


def _beside(optimizer: KerasOptimizer, v: Any, name: str, value: Any) -> Any:
    """A variable with a start value; one of the parameter's shape follows its placement."""
    if tuple(value.shape) == tuple(v.shape):
        start = Start(keras.backend.standardize_dtype(value.dtype), value)
        return optimizer.add_variable_from_reference(v, name=name, initializer=start)
    return _alone(optimizer, f"{v.path.replace('/', '_')}_{name}", value)


def _alone(optimizer: KerasOptimizer, name: str, value: Any) -> Any:
    start = Start(keras.backend.standardize_dtype(value.dtype), value)
    return optimizer.add_variable(tuple(value.shape), start, name=name)


def summed(dtype: Any) -> str:
    """The dtype of what is added up over elements or steps of a variable."""
    name = str(keras.backend.standardize_dtype(dtype))
    return name if name.startswith("complex") else COMPUTE.get(name, name)


def dense(g: Any, v: Any, wide: bool) -> Any:
    """A gradient with zeros for the rows that a sparse one leaves out, those given twice added; None stays."""
    kind = keras.backend.backend()
    if kind == "tensorflow" and hasattr(g, "indices"):
        import tensorflow as tf

        if isinstance(g, tf.IndexedSlices):
            g = tf.math.unsorted_segment_sum(g.values, g.indices, v.shape[0])
    if kind == "torch" and getattr(g, "is_sparse", False):
        g = g.to_dense()
    if g is None or not (wide or hasattr(g, "todense") or hasattr(g, "dense_shape")):
        return g
    g = keras.ops.convert_to_tensor(g, sparse=False)
    return keras.ops.cast(g, summed(g.dtype)) if wide else g


def traced(x: Any) -> bool:
    """Tell whether this step is being traced into a graph, which keeps Python's numbers as they are now."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return not tf.executing_eagerly()
    return "Tracer" in {each.__name__ for each in type(x).__mro__}


def values_of(variables: Sequence[Any]) -> list[Any]:
    """The values of the variables, zeros where TensorFlow is still to initialise one.

    A model that is built inside ``fit``'s first trace has no values before the trace ends.
    """
    if keras.backend.backend() == "tensorflow" and not all(bool(v.value.is_initialized()) for v in variables):
        return [keras.ops.zeros(v.shape, dtype=v.dtype) for v in variables]
    return [keras.ops.convert_to_tensor(v) for v in variables]
