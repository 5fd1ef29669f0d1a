"""The elementary functions exp, log, expm1 and pow, written as arithmetic on vectors for the LLVM printer.

All are computed in float64, whatever the leaf's dtype. Their errors, in units of the last place of the result
(tests/backends/test_fused.py measures them), are at most 0.51 in float32, and in float64 1.5 for exp and 1.0 for log.
For float64 arrays expm1, cos and pow are the C library's, called element by element.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

__all__ = ["ELEMENTARY", "emit"]

ELEMENTARY = frozenset({"exp", "log", "expm1", "cos", "pow"})

# From fdlibm: ln 2 rounded to a number with 21 trailing zeros, so that k * LN2_HI is exact, and the rest of ln 2.
LN2_HI, LN2_LO = 6.93147180369123816490e-01, 1.90821492927058770002e-10
MAGIC = 1.5 * 2.0**52  # adding it to a number rounds that to a whole number, which the low bits of the sum then hold
LOG = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip
"""The minimax polynomial of fdlibm for ``(log(1+s) - log(1-s) - 2s) / s`` in s^2, on |s| <= 0.1716; error 2^-58."""


def emit(e: Any, op: str, dtype: str, args: list[str]) -> str:
    """Print one elementary function with the emitter ``e``, and return the name of the register with its result."""
    if dtype == "float64":
        if op == "exp":
            return _exp(e, args[0])
        if op == "log":
            return _log(e, args[0])
        return str(e.library(op, args))
    wide = [e.widen(x) for x in args]
    found: dict[str, Callable[..., str]] = {"exp": _exp, "log": _log, "expm1": _expm1, "pow": _pow}
    return str(e.narrow(found[op](e, *wide) if op in found else e.library(op, wide)))


def _exp(e: Any, x: str) -> str:
    """Print exp(x): ``2^n exp(r)`` with ``|r| <= ln(2)/2`` and the Taylor series to r^13, whose rest is below 2^-57."""
    top, bottom = e.f64(1000.0), e.f64(-1000.0)
    inside = e.select(e.compare("ogt", x, top), top, x)
    inside = e.select(e.compare("olt", inside, bottom), bottom, inside)
    shifted = e.fadd(e.fmul(inside, e.f64(1.0 / math.log(2.0))), e.f64(MAGIC))
    n = e.fsub(shifted, e.f64(MAGIC))
    r = e.fsub(e.fsub(inside, e.fmul(n, e.f64(LN2_HI))), e.fmul(n, e.f64(LN2_LO)))
    series = e.f64(1.0 / math.factorial(13))
    for k in range(12, -1, -1):
        series = e.fadd(e.fmul(series, r), e.f64(1.0 / math.factorial(k)))
    whole = e.isub(e.bits(shifted), e.i64(_bits(MAGIC)))
    half = e.ashr(whole, 1)  # 2^n is two factors: alone it would overflow or underflow before the result does
    scaled = e.fmul(e.fmul(series, _power_of_two(e, half)), _power_of_two(e, e.isub(whole, half)))
    return str(e.select(e.compare("uno", x, x), x, scaled))


def _power_of_two(e: Any, n: str) -> str:
    return str(e.from_bits(e.shl(e.iadd(n, e.i64(1023)), 52)))


def _log(e: Any, x: str) -> str:
    """Print log(x) as ``k ln 2 + log(1 + f)`` with ``1 + f`` between the roots of 1/2 and 2, as in fdlibm."""
    tiny = e.compare("olt", x, e.f64(2.0**-1022))
    normal = e.select(tiny, e.fmul(x, e.f64(2.0**54)), x)
    shifted = e.iadd(e.bits(normal), e.i64(_bits(1.0) - _bits(math.sqrt(0.5))))
    exponent = e.fsub(e.from_bits(e.ior(e.lshr(shifted, 52), e.i64(_bits(2.0**52)))), e.f64(2.0**52 + 1023.0))
    k = e.fsub(exponent, e.select(tiny, e.f64(54.0), e.f64(0.0)))
    mantissa = e.iadd(e.iand(shifted, e.i64(2**52 - 1)), e.i64(_bits(math.sqrt(0.5))))
    f = e.fsub(e.from_bits(mantissa), e.f64(1.0))
    s = e.fdiv(f, e.fadd(e.f64(2.0), f))
    z = e.fmul(s, s)
    rest = e.f64(LOG[-1])
    for c in reversed(LOG[:-1]):
        rest = e.fadd(e.fmul(rest, z), e.f64(c))
    rest = e.fmul(rest, z)
    half = e.fmul(e.fmul(e.f64(0.5), f), f)
    low = e.fadd(e.fmul(s, e.fadd(half, rest)), e.fmul(k, e.f64(LN2_LO)))
    found = e.fsub(e.fmul(k, e.f64(LN2_HI)), e.fsub(e.fsub(half, low), f))
    found = e.select(e.compare("oeq", x, e.f64(math.inf)), x, found)
    found = e.select(e.compare("oeq", x, e.f64(0.0)), e.f64(-math.inf), found)
    return str(e.select(e.compare("uge", x, e.f64(0.0)), e.select(e.compare("uno", x, x), x, found), e.f64(math.nan)))


def _expm1(e: Any, x: str) -> str:
    """Print expm1(x) for results in float32: ``exp(x) - 1``, or its series where the difference would cancel."""
    series = e.fmul(x, e.fadd(e.f64(1.0), e.fmul(x, e.fadd(e.f64(0.5), e.fmul(x, e.f64(1.0 / 6.0))))))
    near = e.compare("olt", e.fabs(x), e.f64(1e-4))
    return str(e.select(near, series, e.fsub(_exp(e, x), e.f64(1.0))))


def _pow(e: Any, x: str, y: str) -> str:
    """Print pow(x, y) for results in float32: ``exp(y log |x|)`` with the sign that a whole y gives a negative x."""
    size = _exp(e, e.fmul(y, _log(e, e.fabs(x))))
    whole = e.compare("oeq", e.floor(y), y)
    half = e.fmul(y, e.f64(0.5))
    odd = e.compare("une", e.floor(half), half)
    signed = e.select(whole, e.select(odd, e.fneg(size), size), e.f64(math.nan))
    found = e.select(e.compare("olt", x, e.f64(0.0)), signed, size)
    found = e.select(e.compare("oeq", x, e.f64(1.0)), x, found)
    return str(e.select(e.compare("oeq", y, e.f64(0.0)), e.f64(1.0), found))


def _bits(x: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", x))[0])
