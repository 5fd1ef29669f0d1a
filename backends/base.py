"""The backend of an array library: its Array API namespace, and the few operations in which libraries differ."""

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
"""Maps the dtype of a leaf to the dtype in which its law is computed."""


def missing(package: str, extra: str) -> ImportError:
    """Return the error for a library that is not installed, with the pip command that installs it."""
    return ImportError(f"optcore needs {package} here, which is not installed: pip install 'optcore[{extra}]'")


class Backend:
    """An array library that follows the Python Array API, and the operations that the standard leaves open.

    Attributes
    ----------
    name
        The name of this backend, as ``optcore verify --backend`` takes it.
    xp
        The namespace that is given to a law as its first argument.
    package, extra
        The package that must be installed, and the extra of optcore that installs it.
    native_layout
        ``"out_in"`` where the first axis of a matrix is the output in this library's models, ``"in_out"`` where the
        last is.
    flushes
        True where the library turns numbers below the smallest normal one into zero, inputs included.
    traces
        True where an array may be a tracer without a value, so that no Python condition can depend on it.
    fuses
        True where every step runs as one fused pass over memory if it can, and not only on request.
    compiles
        True where a law runs as one compiled function of arrays, of which the leaf's counter t is one.
    devices
        True where arrays may lie on a device that runs a fused pass by itself, without llvmlite.

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
        """Return the name of an array's dtype, such as ``"float32"``."""
        return str(x.dtype).rpartition(".")[2]

    def fault(self, x: Any) -> str | None:
        """Return the reason, in words, why an array of this library cannot be trained; None if it can be."""
        del x
        return None

    def cast(self, x: Any, dtype: str) -> Any:
        """Return the array in the given dtype; it is the same object where it has that dtype already."""
        return x if self.dtype(x) == dtype else self.xp.astype(x, getattr(self.xp, dtype))

    def scalar(self, value: Any, like: Any) -> Any:
        """Return a 0-d array with the value given, in the dtype and on the device of the array ``like``."""
        return self.cast(value, self.dtype(like))

    def floating(self, x: Any) -> Any:
        """Return a step, or an array of steps, in the library's default floating dtype, but at least in float32."""
        if self.dtype(x) in COMPUTE:
            return x
        default = str(self.xp.__array_namespace_info__().default_dtypes()["real floating"]).rpartition(".")[2]
        return self.cast(x, COMPUTE[default])

    def cond(self, condition: Any, then: Callable[[Any], Any], state: Any) -> Any:
        """Return ``then(state)`` if the condition holds, else ``state``; a tracing library compiles the choice."""
        return then(state) if condition else state

    def compiled(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of trees of arrays as the backend runs it: compiled if ``compiles``, else as it is."""
        return f

    def pair(self, x: Any) -> Any:
        """Return a complex array as a real one whose last axis, of length 2, holds the real and imaginary part."""
        return self.xp.stack([self.xp.real(x), self.xp.imag(x)], axis=-1)

    def unpair(self, x: Any, dtype: str) -> Any:
        """Return the complex array of a real one whose last axis holds two parts: the inverse of :meth:`pair`."""
        return self.cast(x[..., 0], dtype) + 1j * self.cast(x[..., 1], dtype)

    def whole(self, x: Any) -> Any:
        """Return a 0-d array where the library gives a number of another type for a result without axes."""
        return x

    def address(self, x: Any) -> tuple[int, Any, bool] | None:
        """Return the array's address, the order of its elements in memory, and True if it may be written to.

        Two arrays of one shape and one order have their elements at the same offsets from their addresses. The answer
        is None for an array that does not lie in this process' memory, or whose elements have gaps between them.
        """
        del x
        return None

    def addresses(self, arrays: Sequence[Any]) -> list[int] | None:
        """Return the addresses of arrays that are all contiguous row by row and may be written to, found at once.

        The answer is None if one of them is not, or if the library has no quicker look-up than :meth:`address`.
        """
        del arrays
        return None

    def unwatched(self, arrays: Sequence[Any] = ()) -> bool:
        """Tell whether memory may be written now without the library's knowledge, since it neither records nor traces.

        With ``arrays``, no result computed from them may have to be recorded for differentiation either.
        """
        del arrays
        return True

    def written(self, arrays: Sequence[Any]) -> None:
        """Tell the library that these arrays have been written to without its knowledge."""

    def empty_like(self, x: Any) -> Any:
        """Return a new array of the same shape, dtype and memory order, with undefined values."""
        return self.xp.empty_like(x)

    def threads(self) -> int:
        """Return the number of threads that a pass over memory may use."""
        from optcore.backends.fused.running.pool import available

        return available()

    def lanes(self, x: Any) -> Any:
        """Return whole numbers in an integer dtype that keeps the low 32 bits of products of 32-bit numbers."""
        return self.xp.astype(x, self.xp.int64)

    def index(self, like: Any) -> Any:
        """Return the position of each element of an array: the numbers 0, 1, ... in its shape and on its device."""
        counted = self.xp.arange(prod(like.shape), dtype=self.xp.int64, device=like.device)
        return self.xp.reshape(counted, tuple(like.shape))

    def shards(self, x: Any) -> Shards | None:
        """Return the placement of a parameter that is spread over processes; None if each process has all of it."""
        del x
        return None

    def piece(self, x: Any) -> str | None:
        """Return the name of the class that cut this parameter out of a leaf of unknown shape; None if it is whole."""
        del x
        return None

    def power_of_two(self, x: Any) -> Any:
        """Return, for each float32 number x, the largest power of two up to ``|x|``; 0 for 0 and subnormals."""
        raise NotImplementedError(f"optcore.backends: {self.package} has no way to read the bits of a number")

    def copy(self, x: Any) -> Any:
        """Return a new array with the same values, which shares no memory with the one given."""
        return self.xp.asarray(x, copy=True)

    def array(self, values: Any, dtype: str) -> Any:
        """Return an array of this library, in the given dtype, from NumPy values."""
        return self.xp.asarray(values, dtype=getattr(self.xp, dtype))

    def numpy(self, x: Any) -> Any:
        """Return the values as a NumPy array; float16 and bfloat16 become float32."""
        import numpy as np

        return np.asarray(self.cast(x, "float32") if self.dtype(x) in ("bfloat16", "float16") else x)

    def widen(self) -> None:
        """Make float64 available in this process, for libraries in which that is a setting (JAX)."""

    def without_gradient(self) -> AbstractContextManager[Any]:
        """Return a context manager in which arithmetic is not recorded for differentiation."""
        return nullcontext()

    def value_and_grad(self, f: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, Any]]:
        """Return the function of a tree of arrays that gives ``f``'s value there and the tree of its gradients."""
        raise NotImplementedError(
            f"optcore.backends: {self.package} has no automatic differentiation; compute the gradient yourself"
        )
