"""Norms that neither overflow nor underflow, over a leaf or over the tree."""

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

# Blue's three sums: squares of elements above 2^50, between, and below 2^-50, each scaled so that
# neither they nor the sum of 2^27 of them leave float32. Powers of two: scaling rounds nothing.
LARGE, SMALL = 2.0**50, 2.0**-50
DOWN, UP = 2.0**-80, 2.0**100


def _squared(xp: Namespace, x: Any) -> tuple[Any, Any, Any]:
    """The squares of the large, middle and small elements, each at its own scale and 0 in the others' places."""
    size = xp.abs(x)
    large, small = size > LARGE, size < SMALL
    zero = xp.zeros_like(size)
    top = xp.where(large, size * DOWN, zero)  # chosen after it is scaled, see _twice
    low = xp.where(small, xp.where(small, size, zero) * UP, zero)  # and before: what is not taken must not overflow
    middle = xp.where(large, zero, xp.where(small, zero, size))  # a NaN stays here
    return top * top, middle * middle, low * low


def _twice(xp: Namespace, x: Any, factor: float) -> Any:
    """``x factor factor``, where the factors' product is out of float32's range.

    XLA multiplies ``(x a) b`` as ``x (a b)`` and ``(x a) (y b)`` as ``(x y) (a b)``; it looks through no where.
    """
    return xp.where(x == 0, x, x * factor) * factor


class Recorder(ABC):
    """A namespace that writes a law down, and is told what three sums are together."""

    @abstractmethod
    def squares(self, x: Any, sums: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        """The same sums, which are those of :func:`squares` over the whole of x."""


def squares(xp: Namespace, x: Any, **along: Any) -> tuple[Any, Any, Any]:
    """The sums of squares of the large, middle and small elements, each at its own scale; ``along`` as in xp.sum."""
    large, middle, small = _squared(xp, x)
    sums = xp.sum(large, **along), xp.sum(middle, **along), xp.sum(small, **along)
    return xp.squares(x, sums) if isinstance(xp, Recorder) and not along else sums


def parted(xp: Any, total: Any) -> tuple[Any, Any, Any]:
    """The three sums of :func:`squares` from one sum in a wider range: it goes to one of them, at that one's scale."""
    large, small, zero = total > LARGE * LARGE, total < SMALL * SMALL, xp.zeros_like(total)
    low = xp.where(small, total, zero) * UP * UP
    return xp.where(large, total * DOWN * DOWN, zero), xp.where(large | small, zero, total), low


def _sqrt(xp: Namespace, x: Any) -> Any:
    """The square root, whose slope at 0 is not infinite: a norm is differentiated through branches not taken."""
    return xp.where(x == 0, x, xp.sqrt(xp.where(x == 0, xp.ones_like(x), x)))


def root(xp: Namespace, large: Any, middle: Any, small: Any) -> Any:
    """The Euclidean norm from the three sums; 0 for zeros, inf and NaN where an element is."""
    top = _sqrt(xp, large + _twice(xp, middle, DOWN)) * (1.0 / DOWN)
    usual = _sqrt(xp, middle + _twice(xp, small, 1.0 / UP))
    low = _sqrt(xp, small) * (1.0 / UP)
    return xp.where(large > 0, top, xp.where(middle == 0, low, usual))  # a NaN is not 0


def hypotenuse(xp: Namespace, a: Any, b: Any) -> Any:
    """``sqrt(a^2 + b^2)`` element by element."""
    large, middle, small = (x + y for x, y in zip(_squared(xp, a), _squared(xp, b), strict=True))
    return root(xp, large, middle, small)


def norm(xp: Namespace, x: Any) -> Any:
    """The Euclidean norm of one array, in its unit."""
    return root(xp, *squares(xp, x))


def inputs(ndim: int, layout: Layout | None) -> tuple[int, ...]:
    """The axes that one output of a layer is summed over: all but the first or, by layout, the last."""
    return tuple(range(ndim - 1) if layout == "in_out" else range(1, ndim))


def norm_along(xp: Namespace, x: Any, axis: int | tuple[int, ...]) -> Any:
    """The Euclidean norms along an axis or several, which are kept."""
    return root(xp, *squares(xp, x, axis=axis, keepdims=True))


def largest(xp: Namespace, x: Any) -> Any:
    """The largest element of a leaf, 0 for an empty one; for laws that need the whole leaf."""
    return xp.sum(x) if 0 in x.shape else xp.max(x)


def global_norm(xp: Namespace, x: Any) -> Generator[Any, Any, Any]:
    """The norm over all leaves, in one round of totals, run by ``yield from``."""
    large, middle, small = yield squares(xp, x)
    return root(xp, large, middle, small)


def global_norms(xp: Namespace, *arrays: Any) -> Generator[Any, Any, Any]:
    """The norm of each array over all leaves, all in one round of totals, run by ``yield from``."""
    totals = yield tuple(part for x in arrays for part in squares(xp, x))
    return [root(xp, *totals[i : i + 3]) for i in range(0, len(totals), 3)]


def global_peak(xp: Namespace, x: Any) -> Generator[Any, Any, Any]:
    """The largest absolute value over all leaves, run by ``yield from``; an empty leaf has no part in it.

    A law that looked at the shape could not be run on any partition, so the libraries' own error tells an empty leaf.
    """
    try:
        local = xp.max(xp.abs(x))
    except (ValueError, RuntimeError):
        local = xp.sum(x)
    peak = yield Total(local, "max")
    return peak


def global_power(xp: Namespace, x: Any, p: Scalar) -> Generator[Any, Any, Any]:
    """The p-norm over all leaves, in two rounds of totals, run by ``yield from``.

    Powers are taken of shares of the largest element, so that none overflows and a change of unit changes no bit.
    """
    peak = yield from global_peak(xp, x)
    fine = xp.where(xp.isfinite(peak), xp.where(peak == 0, xp.ones_like(peak), peak), xp.ones_like(peak))
    total = yield xp.sum(power(xp, over(xp, xp.abs(x), fine), p))
    n = peak * power(xp, xp.where(peak == 0, xp.ones_like(peak), total), 1.0 / p)
    return xp.where(xp.isfinite(peak), n, peak)


def over(xp: Namespace, x: Any, size: Any) -> Any:
    """``x / size`` for ``|x|`` up to size > 0; XLA multiplies by the reciprocal, which it flushes above 2^126."""
    large = size > LARGE
    factor = xp.where(large, SMALL * xp.ones_like(size), xp.ones_like(size))
    return x * factor / (size * factor)


def shrink(xp: Namespace, n: Any, limit: Any, epsilon: Scalar = 0.0) -> Any:
    """The factor ``min(1, limit / (n + epsilon))`` that holds a norm n below its limit, which may be infinite."""
    size = n + epsilon
    one = xp.ones_like(size)
    return xp.minimum(one, limit * one / xp.where(size == 0, one, size))  # torch inverts what divides a number
