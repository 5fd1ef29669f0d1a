"""The CUDA printer: it writes one pass of a program as a kernel in CUDA C++.

The text has no include, so that NVRTC can compile it on any machine. The work on one element is a function of its
own, which is plain C++ once a few names are defined (tests/cuda_host.h): on a machine without a device the proofs of
the fused execution run it on the processor.

The result for an element does not depend on its position in the array: nothing is reassociated, and nvrtc.OPTIONS
forbid contraction and flushing. Elementary functions are CUDA's own, for which the certified bound allows 8 units in
the last place; pow in float32 is computed in float64, since its error grows with the exponent. No device has confirmed
this yet: the tests marked ``gpu`` would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optcore.backends.fused.trace.program import Pass, Program, boolean

__all__ = ["PRELUDE", "THREADS", "kernel", "text"]

THREADS = 256
"""The number of threads in a block; it is a power of two, since the sums of a block are folded in halves."""
TYPES = {"float64": "double", "float32": "float", "float16": "unsigned short", "bfloat16": "unsigned short"}

PRELUDE = f"""
#ifndef THREADS
#define THREADS {THREADS}
#endif
typedef long long whole;
typedef unsigned long long place;
typedef unsigned short half_bits;

// 2^112 moves a float16's exponent to a float32's; the product is exact, and right for subnormals too.
static __device__ inline float from_float16(half_bits h) {{
  unsigned size = (h & 0x7fffu) << 13;
  float x = __uint_as_float(size) * 5192296858534827628530496329220096.0f;
  unsigned bits = size >= 0x0f800000u ? size | 0x7f800000u : __float_as_uint(x);
  if (size > 0x0f800000u) bits |= 0x00400000u;  // a NaN is a quiet one
  return __uint_as_float(bits | (h & 0x8000u) << 16);
}}

// To nearest, ties to even. Beside 0.5 the last place is a float16's smallest number: the sum rounds subnormals.
static __device__ inline half_bits to_float16(float x) {{
  unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return (half_bits)(sign | 0x7e00u | (size >> 13 & 0x03ffu));
  if (size >= 0x477ff000u) return (half_bits)(sign | 0x7c00u);
  if (size < 0x38800000u) return (half_bits)(sign | (__float_as_uint(__uint_as_float(size) + 0.5f) - 0x3f000000u));
  return (half_bits)(sign | (size - 0x38000000u + 0x0fffu + (size >> 13 & 1u)) >> 13);
}}

static __device__ inline float from_bfloat16(half_bits h) {{ return __uint_as_float((unsigned)h << 16); }}

static __device__ inline half_bits to_bfloat16(float x) {{
  unsigned bits = __float_as_uint(x);
  if (x != x) return (half_bits)((bits | 0x00400000u) >> 16);
  return (half_bits)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}}

// A NaN on either side wins, as the Array API has it.
template <class T> static __device__ inline T larger(T a, T b) {{ return a >= b || a != a ? a : b; }}
template <class T> static __device__ inline T smaller(T a, T b) {{ return a <= b || a != a ? a : b; }}
template <class T> static __device__ inline T sign(T a) {{
  return a > T(0) ? T(1) : a < T(0) ? T(-1) : a == T(0) ? T(0) : a;
}}

static __device__ inline double add(double a, double b) {{ return a + b; }}

// All threads' values folded in halves, always in the same order.
template <double combine(double, double)> static __device__ inline double fold(double* shared, double mine) {{
  shared[threadIdx.x] = mine;
  __syncthreads();
  for (unsigned half = THREADS / 2; half; half /= 2) {{
    if (threadIdx.x < half) shared[threadIdx.x] = combine(shared[threadIdx.x], shared[threadIdx.x + half]);
    __syncthreads();
  }}
  double found = shared[0];
  __syncthreads();
  return found;
}}
"""
"""Definitions that every kernel uses: conversions of narrow dtypes, functions that keep a NaN, the fold of a block."""

INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==",
    "ne": "!=", "and": "&&", "or": "||",
}  # fmt: skip
LIBRARY = {"sqrt": "sqrt", "floor": "floor", "abs": "fabs", "exp": "exp", "log": "log", "expm1": "expm1", "cos": "cos"}
OWN = {"maximum": "larger", "minimum": "smaller", "sign": "sign"}
FOLD: dict[str, tuple[str, Callable[[str, str], str], str]] = {
    "sum": ("add", "add({}, {})".format, "0.0"),
    "reduce_max": ("larger<double>", "larger<double>({}, {})".format, "__longlong_as_double(0xfff0000000000000ll)"),
}
"""Maps each reduction to the function that folds a block, the text that combines two values, and the neutral value."""


def text(program: Program, one: Pass, dtypes: Sequence[str], outputs: Sequence[str], compute: str) -> str:
    """Return the CUDA text of one pass; ``dtypes`` are those of ``one.inputs``, ``outputs`` those of ``one.write``."""
    return PRELUDE + kernel(program, one, dtypes, outputs, compute, "run")


def kernel(program: Program, one: Pass, dtypes: Sequence[str], outputs: Sequence[str], compute: str, name: str) -> str:
    """Return the text that follows the prelude: the function of one element, and the kernel called ``name``.

    The kernel is ``run(n, chunks, pointers, row_of, rows, partials)`` with the tables of the LLVM printer. A block of
    threads takes one chunk (leaf, start, stop, block), and its threads take the chunk's elements in turn.
    """
    real, width, reads = TYPES[compute], max(len(one.row), 1), len(one.inputs)
    columns = reads + len(one.write)
    scalars = [("bool" if boolean(program.nodes[i]) else real, f"c{k}", i) for k, i in enumerate(one.row)]
    results = [x for _, x in one.write] + [x for _, _, x in one.reduce]
    lines = [_element(program, one, real, scalars, results, name)]
    lines += [
        f'extern "C" __global__ void {name}(',
        "    whole n, const whole* chunks, const place* pointers, const whole* row_of,",
        f"    const {real}* rows, double* partials) {{",
    ]
    if one.reduce:
        lines.append("  __shared__ double shared[THREADS];")
    lines += [
        "  for (whole i = blockIdx.x; i < n; i += gridDim.x) {",
        "    const whole leaf = chunks[4 * i], start = chunks[4 * i + 1], stop = chunks[4 * i + 2];",
        f"    const place* table = pointers + {columns} * leaf;",
    ]
    for k in range(columns):
        of = TYPES[dtypes[k]] if k < reads else TYPES[outputs[k - reads]]
        lines.append(
            f"    {'const ' if k < reads else ''}{of}* a{k} = ({'const ' if k < reads else ''}{of}*)table[{k}];"
        )
    lines.append(f"    const {real}* line = rows + {width} * row_of[leaf];")
    for k, (kind, c, _) in enumerate(scalars):
        lines.append(f"    const {kind} {c} = line[{k}]{' != 0' if kind == 'bool' else ''};")
    for k, (_, op, _) in enumerate(one.reduce):
        lines.append(f"    double s{k} = {FOLD[op][2]};")
    lines.append("    for (whole j = start + threadIdx.x; j < stop; j += THREADS) {")
    given = [c for _, c, _ in scalars] + [_loaded(f"a{k}[j]", dtypes[k]) for k in range(reads)]
    if results:
        lines.append(f"      {real} {', '.join(f'y{k}' for k in range(len(results)))};")
    lines.append(f"      {name}_element({', '.join([*given, *(f'y{k}' for k in range(len(results)))])});")
    for k, (dtype, _) in enumerate(zip(outputs, one.write, strict=True)):
        lines.append(f"      a{reads + k}[j] = {_stored(f'y{k}', dtype)};")
    for k, (_, op, _) in enumerate(one.reduce):
        lines.append(f"      s{k} = {FOLD[op][1](f's{k}', f'(double)y{len(one.write) + k}')};")
    lines.append("    }")
    for k, (_, op, _) in enumerate(one.reduce):
        lines.append(f"    s{k} = fold<{FOLD[op][0]}>(shared, s{k});")
        lines.append(f"    if (threadIdx.x == 0) partials[{len(one.reduce)} * chunks[4 * i + 3] + {k}] = s{k};")
    return "\n".join([*lines, "  }", "}", ""])


def _element(
    program: Program, one: Pass, real: str, scalars: Sequence[tuple[str, str, int]], results: Sequence[int], name: str
) -> str:
    """Return the text of the work on one element: a function of the row's scalars and of each input's element."""
    given = [f"{kind} {c}" for kind, c, _ in scalars] + [f"{real} x{k}" for k in range(len(one.inputs))]
    given += [f"{real}& y{k}" for k in range(len(results))]
    names = {i: c for _, c, i in scalars}
    lines = [f"static __device__ inline void {name}_element({', '.join(given)}) {{"]
    for i in one.body:
        op, args, attribute = program.nodes[i]
        if op == "input":
            names[i] = f"x{one.inputs.index(attribute)}"
            continue
        names[i] = f"n{i}"
        truth = boolean(program.nodes[i]) or (op == "where" and boolean(program.nodes[args[-1]]))
        value = _expression(op, [names[x] for x in args], attribute, real)
        lines.append(f"  const {'bool' if truth else real} n{i} = {value};")
    lines += [f"  y{k} = {names[x]};" for k, x in enumerate(results)]
    return "\n".join([*lines, "}"])


def _expression(op: str, args: Sequence[str], attribute: Any, real: str) -> str:
    """Return one node of the graph as a C++ expression, with the meaning that it has in the LLVM printer."""
    if op == "literal":
        return f"({real}){float(attribute[0]).hex()}"
    if op in INFIX:
        return f"{args[0]} {INFIX[op]} {args[1]}"
    if op in OWN:
        return f"{OWN[op]}({', '.join(args)})"
    if op in LIBRARY:
        return f"{LIBRARY[op]}{'f' if real == 'float' else ''}({args[0]})"
    if op == "pow":
        return f"({real})pow((double){args[0]}, (double){args[1]})"
    if op == "neg":
        return f"-{args[0]}"
    if op == "not":
        return f"!{args[0]}"
    if op == "where":
        return f"{args[0]} ? {args[1]} : {args[2]}"
    if op == "isfinite":
        return f"{args[0]} - {args[0]} == 0"
    raise NotImplementedError(f"optcore: the CUDA printer does not know {op!r}")


def _loaded(element: str, dtype: str) -> str:
    return f"from_{dtype}({element})" if dtype in ("float16", "bfloat16") else element


def _stored(value: str, dtype: str) -> str:
    return f"to_{dtype}({value})" if dtype in ("float16", "bfloat16") else value
