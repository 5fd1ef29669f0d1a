"""The backend of TensorFlow tensors: ``keras.ops``, with the aliases that make it an Array API namespace.

On its torch and JAX backends Keras' arrays are torch's and JAX', and are run by the backends of those libraries.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from types import SimpleNamespace
from typing import Any

from optcore.backends.base import COMPUTE, Backend, missing

try:
    from keras import ops
    from keras.src import backend as keras_backend
except ImportError:
    raise missing("keras", "keras") from None

SAME = (
    "abs sign sqrt exp log expm1 cos floor maximum minimum where isfinite zeros_like ones_like sum mean max all "
    "matmul reshape broadcast_to sort take flip triu stack real"
).split()

xp = SimpleNamespace(
    **{name: getattr(ops, name) for name in SAME},
    permute_dims=ops.transpose,
    matrix_transpose=lambda x: ops.swapaxes(x, -1, -2),
    argsort=lambda x, descending=False: ops.argsort(-x if descending else x),
    linalg=SimpleNamespace(eigh=ops.eigh, qr=ops.qr, solve=ops.solve, svd=ops.svd),
    asarray=ops.convert_to_tensor,
)


class KerasBackend(Backend):
    """The backend of ``keras.ops`` on TensorFlow tensors, eagerly and in graphs."""

    name = package = extra = "keras"
    traces = True
    flushes = True  # inside tf.function, whose compiler may be XLA

    def dtype(self, x: Any) -> str:
        return str(keras_backend.standardize_dtype(x.dtype))

    def cast(self, x: Any, dtype: str) -> Any:
        return x if self.dtype(x) == dtype else ops.cast(x, dtype)

    def floating(self, x: Any) -> Any:
        return ops.cast(x, COMPUTE[keras_backend.floatx()])

    def cond(self, condition: Any, then: Callable[[Any], Any], state: Any) -> Any:
        if isinstance(condition, bool):
            return then(state) if condition else state
        return ops.cond(condition, lambda: then(state), lambda: state)

    def copy(self, x: Any) -> Any:
        return ops.copy(x)

    def lanes(self, x: Any) -> Any:
        return ops.cast(x, "int64")

    def index(self, like: Any) -> Any:
        return ops.reshape(ops.arange(prod(like.shape), dtype="int64"), tuple(like.shape))

    def power_of_two(self, x: Any) -> Any:
        import tensorflow as tf

        bits = tf.bitwise.bitwise_and(tf.bitcast(x, tf.int32), 0x7F800000)
        return tf.bitcast(bits, tf.float32)

    def array(self, values: Any, dtype: str) -> Any:
        return ops.convert_to_tensor(values, dtype=dtype)

    def numpy(self, x: Any) -> Any:
        return ops.convert_to_numpy(self.cast(x, "float32") if self.dtype(x) in ("bfloat16", "float16") else x)

    def value_and_grad(self, f: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, Any]]:
        import tensorflow as tf

        def run(tree: Any) -> tuple[Any, Any]:
            with tf.GradientTape() as tape:
                tape.watch(tree)
                value = f(tree)
            return value, tape.gradient(value, tree)

        return run


backend = KerasBackend(xp)
