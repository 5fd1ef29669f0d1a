"""The LLVM printer: it writes one pass of a program as a loop over vectors, in LLVM IR.

The text holds vector instructions, so nothing depends on a compiler's idea of what can be vectorised. No operation is
contracted or reassociated, so the result for an element does not depend on its position. Elements that do not fill a
vector run through the same text with vectors of one lane.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from optcore.backends.fused.printers.emitter import TYPES, WIDTH, Emitter, hexadecimal
from optcore.backends.fused.trace.program import Pass, Program, boolean

__all__ = ["COUNTERS", "text"]


def text(
    program: Program, one: Pass, dtypes: Sequence[str], outputs: Sequence[str], compute: str, whole: bool = False
) -> str:
    """Return the LLVM text of one pass.

    ``dtypes`` are those of ``one.inputs``, ``outputs`` those of ``one.write``, such as "bfloat16" or
    "bfloat16:stochastic"; the two keys of stochastic rounding are the last columns of ``pointers``. With ``whole`` the
    three scaled sums of an array's squares become one plain sum in the place of the middle one.

    The function is ``run(next, n, chunks, pointers, row_of, rows, partials)``: threads draw chunks (leaf, start, stop,
    block) from the counter ``next`` until n are done. ``pointers`` has for each leaf its inputs, then its outputs.
    """
    kind, width = TYPES[compute], WIDTH[compute]
    declared: set[str] = set()
    lines: list[str] = []
    chance = len(one.inputs) + len(one.write)
    columns = chance + 2 * any(":" in dtype for dtype in outputs)
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
    for k in range(chance, columns):
        lines += [f"  %a{k}.wide = ptrtoint ptr %a{k} to i64", f"  %key{k - chance} = trunc i64 %a{k}.wide to i32"]
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
    _loop(lines, program, one, dtypes, outputs, compute, width, declared, scalars[width], whole)
    _between(lines, one, width)
    _loop(lines, program, one, dtypes, outputs, compute, 1, declared, scalars[1], whole)
    _finish(lines, one)
    lines.append("}")
    return "\n".join([*sorted(declared), *lines])


NEUTRAL = {"sum": "0.0", "reduce_max": hexadecimal(-math.inf)}


def _loop(
    lines: list[str], program: Program, one: Pass, dtypes: Sequence[str], outputs: Sequence[str], compute: str,
    width: int, declared: set[str], scalars: dict[int, str], whole: bool,
) -> None:  # fmt: skip
    """Append the loop over full vectors or, for ``width`` 1, the loop over the single elements that are left."""
    wide = width > 1
    label, before, after = ("vector", "chunk", "between") if wide else ("single", "between", "finish")
    first, last = ("%start", "%edge") if wide else ("%edge", "%stop")
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
            written = any(attribute == name for name, _ in one.write)
            names[i] = e.load(f"%a{k}", f"%{label}.i", dtypes[k], written=written)
        else:
            truth = boolean(program.nodes[args[-1]]) if args else False
            names[i] = e.node(op, [names[x] for x in args], attribute, truth)
    squares = {k: (part, x) for k, part, x in one.squares} if whole else {}
    for k, (_, op, x) in enumerate(one.reduce):
        if k in squares:
            part, x = squares[k]
            if part != 1:
                lines.append(f"  %{label}.t{k} = select i1 true, {double} %{label}.s{k}, {double} %{label}.s{k}")
                continue
            value = e.widen(names[x]) if compute == "float32" else names[x]
            lines.append(f"  %{label}.t{k} = fadd {double} %{label}.s{k}, {e.fmul(value, value)}")
            continue
        value = e.widen(names[x]) if compute == "float32" else names[x]
        if op == "sum":
            lines.append(f"  %{label}.t{k} = fadd {double} %{label}.s{k}, {value}")
        else:
            lines.append(f"  %{label}.t{k} = {_maximum(e, double, f'%{label}.s{k}', value)}")
    for k, (_, x) in enumerate(one.write):
        dtype, _, by_chance = outputs[k].partition(":")
        value = names[x]
        if by_chance:
            value = e.by_chance(value, f"%{label}.i", ("%key0", "%key1"), dtype)
        e.store(value, f"%a{len(one.inputs) + k}", f"%{label}.i", dtype)
    lines += [
        f"  %{label}.next = add i64 %{label}.i, {width}",
        f"  %{label}.more = icmp slt i64 %{label}.next, {last}",
        f"  br i1 %{label}.more, label %{label}, label %{after}, !llvm.loop !{0 if wide else 1}",
    ]


def _maximum(e: Emitter, of: str, a: str, b: str) -> str:
    larger = e.emit(f"fcmp oge {of} {a}, {b}")
    nan = e.emit(f"fcmp uno {of} {a}, {a}")
    chosen = e.emit(f"or {e.type('i1')} {larger}, {nan}")
    return f"select {e.type('i1')} {chosen}, {of} {a}, {of} {b}"


def _between(lines: list[str], one: Pass, width: int) -> None:
    """Append the code between the two loops: it folds the lanes of each sum in order, and the second loop goes on."""
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
        lines.append(f"  %sum{k} = fadd double {found}, {hexadecimal(-0.0)}")
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


_ARGUMENTS = "\n".join(
    f"  %p{k} = getelementptr i64, ptr %args, i64 {k}\n  %v{k} = load {'i64' if k == 1 else 'ptr'}, ptr %p{k}"
    for k in range(7)
)
TEAM = f"""
define void @team(ptr %args) {{
{_ARGUMENTS}
  call void @run(ptr %v0, i64 %v1, ptr %v2, ptr %v3, ptr %v4, ptr %v5, ptr %v6)
  ret void
}}
"""
"""A function that calls ``run`` with arguments it reads from memory: OpenMP gives its threads one pointer."""
LOOPS = """
!0 = distinct !{!0, !2}
!1 = distinct !{!1, !2, !3}
!2 = !{!"llvm.loop.vectorize.enable", i1 false}
!3 = !{!"llvm.loop.unroll.disable"}
"""


def _over_table(header: str, body: str) -> str:
    """Return the LLVM text of a function that runs ``body`` for the float32 number at each of n addresses."""
    return f"""
define void {header} {{
entry:
  %any = icmp sgt i64 %n, 0
  br i1 %any, label %loop, label %done
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %slot = getelementptr ptr, ptr %table, i64 %i
  %at = load ptr, ptr %slot
  %value = load float, ptr %at
  {body}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


_READ = """%wide = fpext float %value to double
  %to = getelementptr double, ptr %out, i64 %i
  store double %wide, ptr %to"""
_BUMP = """%new = fadd float %value, 1.0
  store float %new, ptr %at"""
COUNTERS = _over_table("@read(ptr %table, i64 %n, ptr %out)", _READ) + _over_table("@bump(ptr %table, i64 %n)", _BUMP)
"""Two functions on the counts of updates, which torch stores in a 0-d tensor for each parameter.

``read`` copies all counts to an array of float64, and ``bump`` adds 1 to each of them.
"""
