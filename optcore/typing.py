"""The types of a law's arguments: arrays, the namespace it may use, and numbers with bounds and units.

Units are powers of the gradient's unit ``[g]`` and the parameter's unit ``[p]``: Adam's epsilon is added to a root of
``g * g``, so it is in ``[g]``. A unit is declared together with its number, and :mod:`optcore.testing` proves it: a
rule gives the same bits if all its quantities are scaled by powers of two according to their units.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, Protocol, TypeAlias, runtime_checkable

from annotated_types import Ge, Gt, Le, Lt

__all__ = [
    "Array",
    "Count",
    "Decay",
    "Drawn",
    "Epsilon",
    "Finite",
    "Layout",
    "Limit",
    "Namespace",
    "Noise",
    "NonNegative",
    "Positive",
    "Scalar",
    "Shared",
    "Unit",
    "UnitInterval",
    "Whole",
]


@runtime_checkable
class Array(Protocol):
    """The protocol of an array in a law, which may use operators, ``shape``, ``ndim`` and slicing, and nothing else."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Array: ...
    def __neg__(self) -> Array: ...
    def __add__(self, other: Any, /) -> Array: ...
    def __radd__(self, other: Any, /) -> Array: ...
    def __sub__(self, other: Any, /) -> Array: ...
    def __rsub__(self, other: Any, /) -> Array: ...
    def __mul__(self, other: Any, /) -> Array: ...
    def __rmul__(self, other: Any, /) -> Array: ...
    def __truediv__(self, other: Any, /) -> Array: ...
    def __rtruediv__(self, other: Any, /) -> Array: ...
    def __pow__(self, other: Any, /) -> Array: ...
    def __mod__(self, other: Any, /) -> Array: ...
    def __matmul__(self, other: Any, /) -> Array: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __le__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...
    def __eq__(self, other: Any, /) -> Any: ...


Scalar: TypeAlias = float | Array
"""A Python number, or a 0-d array that may be traced."""


class Linalg(Protocol):
    """The matrix functions that a law may call as ``xp.linalg``; the proof checks each result by its residual."""

    def eigh(self, x: Array, /) -> tuple[Array, Array]: ...
    def qr(self, x: Array, /) -> tuple[Array, Array]: ...
    def solve(self, x1: Array, x2: Array, /) -> Array: ...
    def svd(self, x: Array, /, *, full_matrices: bool = True) -> tuple[Array, Array, Array]: ...


class Namespace(Protocol):
    """The functions a law may call: a subset of the Python Array API standard.

    Reductions take ``axis`` and ``keepdims``; without an axis they give a 0-d array.
    """

    linalg: Linalg

    def abs(self, x: Array, /) -> Array: ...
    def sign(self, x: Array, /) -> Array: ...
    def sqrt(self, x: Any, /) -> Any: ...
    def exp(self, x: Any, /) -> Any: ...
    def log(self, x: Any, /) -> Any: ...
    def expm1(self, x: Any, /) -> Any: ...
    def cos(self, x: Any, /) -> Any: ...
    def floor(self, x: Any, /) -> Any: ...
    def maximum(self, x: Any, y: Any, /) -> Any: ...
    def minimum(self, x: Any, y: Any, /) -> Any: ...
    def where(self, condition: Any, x: Any, y: Any, /) -> Any: ...
    def isfinite(self, x: Array, /) -> Array: ...
    def zeros_like(self, x: Array, /) -> Array: ...
    def ones_like(self, x: Array, /) -> Array: ...
    def sum(self, x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array: ...
    def mean(self, x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array: ...
    def max(self, x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array: ...
    def all(self, x: Array, /, *, axis: Any = None, keepdims: bool = False) -> Array: ...
    def matmul(self, x: Array, y: Array, /) -> Array: ...
    def matrix_transpose(self, x: Array, /) -> Array: ...
    def triu(self, x: Array, /) -> Array: ...
    def permute_dims(self, x: Array, /, axes: tuple[int, ...]) -> Array: ...
    def broadcast_to(self, x: Array, /, shape: tuple[int, ...]) -> Array: ...
    def reshape(self, x: Array, /, shape: tuple[int, ...]) -> Array: ...
    def flip(self, x: Array, /, *, axis: int) -> Array: ...
    def sort(self, x: Array, /) -> Array: ...
    def argsort(self, x: Array, /, *, descending: bool = False) -> Array: ...
    def take(self, x: Array, indices: Array, /, *, axis: int) -> Array: ...


@dataclass(frozen=True)
class Unit:
    """A dimension ``[g^a p^b]``; ``Unit(g=1)`` is the gradient's unit, ``Unit()`` a pure number.

    ``d`` is the power of ``[d]``, the unit of an inner rule's direction, which occurs in combinators.
    """

    g: Fraction | int = 0
    p: Fraction | int = 0
    d: Fraction | int = 0

    @classmethod
    def parse(cls, text: str) -> Unit:
        """Read ``"g^2"``, ``"p g"``, ``"p/g"``, ``"1/g"`` or ``"1"``; raise ValueError otherwise."""
        powers = {"g": Fraction(0), "p": Fraction(0), "d": Fraction(0)}
        numerator, _, denominator = text.replace("*", " ").partition("/")
        for part, side in ((numerator, 1), (denominator, -1)):
            for factor in part.split():
                found = re.fullmatch(r"([gpd])(?:\^(-?\d+(?:\.5)?))?", factor)
                if found:
                    powers[found[1]] += side * Fraction(found[2] or 1)
                elif factor != "1":
                    raise ValueError(f"unit [{text}]: {factor!r} is no power of g, p or d, as in g^2 or p/g")
        return cls(**powers)

    def __str__(self) -> str:
        factors = [n if e == 1 else f"{n}^{e}" for n, e in (("g", self.g), ("p", self.p), ("d", self.d)) if e]
        return f"[{' '.join(factors) or '1'}]"


class _Mark:
    """A mark in a state field's annotation, which says that the field is no ordinary array of the leaf."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


SHARED, NOISE, DRAWN = _Mark("Shared"), _Mark("Noise"), _Mark("Drawn")
Shared: TypeAlias = Annotated[Array, SHARED]
"""A state field with one value for the whole tree, 0-d or a vector.

It is computed from totals, scalars and old shared fields only.
"""
Noise: TypeAlias = Annotated[Array, NOISE]
"""A state field with standard normal numbers of the leaf's shape, which the driver makes for each step and discards.

They come from the recipe's seed, the leaf's path, its count of updates and each element's index. A caller of the pure
rule puts them into the state, which starts with zeros there.
"""
Drawn: TypeAlias = Annotated[Array, DRAWN]
"""A state field that starts with normal numbers, which the driver draws once; later it is an array like any other.

The law's ``init`` gives their standard deviation, as an array of the field's shape. They come from the recipe's seed,
the leaf's path, the field's name and each element's index; from seed 0 and an empty path for the pure ``rule.init(p)``.
"""

Decay: TypeAlias = Annotated[float, Ge(0), Lt(1)]
"""The weight of the past in a moving average, in [0, 1): 0 keeps only the newest value, values near 1 average many."""
Positive: TypeAlias = Annotated[float, Gt(0), Lt(math.inf)]
Limit: TypeAlias = Annotated[float, Gt(0)]
"""A size above which something is cut; infinite if nothing is to be cut."""
Finite: TypeAlias = Annotated[float, Gt(-math.inf), Lt(math.inf)]
NonNegative: TypeAlias = Annotated[float, Ge(0), Lt(math.inf)]
UnitInterval: TypeAlias = Annotated[float, Ge(0), Le(1)]
Epsilon: TypeAlias = Annotated[float, Ge(0), Unit(g=1)]
"""A small number, in [g], added to the root of a second moment so that a division by it is stable."""
Count: TypeAlias = Annotated[int, Ge(1)]
"""A static whole number, at least 1."""
Whole: TypeAlias = Annotated[int, Ge(0)]
"""A static whole number, at least 0."""
Layout: TypeAlias = Literal["out_in", "in_out"]
"""The axis of a matrix that is the output: the first in "out_in" (torch), the last in "in_out" (JAX, Keras)."""
