"""What a backend is: a namespace and the few things in which array libraries differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optcore.backends.shards import Shards

__all__ = ["COMPUTE", "Backend", "missing"]

COMPUTE = {
    "float64": "float64",
    "float32": "float32",
    "float16": "float32",
    "bfloat16": "float32",
    "complex64": "float32",
    "complex128": "float64",
}
"""A leaf's dtype and the one its law is computed in."""


def missing(package: str, extra: str) -> ImportError:
    """The error for a library that is not installed."""
    return ImportError(f"optcore needs {package} here, which is not installed: pip install 'optcore[{extra}]'")


class Backend:
    """An array library that follows the Python Array API, with what the standard leaves open.

    Attributes
    ----------
    name
        As in ``optcore verify --backend``.
    xp
        The namespace a law is run with.
    package, extra
        What must be installed, and the extra that installs it.
    native_layout
        Which axis of a matrix is the output in this library's models.
    flushes
        Whether numbers below the smallest normal one become zero, on the way in too.
    traces
        Whether an array may be without a value yet, so that no condition on it can be read.
    fuses
        Whether every step is run in one pass where it can be, and not only on request.
    compiles
        Whether a law is run as one compiled function of arrays, the leaf's counter among them.
    devices
        Whether arrays may lie on a device that runs a pass by itself, without llvmlite.

    """

    name: str
    package: str
    extra: str
    native_layout = "in_out"
    flushes = False
    traces = False
    fuses = False
    compiles = False
    devices = False

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    def dtype(self, x: Any) -> str:
        """The name of an array's dtype, as ``"float32"``."""
        return str(x.dtype).rpartition(".")[2]

    def fault(self, x: Any) -> str | None:
        """The words for why an array cannot be trained, though its type is the library's; None where it can be."""
        del x
        return None

    def cast(self, x: Any, dtype: str) -> Any:
        """The array in another dtype, itself where it has it."""
        return x if self.dtype(x) == dtype else self.xp.astype(x, getattr(self.xp, dtype))

    def scalar(self, value: Any, like: Any) -> Any:
        """A 0-d array in the dtype and on the device of another array."""
        return self.cast(value, self.dtype(like))

    def floating(self, x: Any) -> Any:
        """A step or array of steps in the library's default floating dtype, or in float32 where that is narrower."""
        if self.dtype(x) in COMPUTE:
            return x
        default = str(self.xp.__array_namespace_info__().default_dtypes()["real floating"]).rpartition(".")[2]
        return self.cast(x, COMPUTE[default])

    def cond(self, condition: Any, then: Callable[[Any], Any], state: Any) -> Any:
        """``then(state)`` where the condition holds, else ``state``."""
        return then(state) if condition else state

    def compiled(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """A function of trees of arrays, compiled where the backend compiles."""
        return f

    def pair(self, x: Any) -> Any:
        """A complex array as a real one with a last axis for the real and imaginary part."""
        return self.xp.stack([self.xp.real(x), self.xp.imag(x)], axis=-1)

    def unpair(self, x: Any, dtype: str) -> Any:
        """The inverse of :meth:`pair`."""
        return self.cast(x[..., 0], dtype) + 1j * self.cast(x[..., 1], dtype)

    def whole(self, x: Any) -> Any:
        """An array, where the library gives something else for a result without axes."""
        return x

    def address(self, x: Any) -> tuple[int, Any, bool] | None:
        """Where the array lies in this process' memory, the order of its elements, and whether it may be written.

        Two arrays of one shape and one order have their elements at the same places. None for an array that is
        not there, or has gaps.
        """
        del x
        return None

    def addresses(self, arrays: Sequence[Any]) -> list[int] | None:
        """The addresses of arrays that all lie in memory row by row and may be written, found for all at once.

        None where one does not, or where the library has no quicker way than :meth:`address`.
        """
        del arrays
        return None

    def unwatched(self, arrays: Sequence[Any] = ()) -> bool:
        """Tell whether memory may be written now without the library's knowledge: nothing records or traces.

        With ``arrays`` also whether nothing computed from them has to be recorded for differentiation.
        """
        del arrays
        return True

    def written(self, arrays: Sequence[Any]) -> None:
        """Tell the library that these arrays were written to without its knowledge."""

    def empty_like(self, x: Any) -> Any:
        """An array of the same shape, dtype and order, its values undefined."""
        return self.xp.empty_like(x)

    def threads(self) -> int:
        """The number of threads that a pass over memory may use."""
        from optcore.backends.fused.running.pool import available

        return available()

    def lanes(self, x: Any) -> Any:
        """Whole numbers as integers in which products of 32-bit numbers keep their low 32 bits."""
        return self.xp.astype(x, self.xp.int64)

    def index(self, like: Any) -> Any:
        """The position of each element in an array: the numbers 0, 1, ... in its shape and on its device."""
        counted = self.xp.arange(prod(like.shape), dtype=self.xp.int64, device=like.device)
        return self.xp.reshape(counted, tuple(like.shape))

    def shards(self, x: Any) -> Shards | None:
        """How a parameter is spread over several processes, None where it is whole in each."""
        del x
        return None

    def piece(self, x: Any) -> str | None:
        """The name of the library that cut a parameter from a leaf that is not known any more, None for a whole one."""
        del x
        return None

    def power_of_two(self, x: Any) -> Any:
        """The largest power of two that is no larger than the size of a float32 number; 0 for 0 and subnormals."""
        raise NotImplementedError(f"optcore.backends: {self.package} has no way to read the bits of a number")

    def copy(self, x: Any) -> Any:
        """An array of its own with the same values."""
        return self.xp.asarray(x, copy=True)

    def array(self, values: Any, dtype: str) -> Any:
        """An array of this library from NumPy values."""
        return self.xp.asarray(values, dtype=getattr(self.xp, dtype))

    def numpy(self, x: Any) -> Any:
        """The values of an array as a NumPy array, low-precision ones in float32."""
        import numpy as np

        return np.asarray(self.cast(x, "float32") if self.dtype(x) in ("bfloat16", "float16") else x)

    def widen(self) -> None:
        """Make float64 available in this process, where that is a setting."""

    def without_gradient(self) -> AbstractContextManager[Any]:
        """A context in which arithmetic is not recorded for differentiation."""
        return nullcontext()

    def value_and_grad(self, f: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, Any]]:
        """A function of a tree of arrays that returns ``f``'s value and its gradient tree."""
        raise NotImplementedError(
            f"optcore.backends: {self.package} has no automatic differentiation; compute the gradient yourself"
        )
