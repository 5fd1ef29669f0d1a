"""Mathematics of a law's scalars: in float64 on the host for Python numbers, else in the array's namespace.

Numbers that depend on t and hyper-parameters only are computed here, once a step, and not in the precision of the
leaf: ``1 - beta**t`` computed in float32 loses four digits.
"""

from __future__ import annotations

import math
from typing import Any

from optcore.typing import Namespace, Scalar

__all__ = ["Host", "bias_correction", "is_host", "on", "power", "select"]

SMALLEST = 2.0**-126  # the smallest normal float32: a logarithm's argument is kept at or above it


class Host:
    """A namespace of the scalar functions of :class:`optcore.typing.Namespace` for Python floats."""

    sqrt = staticmethod(math.sqrt)
    cos = staticmethod(math.cos)
    expm1 = staticmethod(math.expm1)
    abs = staticmethod(abs)
    maximum = staticmethod(max)
    minimum = staticmethod(min)

    @staticmethod
    def exp(x: float) -> float:
        return math.exp(x) if x < 709 else math.inf

    @staticmethod
    def power(base: float, exponent: float) -> float:
        try:
            return float(base**exponent)
        except OverflowError:
            return math.inf

    @staticmethod
    def log(x: float) -> float:
        return math.log(x) if x else -math.inf

    @staticmethod
    def floor(x: float) -> float:
        return float(math.floor(x))

    @staticmethod
    def where(condition: bool, x: Any, y: Any) -> Any:
        return x if condition else y


def is_host(*values: object) -> bool:
    """Tell whether all values are Python numbers, so that arithmetic with them is done in float64."""
    return all(isinstance(v, int | float) for v in values)


def on(xp: Namespace, *values: Scalar) -> Any:
    """Return the namespace for scalar mathematics on these values: :class:`Host` for Python numbers, else ``xp``."""
    return Host if is_host(*values) else xp


def bias_correction(xp: Namespace, beta: Scalar, t: Scalar) -> Scalar:
    """Return ``1 - beta^t`` to a few units in the last place, for t = 1, 2, ... and beta in [0, 1)."""
    log = Host.log(beta) if isinstance(beta, int | float) else xp.log(xp.maximum(beta, SMALLEST))
    return -on(xp, log, t).expm1(t * log)  # type: ignore[no-any-return]


def power(xp: Namespace, base: Any, exponent: Any) -> Any:
    """Return ``base ** exponent`` for base > 0, either of which may be a traced 0-d array; it overflows to infinity.

    An array to a whole power of at most 4 is computed as a product.
    """
    if is_host(base, exponent):
        return Host.power(base, exponent)
    if is_host(exponent) and exponent in (1, 2, 3, 4):
        return math.prod([base] * (int(exponent) - 1), start=base)
    if not is_host(base):
        return base**exponent
    return xp.exp(exponent * Host.log(base))


def select(xp: Namespace, condition: Any, x: Any, y: Any) -> Any:
    """Return ``x`` if the condition on t or a hyper-parameter holds, else ``y``; all three may be arrays."""
    return (x if condition else y) if isinstance(condition, bool) else xp.where(condition, x, y)
