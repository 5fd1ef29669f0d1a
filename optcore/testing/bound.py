"""Arrays that carry a certified error bound through a law.

Each holds the float64 value of an expression and a bound on how far any backend's result may lie from
it, whatever the order of its sums and whether it contracts to FMA. Every operation adds ``u |result|`` and
the smallest number the backend keeps, and propagates what came in (Higham 2002, ch. 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from optcore.backends.numpy import np
from optcore.matrix import Interpreter
from optcore.testing.opaque import check_step

__all__ = ["BoundNamespace", "Bounded", "Condition"]

U64 = 2.0**-53
ELEMENTARY = 8.0
"""Units that exp, log and pow may be off: twice the 4 that the vector libraries of NumPy and XLA state."""
UNITS = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
LARGEST = {"float64": 1.79e308, "float32": 3.40e38, "float16": 65504.0, "bfloat16": 3.38e38}
TINY = {"float64": 2.0**-1022, "float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}


class Condition:
    """A truth value for each element, and whether rounding cannot turn it."""

    __slots__ = ("sure", "value")

    def __init__(self, value: Any, sure: Any) -> None:
        self.value, self.sure = value, sure

    def __and__(self, other: Any) -> Condition:
        no = (~self.value & self.sure) | (~other.value & other.sure)
        return Condition(self.value & other.value, no | (self.sure & other.sure))

    def __or__(self, other: Any) -> Condition:
        yes = (self.value & self.sure) | (other.value & other.sure)
        return Condition(self.value | other.value, yes | (self.sure & other.sure))


class Bounded:
    """A value in float64 with a bound on the backend's distance from it; shapes follow NumPy."""

    __slots__ = ("error", "ns", "value")
    __array_priority__ = 1000

    def __init__(self, ns: BoundNamespace, value: Any, error: Any) -> None:
        self.ns = ns
        self.value = np.asarray(value, dtype=np.float64)
        self.error = np.broadcast_to(np.asarray(error, dtype=np.float64), self.value.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return int(self.value.ndim)

    def __getitem__(self, key: Any) -> Bounded:
        return Bounded(self.ns, self.value[key], self.error[key])

    def __neg__(self) -> Bounded:
        return Bounded(self.ns, -self.value, self.error)

    def __add__(self, other: Any) -> Bounded:
        return self.ns.add(self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Bounded:
        return self.ns.add(self, -self.ns.lift(other))

    def __rsub__(self, other: Any) -> Bounded:
        return self.ns.add(other, -self)

    def __mul__(self, other: Any) -> Bounded:
        return self.ns.multiply(self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Bounded:
        return self.ns.divide(self, other)

    def __rtruediv__(self, other: Any) -> Bounded:
        return self.ns.divide(other, self)

    def __pow__(self, exponent: float) -> Bounded:
        return self.ns.power(self, exponent)

    def __mod__(self, other: int) -> Bounded:
        """Of whole numbers, as steps are: no rounding, and no bound for what is not exact."""
        return Bounded(self.ns, np.mod(self.value, other), np.where(self.error == 0, 0.0, np.inf))

    def __matmul__(self, other: Any) -> Bounded:
        return self.ns.matmul(self, other)

    def __gt__(self, other: Any) -> Condition:
        return self.ns.compare(self, other, np.greater)

    def __ge__(self, other: Any) -> Condition:
        return self.ns.compare(self, other, np.greater_equal)

    def __lt__(self, other: Any) -> Condition:
        return self.ns.compare(self, other, np.less)

    def __le__(self, other: Any) -> Condition:
        return self.ns.compare(self, other, np.less_equal)

    def __eq__(self, other: object) -> Any:
        return self.ns.compare(self, other, np.equal)

    __hash__ = None  # type: ignore[assignment]


class BoundNamespace(Interpreter):
    """A namespace of :class:`Bounded` arrays for a backend that computes in ``dtype``.

    ``record`` holds what a backend was given and returned for the opaque steps of the same run, as pairs (see
    :mod:`optcore.testing.opaque`). ``used`` collects the inexact operations that a law performs.
    """

    def __init__(self, dtype: str, *, flushes: bool = False, record: Iterator[Any] | None = None) -> None:
        self.dtype = dtype
        self.unit = UNITS[dtype]
        self.eta = TINY[dtype] * (1.0 if flushes else 2 * self.unit)
        self.flushes = flushes
        self.record = record
        self.used: set[str] = set()
        self.linalg = _Linalg(self)

    # Making arrays.

    def exact(self, x: Any) -> Bounded:
        """An array given to the backend as it is; a flushing backend may see its subnormals as zero."""
        value = np.asarray(x, dtype=np.float64)
        small = np.where(np.abs(value) < TINY[self.dtype], np.abs(value), 0.0) if self.flushes else 0.0
        return Bounded(self, value, small)

    def lift(self, x: Any) -> Bounded:
        """A number is taken at its value rounded to the dtype."""
        if isinstance(x, Bounded):
            return x
        value = np.float64(x)
        given = np.float64(np.float32(value)) if self.dtype == "float32" else value
        lost = abs(value) if self.flushes and abs(value) < TINY[self.dtype] else 0.0
        return Bounded(self, value, lost + (0.0 if given == value else self.unit * abs(value) + self.eta))

    def rounded(self, value: Any, error: Any, units: float = 1.0) -> Bounded:
        """The result of an operation: its incoming error, one rounding, and float64's own."""
        size = np.abs(value) + error
        error = error + units * (self.unit + U64) * size + np.where(size > 0, self.eta, 0.0)
        return Bounded(self, value, np.where(size > LARGEST[self.dtype], np.inf, error))

    # Arithmetic.

    def add(self, a: Any, b: Any) -> Bounded:
        a, b = self.lift(a), self.lift(b)
        return self.rounded(a.value + b.value, a.error + b.error)

    def multiply(self, a: Any, b: Any) -> Bounded:
        a, b = self.lift(a), self.lift(b)
        error = np.abs(a.value) * b.error + np.abs(b.value) * a.error + a.error * b.error
        return self.rounded(a.value * b.value, error)

    def divide(self, a: Any, b: Any) -> Bounded:
        self.used.add("divide")
        by_number = not isinstance(b, Bounded)
        a, b = self.lift(a), self.lift(b)
        value = a.value / b.value
        room = np.abs(b.value) - b.error
        error = np.where(room > 0, (a.error + np.abs(value) * b.error) / np.where(room > 0, room, 1.0), np.inf)
        return self.rounded(value, error, 3.0 if by_number else 1.0)  # a number may be turned into its reciprocal

    def power(self, a: Bounded, exponent: float) -> Bounded:
        self.used.add("power")
        value = a.value**exponent
        low, high = a.value - a.error, a.value + a.error
        whole = float(exponent).is_integer() and exponent > 0
        with np.errstate(invalid="ignore"):
            ends = [np.abs(end**exponent - value) for end in (low, high)]
        error = np.maximum(np.maximum(*ends), np.where((low < 0) & (high > 0), np.abs(value), 0.0))
        return self.rounded(value, error if whole else np.where(low >= 0, error, np.inf), ELEMENTARY)

    def matmul(self, a: Any, b: Any) -> Bounded:
        size_a, size_b = np.abs(a.value) + a.error, np.abs(b.value) + b.error
        n = a.value.shape[-1]
        error = np.abs(a.value) @ b.error + a.error @ np.abs(b.value) + a.error @ b.error
        error = error + self._gamma(n) * (size_a @ size_b) + n * self.eta
        return Bounded(self, a.value @ b.value, error)

    def _gamma(self, n: int) -> float:
        unit = self.unit + U64
        return n * unit / (1.0 - n * unit)

    # Functions.

    def abs(self, x: Bounded) -> Bounded:
        return Bounded(self, np.abs(x.value), x.error)

    def sign(self, x: Bounded) -> Bounded:
        value = np.sign(x.value)
        sure = (np.abs(x.value) > x.error) | (x.error == 0)
        return Bounded(self, value, np.where(sure, 0.0, 1.0 + np.abs(value)))

    def sqrt(self, x: Any) -> Bounded:
        self.used.add("sqrt")
        x = self.lift(x)
        value = np.sqrt(x.value)
        low, high = np.sqrt(np.maximum(x.value - x.error, 0.0)), np.sqrt(x.value + x.error)
        return self.rounded(value, np.maximum(value - low, high - value))

    def exp(self, x: Any) -> Bounded:
        self.used.add("exp")
        value = np.exp(x.value)
        return self.rounded(value, value * np.expm1(x.error), ELEMENTARY)

    def expm1(self, x: Any) -> Bounded:
        self.used.add("expm1")
        value = np.expm1(x.value)
        return self.rounded(value, np.exp(x.value) * np.expm1(x.error), ELEMENTARY)

    def log(self, x: Any) -> Bounded:
        self.used.add("log")
        room = x.value - x.error
        error = np.where(room > 0, np.log1p(x.error / np.where(room > 0, room, 1.0)), np.inf)
        return self.rounded(np.log(x.value), error, ELEMENTARY)

    def cos(self, x: Any) -> Bounded:
        self.used.add("cos")
        return self.rounded(np.cos(x.value), np.minimum(x.error, 2.0), ELEMENTARY)

    def floor(self, x: Any) -> Bounded:
        value = np.floor(x.value)
        ends = np.floor(x.value + x.error) - value, value - np.floor(x.value - x.error)
        return Bounded(self, value, np.maximum(*ends))

    def maximum(self, a: Any, b: Any) -> Bounded:
        return self._extreme(self.lift(a), self.lift(b), np.maximum, 1.0)

    def minimum(self, a: Any, b: Any) -> Bounded:
        return self._extreme(self.lift(a), self.lift(b), np.minimum, -1.0)

    def _extreme(self, a: Bounded, b: Bounded, pick: Callable[..., Any], side: float) -> Bounded:
        lead = side * (a.value - b.value)
        reach = a.error + b.error
        error = np.where(lead > reach, a.error, np.where(-lead > reach, b.error, np.maximum(a.error, b.error)))
        return Bounded(self, pick(a.value, b.value), error)

    def compare(self, a: Any, b: Any, test: Callable[..., Any]) -> Condition:
        a, b = self.lift(a), self.lift(b)
        sure = (np.abs(a.value - b.value) > a.error + b.error) | ((a.error == 0) & (b.error == 0))
        return Condition(np.asarray(test(a.value, b.value)), sure)

    def where(self, condition: Any, x: Any, y: Any) -> Bounded:
        x, y = self.lift(x), self.lift(y)
        if not isinstance(condition, Condition):
            condition = Condition(np.asarray(condition), np.asarray(True))
        taken = np.where(condition.value, x.value, y.value)
        error = np.where(condition.value, x.error, y.error)
        other = np.where(condition.value, y.error, x.error) + np.abs(x.value - y.value)
        return Bounded(self, taken, np.where(condition.sure, error, np.maximum(error, other)))

    def isfinite(self, x: Bounded) -> Any:
        return np.isfinite(x.value)

    # Shapes and reductions.

    def zeros_like(self, x: Bounded) -> Bounded:
        return Bounded(self, np.zeros(x.shape), 0.0)

    def ones_like(self, x: Bounded) -> Bounded:
        return Bounded(self, np.ones(x.shape), 0.0)

    def sum(self, x: Bounded, *, axis: Any = None, keepdims: bool = False) -> Bounded:
        value = np.sum(x.value, axis=axis, keepdims=keepdims)
        size = np.sum(np.abs(x.value) + x.error, axis=axis, keepdims=keepdims)
        n = x.value.size // max(np.asarray(value).size, 1)
        error = np.sum(x.error, axis=axis, keepdims=keepdims)
        lost = n * self.eta if self.flushes else 0.0  # a partial sum may be subnormal by cancellation
        return Bounded(self, value, error + self._gamma(n) * size + np.where(size > 0, lost, 0.0))

    def mean(self, x: Bounded, *, axis: Any = None, keepdims: bool = False) -> Bounded:
        total = self.sum(x, axis=axis, keepdims=keepdims)
        n = x.value.size // max(total.value.size, 1)
        return self.divide(total, float(n))

    def max(self, x: Bounded, *, axis: Any = None, keepdims: bool = False) -> Bounded:
        error = np.max(x.error, axis=axis, keepdims=keepdims)
        return Bounded(self, np.max(x.value, axis=axis, keepdims=keepdims), error)

    def _both(self, x: Bounded, f: Callable[[Any], Any]) -> Bounded:
        return Bounded(self, f(x.value), f(x.error))

    def matrix_transpose(self, x: Bounded) -> Bounded:
        return self._both(x, np.matrix_transpose)

    def triu(self, x: Bounded) -> Bounded:
        return self._both(x, np.triu)

    def permute_dims(self, x: Bounded, axes: tuple[int, ...]) -> Bounded:
        return self._both(x, lambda v: np.permute_dims(v, axes))

    def broadcast_to(self, x: Bounded, shape: tuple[int, ...]) -> Bounded:
        return self._both(x, lambda v: np.broadcast_to(v, shape))

    def reshape(self, x: Bounded, shape: tuple[int, ...]) -> Bounded:
        return self._both(x, lambda v: np.reshape(v, shape))

    def flip(self, x: Bounded, *, axis: int) -> Bounded:
        return self._both(x, lambda v: np.flip(v, axis=axis))

    def take(self, x: Bounded, indices: Any, *, axis: int) -> Bounded:
        return self._both(x, lambda v: np.take(v, indices, axis=axis))

    def sort(self, x: Bounded) -> Bounded:
        """Of two vectors that are nowhere further apart, the sorted ones are nowhere further apart."""
        return Bounded(self, np.sort(x.value), np.broadcast_to(np.max(x.error), x.shape))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NotImplementedError(f"xp.{name} has no error bound; call it in a function marked @optcore.matrix.opaque")

    def opaque(self, step: Callable[..., Any], *arrays: Any) -> Any:
        self.used.add(step.__name__)
        if self.record is None:
            raise ValueError(f"{step.__name__}: an opaque step is checked against a backend's run; give its record")
        return check_step(self, step, arrays, next(self.record))


class _Linalg:
    """A matrix function outside an opaque step has no error bound."""

    def __init__(self, ns: BoundNamespace) -> None:
        self._ns = ns

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(f"linalg.{name}: call it in a function marked @optcore.matrix.opaque")
