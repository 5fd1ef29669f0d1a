"""Random numbers from a counter: stochastic rounding with the same bits on every backend, and normal numbers for laws.

A parameter of float16 or bfloat16 that is rounded to nearest does not move at all while steps stay below half of its
spacing, the distance between neighbouring numbers. If it is rounded up with a probability equal to the fraction that
rounding cuts off, it moves by the step on average.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

from optcore.backends.base import Backend
from optcore.scalars import is_host

__all__ = ["FLOOR", "SPACING", "keys", "mix", "normal", "stochastic"]

MASK = 0xFFFFFFFF
SPACING = {"bfloat16": 2.0**-7, "float16": 2.0**-10}
"""The distance between neighbouring numbers just above 1, by dtype."""
FLOOR = {"bfloat16": 2.0**-100, "float16": 2.0**-14}
"""Numbers below this size are rounded with the spacing of this size, which no backend flushes to zero."""


def mix(x: Any) -> Any:
    """Return a hash of 32-bit numbers, in which every bit depends on all bits of x: the bijection lowbias32 of Wellons.

    Its right shifts are written as integer quotients, since TensorFlow has no shift operator.
    """
    lane = _lane(x)
    x = (x ^ (x // lane(1 << 16))) & lane(MASK)
    x = (x * lane(0x7FEB352D)) & lane(MASK)
    x = (x ^ (x // lane(1 << 15))) & lane(MASK)
    x = (x * lane(0x846CA68B)) & lane(MASK)
    return (x ^ (x // lane(1 << 16))) & lane(MASK)


def _lane(x: Any) -> Any:
    """Return the type that a constant needs beside x: JAX refuses Python numbers above 2^31 beside its uint32."""
    return x.dtype.type if str(getattr(x, "dtype", "")) == "uint32" else int


def keys(backend: Backend, seed: int, path: str, t: Any) -> tuple[Any, Any]:
    """Return the two 32-bit keys of one leaf at its t-th update: Python numbers if t is one, else 0-d arrays."""
    name = mix(mix(seed & MASK) ^ zlib.crc32(path.encode()))
    t = t if is_host(t) else backend.lanes(t)
    lane = _lane(t)
    first = mix(lane(name) ^ (t & lane(MASK)))
    return first, mix(first ^ lane(0x9E3779B9))


def _uniform(backend: Backend, like: Any, dtype: str, key: tuple[Any, Any]) -> Any:
    """Return a multiple of 2^-24 in [0, 1) for each element of an array, from its index and the key alone.

    For an array that is spread over processes it returns the numbers of the part that lies in this process.
    """
    here = backend.index(like)
    index = backend.lanes(backend.xp.reshape(here, (-1,)))  # not 0-d: NumPy warns if a 0-d integer overflows
    first, second = (_lane(index)(k) if is_host(k) else k for k in key)
    bits = mix((mix(index ^ first) + second) & _lane(index)(MASK)) // _lane(index)(1 << 8)
    return backend.xp.reshape(backend.cast(bits, dtype), tuple(here.shape)) * 2.0**-24


def normal(backend: Backend, like: Any, dtype: str, key: tuple[Any, Any]) -> Any:
    """Return standard normal numbers of an array's shape, by the transformation of Box & Muller 1958.

    Two libraries agree on them up to the rounding of their logarithms and cosines; the largest possible one is 5.9.
    """
    xp = backend.xp
    first = _uniform(backend, like, dtype, key)
    second = _uniform(backend, like, dtype, (mix(key[1]), mix(key[0])))
    return xp.sqrt(-2.0 * xp.log(first + 2.0**-25)) * xp.cos((2.0 * math.pi) * second)


def stochastic(backend: Backend, x: Any, dtype: str, key: tuple[Any, Any], leaf: Any = None) -> Any:
    """Return a float32 array with each element rounded at random to one of its two neighbours in a narrower dtype.

    The expected value of the result is the element itself. The random number of an element depends on the key and on
    its index alone: its index in the array or, for a part of a ``leaf`` that is spread over processes, in that leaf.
    """
    xp = backend.xp
    u = _uniform(backend, x if leaf is None else leaf, "float32", key)
    spacing = xp.maximum(backend.power_of_two(x), FLOOR[dtype]) * SPACING[dtype]
    whole = x / spacing  # exact, since the spacing is a power of two
    down = xp.floor(whole)
    one = xp.ones_like(x)
    moved = (down + xp.where(u < whole - down, one, one * 0.0)) * spacing
    return backend.cast(xp.where(xp.isfinite(x), moved, x), dtype)
