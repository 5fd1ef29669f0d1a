"""The LLVM printer: one pass of a program as a loop over vectors, for the CPU at hand.

Vectors are written out, so nothing hangs on a compiler's idea of what can be vectorised, and no operation is
contracted or reassociated: an element's result does not depend on where it stands, and rules of sums,
products, quotients and roots give NumPy's own bits. What does not fill a vector runs through the same text
with vectors of one.
"""

from __future__ import annotations

import ctypes
import math
import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from optcore.backends.base import missing
from optcore.backends.fused.elementary import ELEMENTARY, emit
from optcore.backends.fused.program import Pass, Program, boolean

try:
    import llvmlite.binding as llvm
except ImportError:
    raise missing("llvmlite", "fast") from None

__all__ = ["BLOCK", "Kernel", "kernel", "kernels", "text"]

BLOCK = 1 << 16
"""Elements between two partial sums; fixed, so that sums depend on nothing but the leaf."""
WIDTH = {"float32": 16, "float64": 8}
TYPES = {"float64": "double", "float32": "float", "float16": "half", "bfloat16": "i16"}
SIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}


class Emitter:
    """Instructions on values of ``width`` lanes; names are those of LLVM registers."""

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
        return self.splat(kind, _hex(value))

    @property
    def real(self) -> str:
        return self.type(TYPES[self.compute])

    def intrinsic(self, name: str, kind: str, *args: str) -> str:
        suffix = {"float": "f32", "double": "f64"}[kind]
        full = f"llvm.{name}." + (suffix if self.width == 1 else f"v{self.width}{suffix}")
        of = self.type(kind)
        self.declared.add(f"declare {of} @{full}({', '.join([of] * len(args))})")
        return self.emit(f"call {of} @{full}({', '.join(f'{of} {x}' for x in args)})")

    # The vocabulary of elementary.py, in float64 and 64-bit integers.

    def f64(self, value: float) -> str:
        return self.splat("double", _hex(value))

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
        """The C library's function, lane by lane."""
        self.declared.add(f"declare double @{op}({', '.join(['double'] * len(args))})")
        if self.width == 1:
            return self.emit(f"call double @{op}({', '.join(f'double {x}' for x in args)})")
        found, of = "poison", self.type("double")
        for lane in range(self.width):
            each = [self.emit(f"extractelement {of} {x}, i64 {lane}") for x in args]
            one = self.emit(f"call double @{op}({', '.join(f'double {x}' for x in each)})")
            found = self.emit(f"insertelement {of} {found}, double {one}, i64 {lane}")
        return found

    # The nodes of a graph.

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
        if op in ("maximum", "minimum"):  # a NaN wins on either side, as the Array API has it
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
        raise NotImplementedError(f"optcore: the printer does not know {op!r}")

    def load(self, pointer: str, at: str, dtype: str) -> str:
        """Elements of an array in the dtype of computation."""
        kind = TYPES[dtype]
        where = self.emit(f"getelementptr {kind}, ptr {pointer}, i64 {at}")
        x = self.emit(f"load {self.type(kind)}, ptr {where}, align {SIZES[dtype]}")
        if dtype == "float16":
            return self.emit(f"fpext {self.type('half')} {x} to {self.real}")
        if dtype == "bfloat16":
            wide = self.emit(f"zext {self.type('i16')} {x} to {self.type('i32')}")
            wide = self.emit(f"shl {self.type('i32')} {wide}, {self.splat('i32', '16')}")
            return self.emit(f"bitcast {self.type('i32')} {wide} to {self.real}")
        return x

    def store(self, value: str, pointer: str, at: str, dtype: str) -> None:
        """Elements rounded to nearest, ties to even."""
        kind = TYPES[dtype]
        if dtype == "float16":
            value = self.emit(f"fptrunc {self.real} {value} to {self.type('half')}")
        elif dtype == "bfloat16":
            value = self._to_bfloat16(value)
        where = self.emit(f"getelementptr {kind}, ptr {pointer}, i64 {at}")
        self.lines.append(f"  store {self.type(kind)} {value}, ptr {where}, align {SIZES[dtype]}")

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


def _hex(value: float) -> str:
    if math.isnan(value):
        return "0x7FF8000000000000"
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def text(program: Program, one: Pass, dtypes: Sequence[str], outputs: Sequence[str], compute: str) -> str:
    """The LLVM text of one pass.

    ``dtypes`` are those of ``one.inputs``, ``outputs`` those of ``one.write``. The function is
    ``run(next, n, chunks, pointers, row_of, rows, partials)``: threads draw chunks (leaf, start, stop, block)
    from the counter ``next`` until n are done. ``pointers`` has for each leaf its inputs, then its outputs.
    """
    kind, width = TYPES[compute], WIDTH[compute]
    declared: set[str] = set()
    lines: list[str] = []
    columns = len(one.inputs) + len(one.write)
    lines += [
        "define void @run(ptr %next, i64 %n, ptr %chunks, ptr %pointers, ptr %row_of, ptr %rows, ptr %partials) {",
        "entry:",
        "  br label %fetch",
        "fetch:",
        "  %i = atomicrmw add ptr %next, i64 1 monotonic",
        "  %more = icmp slt i64 %i, %n",
        "  br i1 %more, label %chunk, label %done",
        "done:",
        "  ret void",
        "chunk:",
        "  %record = getelementptr [4 x i64], ptr %chunks, i64 %i",
        "  %leaf = load i64, ptr %record",
    ]
    for k, name in ((1, "start"), (2, "stop"), (3, "block")):
        lines += [f"  %{name}.at = getelementptr i64, ptr %record, i64 {k}", f"  %{name} = load i64, ptr %{name}.at"]
    lines.append(f"  %table = getelementptr [{columns} x ptr], ptr %pointers, i64 %leaf")
    for k in range(columns):
        lines += [f"  %a{k}.at = getelementptr ptr, ptr %table, i64 {k}", f"  %a{k} = load ptr, ptr %a{k}.at"]
    lines += ["  %row.at = getelementptr i64, ptr %row_of, i64 %leaf", "  %row = load i64, ptr %row.at"]
    lines.append(f"  %line = getelementptr [{max(len(one.row), 1)} x {kind}], ptr %rows, i64 %row")
    for k in range(len(one.row)):
        lines += [f"  %c{k}.at = getelementptr {kind}, ptr %line, i64 {k}", f"  %c{k} = load {kind}, ptr %c{k}.at"]
    scalars: dict[int, dict[int, str]] = {1: {}, width: {}}
    for k, i in enumerate(one.row):
        vector = f"<{width} x {kind}>"
        lines += [
            f"  %v{k}.one = insertelement {vector} poison, {kind} %c{k}, i64 0",
            f"  %v{k} = shufflevector {vector} %v{k}.one, {vector} poison, <{width} x i32> zeroinitializer",
        ]
        for lanes, name in ((1, f"%c{k}"), (width, f"%v{k}")):
            if boolean(program.nodes[i]):
                of = kind if lanes == 1 else vector
                truth = f"{name}.true"
                lines.append(f"  {truth} = fcmp une {of} {name}, " + ("0.0" if lanes == 1 else "zeroinitializer"))
                name = truth
            scalars[lanes][i] = name
    lines += [
        "  %length = sub i64 %stop, %start",
        f"  %whole = and i64 %length, {-width}",
        "  %edge = add i64 %start, %whole",
        "  %any = icmp slt i64 %start, %edge",
        "  br i1 %any, label %vector, label %between",
    ]
    _loop(lines, program, one, dtypes, outputs, compute, width, declared, scalars[width])
    _between(lines, one, width)
    _loop(lines, program, one, dtypes, outputs, compute, 1, declared, scalars[1])
    _finish(lines, one)
    lines.append("}")
    return "\n".join([*sorted(declared), *lines])


NEUTRAL = {"sum": "0.0", "reduce_max": _hex(-math.inf)}


def _loop(
    lines: list[str], program: Program, one: Pass, dtypes: Sequence[str], outputs: Sequence[str], compute: str,
    width: int, declared: set[str], scalars: dict[int, str],
) -> None:  # fmt: skip
    """The loop over full vectors, or over single elements behind them."""
    wide = width > 1
    label, before, first, last = (
        ("vector", "chunk", "%start", "%edge") if wide else ("single", "between", "%edge", "%stop")
    )
    e = Emitter(lines, compute, width, declared, "x" if wide else "y")
    lines += [f"{label}:", f"  %{label}.i = phi i64 [ {first}, %{before} ], [ %{label}.next, %{label} ]"]
    double = e.type("double")
    for k, (_, op, _) in enumerate(one.reduce):
        start = e.splat("double", NEUTRAL[op]) if wide else f"%sum{k}"
        lines.append(f"  %{label}.s{k} = phi {double} [ {start}, %{before} ], [ %{label}.t{k}, %{label} ]")
    names: dict[int, str] = dict(scalars)
    for i in one.body:
        op, args, attribute = program.nodes[i]
        if op == "input":
            k = one.inputs.index(attribute)
            names[i] = e.load(f"%a{k}", f"%{label}.i", dtypes[k])
        else:
            truth = boolean(program.nodes[args[-1]]) if args else False
            names[i] = e.node(op, [names[x] for x in args], attribute, truth)
    for k, (_, op, x) in enumerate(one.reduce):
        value = e.widen(names[x]) if compute == "float32" else names[x]
        if op == "sum":
            lines.append(f"  %{label}.t{k} = fadd {double} %{label}.s{k}, {value}")
        else:
            lines.append(f"  %{label}.t{k} = {_maximum(e, double, f'%{label}.s{k}', value)}")
    for k, (_, x) in enumerate(one.write):
        e.store(names[x], f"%a{len(one.inputs) + k}", f"%{label}.i", outputs[k])
    lines += [
        f"  %{label}.next = add i64 %{label}.i, {width}",
        f"  %{label}.more = icmp slt i64 %{label}.next, {last}",
        f"  br i1 %{label}.more, label %{label}, label %{'between' if wide else 'finish'}, !llvm.loop !{0 if wide else 1}",
    ]


def _maximum(e: Emitter, of: str, a: str, b: str) -> str:
    larger = e.emit(f"fcmp oge {of} {a}, {b}")
    nan = e.emit(f"fcmp uno {of} {a}, {a}")
    chosen = e.emit(f"or {e.type('i1')} {larger}, {nan}")
    return f"select {e.type('i1')} {chosen}, {of} {a}, {of} {b}"


def _between(lines: list[str], one: Pass, width: int) -> None:
    """Fold the lanes in their order; what is left over continues from there."""
    lines.append("between:")
    of = f"<{width} x double>"
    e = Emitter(lines, "float64", 1, set(), "z")
    for k, (_, op, _) in enumerate(one.reduce):
        start = "<" + ", ".join([f"double {NEUTRAL[op]}"] * width) + ">"
        lines.append(f"  %lanes{k} = phi {of} [ {start}, %chunk ], [ %vector.t{k}, %vector ]")
    for k, (_, op, _) in enumerate(one.reduce):
        found = NEUTRAL[op]
        for lane in range(width):
            each = e.emit(f"extractelement {of} %lanes{k}, i64 {lane}")
            if op == "sum":
                found = e.emit(f"fadd double {found}, {each}")
            else:
                found = e.emit(_maximum(e, "double", found, each))
        lines.append(f"  %sum{k} = fadd double {found}, {_hex(-0.0)}")
    lines += ["  %rest = icmp slt i64 %edge, %stop", "  br i1 %rest, label %single, label %finish"]


def _finish(lines: list[str], one: Pass) -> None:
    lines.append("finish:")
    for k in range(len(one.reduce)):
        lines += [
            f"  %total{k} = phi double [ %sum{k}, %between ], [ %single.t{k}, %single ]",
        ]
    if one.reduce:
        lines.append(f"  %slot = getelementptr [{len(one.reduce)} x double], ptr %partials, i64 %block")
    for k in range(len(one.reduce)):
        lines += [f"  %p{k} = getelementptr double, ptr %slot, i64 {k}", f"  store double %total{k}, ptr %p{k}"]
    lines.append("  br label %fetch")


LOOPS = """
!0 = distinct !{!0, !2}
!1 = distinct !{!1, !2, !3}
!2 = !{!"llvm.loop.vectorize.enable", i1 false}
!3 = !{!"llvm.loop.unroll.disable"}
"""


COUNTERS = """
define void @read(ptr %table, i64 %n, ptr %out) {
entry:
  %any = icmp sgt i64 %n, 0
  br i1 %any, label %loop, label %done
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %slot = getelementptr ptr, ptr %table, i64 %i
  %at = load ptr, ptr %slot
  %value = load float, ptr %at
  %wide = fpext float %value to double
  %to = getelementptr double, ptr %out, i64 %i
  store double %wide, ptr %to
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}
define void @bump(ptr %table, i64 %n) {
entry:
  %any = icmp sgt i64 %n, 0
  br i1 %any, label %loop, label %done
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %slot = getelementptr ptr, ptr %table, i64 %i
  %at = load ptr, ptr %slot
  %value = load float, ptr %at
  %new = fadd float %value, 1.0
  store float %new, ptr %at
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""
"""torch keeps each parameter's count of updates in a 0-d tensor of its own: read them all, add 1 to all."""


class Counters:
    """The two functions of COUNTERS, taking addresses."""

    def __init__(self) -> None:
        self.engine = _compiled_engine(COUNTERS)[0]
        void, whole = ctypes.c_void_p, ctypes.c_int64
        self.read = ctypes.CFUNCTYPE(None, void, whole, void)(self.engine.get_function_address("read"))
        self.bump = ctypes.CFUNCTYPE(None, void, whole)(self.engine.get_function_address("bump"))


@lru_cache(maxsize=1)
def counters() -> Counters:
    """The functions on counters, compiled once."""
    with _lock:
        return Counters()


def _compiled_engine(source: str) -> tuple[Any, str]:
    """An engine that holds the compiled text, and the text as it was optimised."""
    machine = _machine()
    module = llvm.parse_assembly(source)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    optimised = str(module)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine, optimised


class Kernel:
    """A compiled pass; called with addresses, without the GIL."""

    def __init__(self, source: str) -> None:
        self.engine, self.source = _compiled_engine(source + LOOPS)
        void, whole = ctypes.c_void_p, ctypes.c_int64
        address = self.engine.get_function_address("run")
        self.run = ctypes.CFUNCTYPE(None, void, whole, void, void, void, void, void)(address)


_lock = threading.RLock()
_kernels: OrderedDict[Any, Kernel] = OrderedDict()
CAPACITY = 256
_compiled = 0


def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, jit=True
    )


def kernel(program: Program, stage: int, dtypes: tuple[str, ...], outputs: tuple[str, ...], compute: str) -> Kernel:
    """The compiled pass of a program for these dtypes, from memory where it is there."""
    global _compiled
    key = (program.key, stage, dtypes, outputs)
    with _lock:
        found = _kernels.get(key)
        if found is None:
            found = _kernels[key] = Kernel(text(program, program.passes[stage], dtypes, outputs, compute))
            _compiled += 1
            if len(_kernels) > CAPACITY:
                _kernels.popitem(last=False)  # a running call holds its kernel
        _kernels.move_to_end(key)
    return found


def kernels() -> tuple[int, int]:
    """The number of kernels in memory, and how many were compiled in this process."""
    return len(_kernels), _compiled
