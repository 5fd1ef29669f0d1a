"""Norms that neither overflow nor underflow, over a leaf or over all leaves of the tree."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import Any

from optcore.requests import Total
from optcore.scalars import power
from optcore.typing import Layout, Namespace, Scalar

__all__ = [
    "Recorder", "global_norm", "global_norms", "global_peak", "global_power", "hypotenuse", "inputs", "largest", "norm",
    "norm_along", "over", "parted", "root", "shrink", "squares",
]  # fmt: skip

# The three sums of Blue's algorithm: squares of elements above 2^50, of those between, and of those below 2^-50. Each
# is scaled so that neither a square nor the sum of 2^27 of them leaves the range of float32. The scales are powers of
# two, so that scaling does not round.
LARGE, SMALL = 2.0**50, 2.0**-50
DOWN, UP = 2.0**-80, 2.0**100


def _squared(xp: Namespace, x: Any) -> tuple[Any, Any, Any]:
    """Return three arrays: the squares of the large, middle and small elements, at their scale, and 0 elsewhere."""
    size = xp.abs(x)
    large, small = size > LARGE, size < SMALL
    zero = xp.zeros_like(size)
    top = xp.where(large, size * DOWN, zero)  # `where` comes after the scaling, for the reason given in _twice
    low = xp.where(small, xp.where(small, size, zero) * UP, zero)  # and before it too: large elements would overflow
    middle = xp.where(large, zero, xp.where(small, zero, size))  # a NaN is neither large nor small, and is kept here
    return top * top, middle * middle, low * low


def _twice(xp: Namespace, x: Any, factor: float) -> Any:
    """Return ``x * factor * factor`` for a factor whose square is outside the range of float32.

    XLA turns ``(x a) b`` into ``x (a b)`` and ``(x a) (y b)`` into ``(x y) (a b)``, and so would multiply the factors
    first; it does not do so through a ``where``.
    """
    return xp.where(x == 0, x, x * factor) * factor


class Recorder(ABC):
    """A namespace that records a law, and must know which three sums belong together as one sum of squares."""

    @abstractmethod
    def squares(self, x: Any, sums: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        """Record that the sums are those of :func:`squares` over all of x, and return them."""


def squares(xp: Namespace, x: Any, **along: Any) -> tuple[Any, Any, Any]:
    """Return the sums of squares of the large, middle and small elements, each at its own scale.

    ``along`` holds the ``axis`` and ``keepdims`` of ``xp.sum``; without them the sums are over the whole array.
    """
    large, middle, small = _squared(xp, x)
    sums = xp.sum(large, **along), xp.sum(middle, **along), xp.sum(small, **along)
    return xp.squares(x, sums) if isinstance(xp, Recorder) and not along else sums


def parted(xp: Any, total: Any) -> tuple[Any, Any, Any]:
    """Return the three sums of :func:`squares` from one plain sum in a dtype of wider range.

    By its size the plain sum becomes one of the three, at that one's scale; the other two are 0.
    """
    large, small, zero = total > LARGE * LARGE, total < SMALL * SMALL, xp.zeros_like(total)
    low = xp.where(small, total, zero) * UP * UP
    return xp.where(large, total * DOWN * DOWN, zero), xp.where(large | small, zero, total), low


def _sqrt(xp: Namespace, x: Any) -> Any:
    """Return the square root of x, with a finite derivative at 0.

    A norm selects one of several roots by ``where``, and differentiation runs through those not selected, too.
    """
    return xp.where(x == 0, x, xp.sqrt(xp.where(x == 0, xp.ones_like(x), x)))


def root(xp: Namespace, large: Any, middle: Any, small: Any) -> Any:
    """Return the Euclidean norm from the three sums; 0 for zeros, inf or NaN if an element is inf or NaN."""
    top = _sqrt(xp, large + _twice(xp, middle, DOWN)) * (1.0 / DOWN)
    usual = _sqrt(xp, middle + _twice(xp, small, 1.0 / UP))
    low = _sqrt(xp, small) * (1.0 / UP)
    return xp.where(large > 0, top, xp.where(middle == 0, low, usual))  # if middle is NaN, so is usual


def hypotenuse(xp: Namespace, a: Any, b: Any) -> Any:
    """Return ``sqrt(a^2 + b^2)`` element by element, without overflow or underflow of the squares."""
    large, middle, small = (x + y for x, y in zip(_squared(xp, a), _squared(xp, b), strict=True))
    return root(xp, large, middle, small)


def norm(xp: Namespace, x: Any) -> Any:
    """Return the Euclidean norm of one array, in the array's unit."""
    return root(xp, *squares(xp, x))


def inputs(ndim: int, layout: Layout | None) -> tuple[int, ...]:
    """Return all axes but that of the output, which is the last one in layout "in_out" and else the first."""
    return tuple(range(ndim - 1) if layout == "in_out" else range(1, ndim))


def norm_along(xp: Namespace, x: Any, axis: int | tuple[int, ...]) -> Any:
    """Return the Euclidean norms along one or several axes, which are kept with length 1."""
    return root(xp, *squares(xp, x, axis=axis, keepdims=True))


def largest(xp: Namespace, x: Any) -> Any:
    """Return the largest element of a leaf, 0 for an empty leaf; only leafwise laws may use it."""
    return xp.sum(x) if 0 in x.shape else xp.max(x)


def global_norm(xp: Namespace, x: Any) -> Generator[Any, Any, Any]:
    """Return the norm over all leaves; a law calls it by ``yield from``, and it asks for one round of totals."""
    large, middle, small = yield squares(xp, x)
    return root(xp, large, middle, small)


def global_norms(xp: Namespace, *arrays: Any) -> Generator[Any, Any, Any]:
    """Return the norm of each array over all leaves, in a list; a law calls it by ``yield from``.

    It asks for one round of totals.
    """
    totals = yield tuple(part for x in arrays for part in squares(xp, x))
    return [root(xp, *totals[i : i + 3]) for i in range(0, len(totals), 3)]


def global_peak(xp: Namespace, x: Any) -> Generator[Any, Any, Any]:
    """Return the largest absolute value over all leaves; a law calls it by ``yield from``. Empty leaves do not count.

    An elementwise law must not read the shape, so an empty leaf is recognised by the error of the library's ``max``.
    """
    try:
        local = xp.max(xp.abs(x))
    except (ValueError, RuntimeError):
        local = xp.sum(x)
    peak = yield Total(local, "max")
    return peak


def global_power(xp: Namespace, x: Any, p: Scalar) -> Generator[Any, Any, Any]:
    """Return the p-norm over all leaves; a law calls it by ``yield from``, and it asks for two rounds of totals.

    Powers are taken of each element's ratio to the largest, so that none overflows and a change of the gradient's unit
    by a power of two changes no bit.
    """
    peak = yield from global_peak(xp, x)
    fine = xp.where(xp.isfinite(peak), xp.where(peak == 0, xp.ones_like(peak), peak), xp.ones_like(peak))
    total = yield xp.sum(power(xp, over(xp, xp.abs(x), fine), p))
    n = peak * power(xp, xp.where(peak == 0, xp.ones_like(peak), total), 1.0 / p)
    return xp.where(xp.isfinite(peak), n, peak)


def over(xp: Namespace, x: Any, size: Any) -> Any:
    """Return ``x / size`` for ``|x| <= size`` and size > 0.

    XLA multiplies by the reciprocal, which it flushes to zero for a size above 2^126: so both are scaled first.
    """
    large = size > LARGE
    factor = xp.where(large, SMALL * xp.ones_like(size), xp.ones_like(size))
    return x * factor / (size * factor)


def shrink(xp: Namespace, n: Any, limit: Any, epsilon: Scalar = 0.0) -> Any:
    """Return the factor ``min(1, limit / (n + epsilon))`` that holds a norm n to a limit, which may be infinite."""
    size = n + epsilon
    one = xp.ones_like(size)
    return xp.minimum(one, limit * one / xp.where(size == 0, one, size))  # torch makes number / x a reciprocal
