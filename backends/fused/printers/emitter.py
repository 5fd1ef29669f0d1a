"""The emitter of LLVM instructions on vectors: it writes the instructions for each node of a law's graph."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from optcore.backends.fused.printers.elementary import ELEMENTARY, emit
from optcore.backends.rounding import FLOOR, SPACING

__all__ = ["SIZES", "TYPES", "WIDTH", "Emitter", "hexadecimal"]

AHEAD = 2048
"""The bytes by which fetching runs ahead of computing; the processor's own prefetching stops at a page's end."""
WIDTH = {"float32": 16, "float64": 8}
TYPES = {"float64": "double", "float32": "float", "float16": "half", "bfloat16": "i16"}
SIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}


class Emitter:
    """A writer of LLVM instructions on values of ``width`` lanes.

    Each method appends instructions to ``lines``; the strings that it takes and returns are names of LLVM registers.
    """

    def __init__(self, lines: list[str], compute: str, width: int, declared: set[str], prefix: str) -> None:
        self.lines, self.compute, self.width, self.declared = lines, compute, width, declared
        self.prefix, self.count = prefix, 0

    def type(self, scalar: str) -> str:
        return scalar if self.width == 1 else f"<{self.width} x {scalar}>"

    def emit(self, text: str) -> str:
        self.count += 1
        name = f"%{self.prefix}{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def splat(self, scalar: str, value: str) -> str:
        return value if self.width == 1 else "<" + ", ".join([f"{scalar} {value}"] * self.width) + ">"

    def number(self, value: float) -> str:
        kind = TYPES[self.compute]
        if kind == "float":
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        return self.splat(kind, hexadecimal(value))

    @property
    def real(self) -> str:
        return self.type(TYPES[self.compute])

    def intrinsic(self, name: str, kind: str, *args: str) -> str:
        suffix = {"float": "f32", "double": "f64"}[kind]
        full = f"llvm.{name}." + (suffix if self.width == 1 else f"v{self.width}{suffix}")
        of = self.type(kind)
        self.declared.add(f"declare {of} @{full}({', '.join([of] * len(args))})")
        return self.emit(f"call {of} @{full}({', '.join(f'{of} {x}' for x in args)})")

    # The operations that elementary.py is written with, on float64 numbers and 64-bit integers.

    def f64(self, value: float) -> str:
        return self.splat("double", hexadecimal(value))

    def i64(self, value: int) -> str:
        return self.splat("i64", str(value))

    def _two(self, op: str, kind: str, a: str, b: str) -> str:
        return self.emit(f"{op} {self.type(kind)} {a}, {b}")

    def fadd(self, a: str, b: str) -> str:
        return self._two("fadd", "double", a, b)

    def fsub(self, a: str, b: str) -> str:
        return self._two("fsub", "double", a, b)

    def fmul(self, a: str, b: str) -> str:
        return self._two("fmul", "double", a, b)

    def fdiv(self, a: str, b: str) -> str:
        return self._two("fdiv", "double", a, b)

    def iadd(self, a: str, b: str) -> str:
        return self._two("add", "i64", a, b)

    def isub(self, a: str, b: str) -> str:
        return self._two("sub", "i64", a, b)

    def iand(self, a: str, b: str) -> str:
        return self._two("and", "i64", a, b)

    def ior(self, a: str, b: str) -> str:
        return self._two("or", "i64", a, b)

    def shl(self, a: str, by: int) -> str:
        return self._two("shl", "i64", a, self.i64(by))

    def lshr(self, a: str, by: int) -> str:
        return self._two("lshr", "i64", a, self.i64(by))

    def ashr(self, a: str, by: int) -> str:
        return self._two("ashr", "i64", a, self.i64(by))

    def fneg(self, a: str) -> str:
        return self.emit(f"fneg {self.type('double')} {a}")

    def fabs(self, a: str) -> str:
        return self.intrinsic("fabs", "double", a)

    def floor(self, a: str) -> str:
        return self.intrinsic("floor", "double", a)

    def compare(self, how: str, a: str, b: str) -> str:
        return self.emit(f"fcmp {how} {self.type('double')} {a}, {b}")

    def select(self, condition: str, a: str, b: str, kind: str = "double") -> str:
        of = self.type(kind)
        return self.emit(f"select {self.type('i1')} {condition}, {of} {a}, {of} {b}")

    def bits(self, a: str) -> str:
        return self.emit(f"bitcast {self.type('double')} {a} to {self.type('i64')}")

    def from_bits(self, a: str) -> str:
        return self.emit(f"bitcast {self.type('i64')} {a} to {self.type('double')}")

    def widen(self, a: str) -> str:
        return self.emit(f"fpext {self.type('float')} {a} to {self.type('double')}")

    def narrow(self, a: str) -> str:
        return self.emit(f"fptrunc {self.type('double')} {a} to {self.type('float')}")

    def library(self, op: str, args: Sequence[str]) -> str:
        """Call a function of the C library for each lane, and return the vector of its results."""
        self.declared.add(f"declare double @{op}({', '.join(['double'] * len(args))})")
        if self.width == 1:
            return self.emit(f"call double @{op}({', '.join(f'double {x}' for x in args)})")
        found, of = "poison", self.type("double")
        for lane in range(self.width):
            each = [self.emit(f"extractelement {of} {x}, i64 {lane}") for x in args]
            one = self.emit(f"call double @{op}({', '.join(f'double {x}' for x in each)})")
            found = self.emit(f"insertelement {of} {found}, double {one}, i64 {lane}")
        return found

    # The operations of a law's graph, and access to its arrays.

    def node(self, op: str, args: list[str], attribute: Any, truth: bool) -> str:
        kind = TYPES[self.compute]
        of = self.real
        if op == "literal":
            return self.number(attribute[0])
        if op in ("add", "sub", "mul", "div"):
            return self.emit(f"f{op} {of} {args[0]}, {args[1]}")
        if op == "neg":
            return self.emit(f"fneg {of} {args[0]}")
        if op in ("sqrt", "floor"):
            return self.intrinsic(op, kind, args[0])
        if op == "abs":
            return self.intrinsic("fabs", kind, args[0])
        if op in COMPARE:
            return self.emit(f"fcmp {COMPARE[op]} {of} {args[0]}, {args[1]}")
        if op == "isfinite":
            size = self.intrinsic("fabs", kind, args[0])
            return self.emit(f"fcmp olt {of} {size}, {self.number(math.inf)}")
        if op in ("and", "or"):
            return self.emit(f"{op} {self.type('i1')} {args[0]}, {args[1]}")
        if op == "not":
            return self.emit(f"xor {self.type('i1')} {args[0]}, {self.splat('i1', 'true')}")
        if op == "where":
            return self.select(args[0], args[1], args[2], "i1" if truth else kind)
        if op in ("maximum", "minimum"):  # the result is NaN if one of the two is, as the Array API has it
            first = self.emit(f"fcmp {'oge' if op == 'maximum' else 'ole'} {of} {args[0]}, {args[1]}")
            nan = self.emit(f"fcmp uno {of} {args[0]}, {args[0]}")
            chosen = self.emit(f"or {self.type('i1')} {first}, {nan}")
            return self.select(chosen, args[0], args[1], kind)
        if op == "sign":
            zero, one, less = self.number(0.0), self.number(1.0), self.number(-1.0)
            rest = self.select(self.emit(f"fcmp oeq {of} {args[0]}, {zero}"), zero, args[0], kind)
            rest = self.select(self.emit(f"fcmp olt {of} {args[0]}, {zero}"), less, rest, kind)
            return self.select(self.emit(f"fcmp ogt {of} {args[0]}, {zero}"), one, rest, kind)
        if op in ELEMENTARY:
            return emit(self, op, self.compute, args)
        raise NotImplementedError(f"optcore: the LLVM printer does not know {op!r}")

    def load(self, pointer: str, at: str, dtype: str, *, written: bool) -> str:
        """Load elements of an array and convert them to the dtype of computation.

        Memory ahead of them is prefetched, for writing if the array is ``written`` as well.
        """
        kind = TYPES[dtype]
        where = self.emit(f"getelementptr {kind}, ptr {pointer}, i64 {at}")
        if self.width > 1:
            self.declared.add("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
            ahead = self.emit(f"getelementptr i8, ptr {where}, i64 {AHEAD}")
            self.lines.append(f"  call void @llvm.prefetch.p0(ptr {ahead}, i32 {int(written)}, i32 3, i32 1)")
        x = self.emit(f"load {self.type(kind)}, ptr {where}, align {SIZES[dtype]}")
        if dtype == "float16":
            return self.emit(f"fpext {self.type('half')} {x} to {self.real}")
        if dtype == "bfloat16":
            wide = self.emit(f"zext {self.type('i16')} {x} to {self.type('i32')}")
            wide = self.emit(f"shl {self.type('i32')} {wide}, {self.splat('i32', '16')}")
            return self.emit(f"bitcast {self.type('i32')} {wide} to {self.real}")
        return x

    def store(self, value: str, pointer: str, at: str, dtype: str) -> None:
        """Store elements into an array, rounded to its dtype: to nearest, ties to even."""
        kind = TYPES[dtype]
        if dtype == "float16":
            value = self.emit(f"fptrunc {self.real} {value} to {self.type('half')}")
        elif dtype == "bfloat16":
            value = self._to_bfloat16(value)
        where = self.emit(f"getelementptr {kind}, ptr {pointer}, i64 {at}")
        self.lines.append(f"  store {self.type(kind)} {value}, ptr {where}, align {SIZES[dtype]}")

    def by_chance(self, value: str, at: str, keys: tuple[str, str], dtype: str) -> str:
        """Round float32 numbers at random to one of their two neighbours in a narrower dtype.

        The bits are those of :func:`optcore.backends.rounding.stochastic`.
        """
        whole, real = "i32", "float"
        number = self.emit(f"trunc i64 {at} to i32")
        if self.width > 1:
            lanes = "<" + ", ".join(f"i32 {k}" for k in range(self.width)) + ">"
            number = self._two("add", whole, self._spread("i32", number), lanes)
            keys = (self._spread("i32", keys[0]), self._spread("i32", keys[1]))
        noise = self._mix(self._two("xor", whole, number, keys[0]))
        noise = self._mix(self._two("add", whole, noise, keys[1]))
        noise = self._two("lshr", whole, noise, self.splat(whole, "8"))
        u = self.emit(f"uitofp {self.type(whole)} {noise} to {self.real}")
        u = self._two("fmul", real, u, self.number(2.0**-24))
        bits = self.emit(f"bitcast {self.real} {value} to {self.type(whole)}")
        power = self._two("and", whole, bits, self.splat(whole, str(0x7F800000)))
        power = self.emit(f"bitcast {self.type(whole)} {power} to {self.real}")
        floor = self.number(FLOOR[dtype])
        above = self.emit(f"fcmp oge {self.real} {power}, {floor}")
        spacing = self._two("fmul", real, self.select(above, power, floor, real), self.number(SPACING[dtype]))
        scaled = self._two("fdiv", real, value, spacing)
        down = self.intrinsic("floor", real, scaled)
        up = self.emit(f"fcmp olt {self.real} {u}, {self._two('fsub', real, scaled, down)}")
        down = self._two("fadd", real, down, self.select(up, self.number(1.0), self.number(0.0), real))
        moved = self._two("fmul", real, down, spacing)
        finite = self.emit(f"fcmp olt {self.real} {self.intrinsic('fabs', real, value)}, {self.number(math.inf)}")
        return self.select(finite, moved, value, real)

    def _mix(self, x: str) -> str:
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, 0)):
            x = self._two("xor", "i32", x, self._two("lshr", "i32", x, self.splat("i32", str(shift))))
            x = self._two("mul", "i32", x, self.splat("i32", str(factor))) if factor else x
        return x

    def _spread(self, kind: str, x: str) -> str:
        of = self.type(kind)
        one = self.emit(f"insertelement {of} poison, {kind} {x}, i64 0")
        return self.emit(f"shufflevector {of} {one}, {of} poison, <{self.width} x i32> zeroinitializer")

    def _to_bfloat16(self, value: str) -> str:
        of = self.type("i32")
        nan = self.emit(f"fcmp uno {self.real} {value}, {value}")
        bits = self.emit(f"bitcast {self.real} {value} to {of}")
        odd = self.emit(
            f"and {of} {self.emit(f'lshr {of} {bits}, ' + self.splat('i32', '16'))}, {self.splat('i32', '1')}"
        )
        up = self.emit(f"add {of} {bits}, {self.emit(f'add {of} {odd}, ' + self.splat('i32', '32767'))}")
        quiet = self.emit(f"or {of} {bits}, {self.splat('i32', '4194304')}")
        chosen = self.select(nan, quiet, up, "i32")
        high = self.emit(f"lshr {of} {chosen}, {self.splat('i32', '16')}")
        return self.emit(f"trunc {of} {high} to {self.type('i16')}")


def hexadecimal(value: float) -> str:
    """Return a number as LLVM reads it: the bits of its float64 in hexadecimal digits."""
    if math.isnan(value):
        return "0x7FF8000000000000"
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
