"""Arrays of rational numbers: what a division-free law gives when nothing is ever rounded."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from optcore.backends.numpy import np

__all__ = ["Exact", "ExactNamespace", "holds"]

_lift = np.frompyfunc(Fraction, 1, 1)


def holds(x: Any, dtype: str) -> bool:
    """Tell whether every rational number of an object array can be represented in the dtype."""
    rounded = x.astype(np.float64).astype(dtype)
    return bool(np.all(np.isfinite(rounded))) and all(
        Fraction(float(a)) == b for a, b in zip(np.ravel(rounded), np.ravel(x), strict=True)
    )


class Exact:
    """An object array of fractions with the operators of a law that does not divide."""

    __slots__ = ("value",)
    __array_priority__ = 1000

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value, dtype=object)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return int(self.value.ndim)

    def __getitem__(self, key: Any) -> Exact:
        return Exact(self.value[key])

    def __neg__(self) -> Exact:
        return Exact(-self.value)

    def __add__(self, other: Any) -> Exact:
        return Exact(self.value + _value(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Exact:
        return Exact(self.value - _value(other))

    def __rsub__(self, other: Any) -> Exact:
        return Exact(_value(other) - self.value)

    def __mul__(self, other: Any) -> Exact:
        return Exact(self.value * _value(other))

    __rmul__ = __mul__

    def __matmul__(self, other: Any) -> Exact:
        return Exact(self.value @ _value(other))

    def __gt__(self, other: Any) -> Any:
        return self.value > _value(other)

    def __ge__(self, other: Any) -> Any:
        return self.value >= _value(other)

    def __lt__(self, other: Any) -> Any:
        return self.value < _value(other)

    def __le__(self, other: Any) -> Any:
        return self.value <= _value(other)

    def __eq__(self, other: object) -> Any:
        return self.value == _value(other)

    __hash__ = None  # type: ignore[assignment]


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Exact) else np.asarray(_lift(x), dtype=object)


class ExactNamespace:
    """The functions of a law that rounds nothing where sums and products do not.

    NotImplementedError for any other: such a law is not compared.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NotImplementedError(f"{name} of rational numbers")

    def lift(self, x: Any) -> Exact:
        """Numbers as the fractions they are."""
        return Exact(_lift(np.asarray(x, dtype=np.float64)))

    def abs(self, x: Exact) -> Exact:
        return Exact(abs(x.value))

    def sign(self, x: Exact) -> Exact:
        return Exact(_lift(np.asarray(x.value > 0, dtype=int) - np.asarray(x.value < 0, dtype=int)))

    def matrix_transpose(self, x: Exact) -> Exact:
        return Exact(np.swapaxes(x.value, -1, -2))

    def _pick(self, a: Any, b: Any, first: Callable[[Any, Any], Any]) -> Exact:
        a, b = _value(a), _value(b)
        return Exact(np.where(np.asarray(first(a, b), dtype=bool), a, b))

    def maximum(self, a: Any, b: Any) -> Exact:
        return self._pick(a, b, lambda x, y: x >= y)

    def minimum(self, a: Any, b: Any) -> Exact:
        return self._pick(a, b, lambda x, y: x <= y)

    def where(self, condition: Any, a: Any, b: Any) -> Exact:
        return Exact(np.where(np.asarray(condition, dtype=bool), _value(a), _value(b)))

    def zeros_like(self, x: Exact) -> Exact:
        return self.lift(np.zeros(x.shape))

    def ones_like(self, x: Exact) -> Exact:
        return self.lift(np.ones(x.shape))

    def sum(self, x: Exact, *, axis: Any = None, keepdims: bool = False) -> Exact:
        return Exact(np.sum(x.value, axis=axis, keepdims=keepdims))

    def max(self, x: Exact, *, axis: Any = None, keepdims: bool = False) -> Exact:
        return Exact(np.max(x.value, axis=axis, keepdims=keepdims))

    def reshape(self, x: Exact, shape: tuple[int, ...]) -> Exact:
        return Exact(np.reshape(x.value, shape))

    def broadcast_to(self, x: Exact, shape: tuple[int, ...]) -> Exact:
        return Exact(np.broadcast_to(x.value, shape))

    def permute_dims(self, x: Exact, axes: tuple[int, ...]) -> Exact:
        return Exact(np.permute_dims(x.value, axes))
