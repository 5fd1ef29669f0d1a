"""The CUDA kernels: the printed text compiles for every device, and run on a host it obeys the proofs."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from conftest import Library, _mark
from loops import LOOPS

import optcore
from optcore import backends
from optcore.adapters import native
from optcore.adapters import torch as adapter
from optcore.backends.drive import start
from optcore.backends.fused import engines
from optcore.backends.fused.printers import cuda
from optcore.backends.fused.printers.elementary import ELEMENTARY
from optcore.backends.fused.running import device, nvrtc
from optcore.backends.fused.running.device import Device, Order
from optcore.backends.fused.trace.program import REDUCTIONS
from optcore.backends.leaf import Leaf
from optcore.backends.numpy import NumpyBackend
from optcore.backends.numpy import backend as on_numpy
from optcore.backends.torch import backend as on_torch
from optcore.backends.values import laid_out, numbers
from optcore.testing import Case, laws, subjects

THREADS, STREAM = 8, 42
DTYPES = ("float32", "float64", "float16", "bfloat16")
SPECIAL = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, 1e-45, -1e-42, 1e-38, 3e38, -3e38, 1e30, 1e-30, 1e-19, 7e4, 3e-8]


def job(rule: Any, shapes: Any, dtype: str, t: int = 3, kept: str | None = None) -> tuple[list[Leaf], list[Any]]:
    """Return leaves in the middle of a run; every pair of special numbers is a parameter and a gradient.

    ``kept`` is the dtype of the states, by default the dtype of computation.
    """
    rng = np.random.default_rng(0)
    values = laid_out(numbers(rule.complete(), on_numpy, t - 1), "in_out")
    leaves = []
    with np.errstate(all="ignore"):
        for shape in shapes:
            p, g = rng.normal(size=(2, *shape))
            if p.size >= 1000:
                p.ravel()[:256], g.ravel()[:256] = zip(*itertools.product(SPECIAL, SPECIAL), strict=True)
            p, g = on_numpy.array(p, dtype), on_numpy.array(g, dtype)
            arrays = rule.unpack(start(rule, on_numpy, p, values))
            for i, f in enumerate(rule.fields):
                if arrays[i] is not None and not f.shared and arrays[i].shape == p.shape:
                    drawn = np.abs(rng.normal(size=shape))
                    if p.size >= 1000:
                        drawn.ravel()[300:316] = SPECIAL
                    arrays[i] = on_numpy.array(drawn, kept or str(arrays[i].dtype))
            leaves.append(Leaf(p, g, rule.pack(arrays), t, values))
    return leaves, [x for x, f in zip(arrays, rule.fields, strict=True) if f.shared]


class HostMemory:
    """The memory protocol of a device, implemented with memory of the host."""

    capability = 90
    current = staticmethod(nullcontext)

    def stream(self) -> int:
        return STREAM

    def upload(self, values: Any) -> tuple[int, Any]:
        made = values.copy()
        return made.ctypes.data, made

    def empty(self, numbers: int) -> tuple[int, Any]:
        made = np.full(numbers, np.nan)
        return made.ctypes.data, made

    def download(self, owner: Any) -> Any:
        return owner


class HostBackend(NumpyBackend):
    """The backend of NumPy arrays that pretends they lie on a CUDA device, or on two in turn."""

    name = "cuda"
    fuses = devices = True

    def __init__(self, count: int = 1) -> None:
        super().__init__(np)
        self.runners = [Device(HostMemory()) for _ in range(count)]

    def address(self, x: Any) -> tuple[int, Any, bool] | None:
        at = super().address(x)
        return at and (at[0], Order(at[1], self.runners[x.size % len(self.runners)]), at[2])


@lru_cache
def printed(dtype: str) -> dict[str, str]:
    """Return the kernels of every rule in one dtype, each with its own name, by the text a device would compile."""
    found: dict[str, str] = {}
    every = [rule for name in LOOPS for rule in variants(name)] + [
        native.constructor("torch", "AdamW").build().recipe.rule
    ]
    for rule, t, kept in itertools.product(every, (1, 2, 3), kinds(dtype)):
        leaves, shared = job(rule, [(7,), (3, 5), ()], dtype, t, kept)  # a number's state has the shape of its leaf
        (ready,) = engines.chosen(rule, HostBackend(), leaves, shared)
        assert len(ready.taken) == 3
        for group in ready.groups.values():
            for one in group.program.passes:
                inputs = [group.dtypes[n] for n in one.inputs]
                given = group.program, one, inputs, [group.dtypes[n] for n, _ in one.write], group.compute
                text = cuda.text(*given)
                if (one.reduce or one.write) and text not in found:
                    found[text] = cuda.kernel(*given, f"{dtype}_{len(found)}")
    return found


def kinds(dtype: str) -> tuple[str | None, ...]:
    """Return the dtypes in which states may be stored: that of computation, and the parameter's."""
    return (None, dtype) if dtype.endswith("float16") else (None,)


def variants(name: str) -> list[Any]:
    """Return a rule with its default numbers, and with a weight decay at its place in the template."""
    rule = laws.ready(subjects()[name])
    return [rule, rule.bind(weight_decay=0.1)]


CONVERSIONS = """
extern "C" void narrow(const float* x, half_bits* y, whole n, int brain) {
  for (whole i = 0; i < n; ++i) y[i] = brain ? to_bfloat16(x[i]) : to_float16(x[i]);
}
extern "C" void widen(const half_bits* x, float* y, whole n, int brain) {
  for (whole i = 0; i < n; ++i) y[i] = brain ? from_bfloat16(x[i]) : from_float16(x[i]);
}
"""


def compiled_here(sources: Sequence[str], names: Sequence[str], folder: Path) -> Any:
    """Return a library of printed kernels and of the driver's functions that launch them, compiled for the host."""
    table = ", ".join(f"KERNEL({name})" for name in names)
    text = ['#include "cuda_host.h"', cuda.PRELUDE, CONVERSIONS, *sources]
    (folder / "kernels.cpp").write_text("\n".join([*text, f"static const Kernel KERNELS[] = {{{table}}};", "DRIVER\n"]))
    options = [
        "-std=c++20",
        "-O1",
        "-ffp-contract=off",
        "-fPIC",
        "-shared",
        "-pthread",
        "-I",
        str(Path(__file__).parents[1]),
    ]
    given = [f"-DTHREADS={THREADS}", f"-DSTREAM={STREAM}", "kernels.cpp", "-o", "kernels.so"]
    done = subprocess.run(["c++", *options, *given], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return device.prototyped(ctypes.CDLL(str(folder / "kernels.so")))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Replace the CUDA driver by one that runs the printed kernels on this machine."""
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler (c++) to run the printed kernels with")
    every = {text: kernel for dtype in DTYPES for text, kernel in printed(dtype).items()}
    names = {text: kernel.partition("_element(")[0].rpartition(" ")[2] for text, kernel in every.items()}
    found = compiled_here(list(every.values()), list(names.values()), tmp_path_factory.mktemp("cuda"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "driver", lambda: found)
        patch.setattr(device, "THREADS", THREADS)
        patch.setattr(nvrtc, "compiled", lambda source, capability: names[source].encode())
        yield found


def run(backend: Any, rule: Any, leaves: Any, shared: Any) -> list[Any]:
    (ready,) = engines.chosen(rule, backend, leaves, shared)
    assert len(ready.taken) == len(leaves)
    results, common = ready.run(1)
    return [x for i in range(len(leaves)) for x in (results[i][0].p, *results[i][1]) if x is not None] + common


def same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Tell whether arrays are equal bit by bit, except for the digits of a NaN."""
    for a, b in zip(first, second, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        real = ~np.isnan(a.astype(np.float64))
        if (
            a.dtype != b.dtype
            or not np.array_equal(a, b, equal_nan=True)
            or np.any((np.signbit(a) != np.signbit(b))[real])
        ):
            return False
    return True


def operations(rule: Any) -> set[str]:
    leaves, shared = job(rule, [(7,)], "float32")
    (group,) = engines.chosen(rule, on_numpy, leaves, shared)[0].groups.values()
    return {op for i, (op, _, _) in enumerate(group.program.nodes) if op in REDUCTIONS or not group.program.scalar[i]}


COMPILER = pytest.mark.skipif(nvrtc.library() is None, reason="no NVRTC: pip install nvidia-cuda-nvrtc-cu12")


@COMPILER
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kernels_of_every_rule_compile(dtype: str) -> None:
    code = nvrtc.compiled(cuda.PRELUDE + "\n".join(printed(dtype).values()), 90)
    assert code.startswith(b"\x7fELF")


@COMPILER
def test_a_kernel_compiles_for_every_device_that_the_compiler_knows_and_newer_ones() -> None:
    source = next(iter(printed("bfloat16")))
    known = nvrtc.architectures()
    for capability in known:
        assert nvrtc.compiled(source, capability).startswith(b"\x7fELF")
    assert b".version" in nvrtc.compiled(source, max(known) + 1)
    with pytest.raises(RuntimeError, match=r"does not know compute capability 1\.0"):
        nvrtc.compiled(source, 10)


@COMPILER
def test_no_operation_is_contracted_approximated_or_flushed() -> None:
    """The rules without elementary functions show it: the text of those functions itself uses fused operations."""
    plain = [n for n in LOOPS if not operations(laws.ready(subjects()[n])) & {*ELEMENTARY}]
    assert {"adam", "lion", "lamb"} <= set(plain)
    for name, dtype in itertools.product(plain, ("float32", "float64")):
        rule = laws.ready(subjects()[name])
        (group,) = engines.chosen(rule, HostBackend(), *job(rule, [(7,)], dtype))[0].groups.values()
        one = group.program.passes[-1]
        kinds = [group.dtypes[n] for n in one.inputs], [group.dtypes[n] for n, _ in one.write]
        ptx = nvrtc.compiled(cuda.text(group.program, one, *kinds, group.compute), 91).decode()
        arithmetic = [line for line in ptx.splitlines() if ".f32" in line or ".f64" in line]
        assert arithmetic
        for word in ("fma.", ".ftz", ".approx", ".full", "mad."):
            assert not any(word in line for line in arithmetic), (name, word)


@COMPILER
def test_what_does_not_compile_is_told_in_the_compilers_words() -> None:
    with pytest.raises(RuntimeError, match="nonsense"):
        nvrtc.compiled("nonsense", 90)


@pytest.mark.parametrize(("brain", "dtype"), [(0, np.float16), (1, ml_dtypes.bfloat16)])
def test_every_16_bit_number_and_every_tie_between_two_is_converted_as_numpy_does(
    host: Any, brain: int, dtype: Any
) -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    wide = np.empty(len(every), np.float32)
    host.widen(*(ctypes.c_void_p(x.ctypes.data) for x in (every, wide)), ctypes.c_longlong(len(every)), brain)
    with np.errstate(all="ignore"):
        assert same([wide], [every.view(dtype).astype(np.float32)])
        ties = ((wide.astype(np.float64) + np.roll(wide, 1)) / 2).astype(np.float32)
        edges = np.array([65504.0, 65519.99, 65520.0, 2.0**-25, 2.0**-24, 2.0**-14, 3.4e38, np.inf], np.float32)
        given = np.concatenate([wide, ties, edges, -edges])
        given = np.concatenate(
            [given, np.nextafter(given, np.float32(np.inf)), np.nextafter(given, np.float32(-np.inf))]
        )
        got = np.empty(len(given), np.uint16)
        host.narrow(*(ctypes.c_void_p(x.ctypes.data) for x in (given, got)), ctypes.c_longlong(len(given)), brain)
        assert same([got.view(dtype)], [given.astype(dtype)])


@pytest.mark.parametrize("name", LOOPS)
def test_a_kernel_has_the_bits_of_the_processors_where_arithmetic_is_rounded_once(host: Any, name: str) -> None:
    """It holds for rules of + - * / sqrt and comparisons; rules with sums or elementary functions lie in the bound."""
    for rule, dtype in itertools.product(variants(name), DTYPES):
        if operations(rule) & {*ELEMENTARY, *REDUCTIONS}:
            continue
        for kept in kinds(dtype):
            leaves, shared = job(rule, [(0,), (1,), (), (7,), (1000,), (9000,)], dtype, kept=kept)
            got, want = (run(b, rule, leaves, shared) for b in (HostBackend(), on_numpy))
            assert same(got, want), (dtype, kept)


@pytest.mark.parametrize("name", LOOPS)
def test_a_kernel_lies_in_the_certified_bound_and_lets_nan_through(host: Any, name: str) -> None:
    rng = np.random.default_rng(1)
    for rule, dtype, shape in itertools.product(variants(name), DTYPES, ((1,), (7,), (3, 5))):
        if rule.ndim in (None, len(shape)):
            case = Case(rule, rng.normal(size=shape), tuple(rng.normal(size=(3, *shape))))
            assert laws.certified_bound(case, HostBackend(), dtype) <= 1.0
            laws.nan_propagates(case, HostBackend(), dtype)


@pytest.mark.parametrize("name", ["lamb", "clip_by_global_norm", "prodigy"])
def test_a_sum_depends_on_its_leaf_alone_and_is_that_of_the_processors_but_for_rounding(host: Any, name: str) -> None:
    rule = laws.ready(subjects()[name])
    for dtype, units in (("float32", 2.0**-24), ("float64", 2.0**-53)):
        leaves, shared = job(rule, [(0,), (1,), (7,), (999,), (30, 30)], dtype)
        got, want = run(HostBackend(), rule, leaves, shared), run(on_numpy, rule, leaves, shared)
        assert same(got, run(HostBackend(), rule, leaves, shared))
        # Sums are made in float64 and rounded once: float32 results are off by a unit of the sum, carried through
        # a root and a quotient. In float64 it is the 1000 additions that round.
        room = 8 * units * (1 if dtype == "float32" else 1000)
        for x, y in zip(got, want, strict=True):
            np.testing.assert_allclose(x, y, rtol=room, atol=room)
        if not any(f.shared for f in rule.fields) and rule.kind == "leafwise":
            alone = [x for leaf in leaves for x in run(HostBackend(), rule, [leaf], shared)]
            assert name != "lamb" or same(got, alone)


def test_a_leaf_of_many_blocks_is_summed_over_all_of_them(host: Any) -> None:
    rule = optcore.clipping.clip_by_global_norm(max_norm=1.0, lr=1.0)
    n = 5 * Device.block + 3
    g = np.ones(n)
    leaf = Leaf(np.zeros(n), g, rule.pack([]), 1, laid_out(numbers(rule.complete(), on_numpy, 0), "in_out"))
    (new,) = run(HostBackend(), rule, [leaf], [])
    np.testing.assert_allclose(new, -g / np.sqrt(n), rtol=4 * 2.0**-53)


def test_a_total_is_over_the_leaves_of_all_devices(host: Any) -> None:
    rule = laws.ready(subjects()["clip_by_global_norm"])
    leaves, shared = job(rule, [(5,), (6,), (7,), (8,)], "float64")
    (two,) = engines.chosen(rule, HostBackend(2), leaves, shared)
    assert sorted(len(group.at) for group in two.groups.values()) == [2, 2]
    got, want = run(HostBackend(2), rule, leaves, shared), run(HostBackend(), rule, leaves, shared)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=16 * 2.0**-53)


@COMPILER
def test_a_device_is_left_to_eager_execution_where_what_is_compiled_would_not_run(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(Device.at(HostMemory), Device) or nvrtc.major() > 12
    monkeypatch.setattr(nvrtc, "major", lambda: 12)
    monkeypatch.setattr(nvrtc, "architectures", lambda: [90, 100])
    assert isinstance(Device.at(HostMemory), Device)
    monkeypatch.setattr(nvrtc, "architectures", lambda: [100])  # a device older than the compiler knows
    assert Device.at(HostMemory) is None
    monkeypatch.setattr(nvrtc, "architectures", lambda: [90])
    monkeypatch.setattr(nvrtc, "major", lambda: 13)  # a driver older than the compiler
    assert Device.at(HostMemory) is None
    monkeypatch.setattr(device, "driver", lambda: None)
    assert Device.at(HostMemory) is None


def test_what_the_driver_refuses_is_told_by_its_own_name(host: Any) -> None:
    with pytest.raises(RuntimeError, match=r"cuModuleLoadData says CUDA_ERROR_NOT_FOUND \(500\)"):
        device.call("cuModuleLoadData", ctypes.byref(ctypes.c_void_p()), b"nothing")


def stepped(make: Any, dtype: Any = torch.float32, on: str = "cpu", steps: int = 4) -> list[Any]:
    draw = torch.Generator().manual_seed(3)
    params = [torch.randn(s, generator=draw).to(on, dtype).requires_grad_() for s in ((7,), (30, 20), (2, 3, 4))]
    optimizer = make(params)
    for _ in range(steps):
        for p in params:
            p.grad = torch.randn(p.shape, generator=draw).to(on, dtype)
        optimizer.step()
    return [p.detach().float().cpu().numpy() for p in params]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_torch_adapter_hands_tensors_to_the_device_they_lie_on(
    host: Any, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    want = stepped(adapter.AdamW, dtype)
    runner, plain, launched = Device(HostMemory()), on_torch.address, []

    def address(x: Any) -> Any:
        at = plain(x)
        return at and (at[0], Order(at[1], runner), at[2])

    launch = runner._launch
    monkeypatch.setattr(runner, "_launch", lambda *given: (launched.append(given), launch(*given)))
    monkeypatch.setattr(on_torch, "address", address)
    assert same(stepped(adapter.AdamW, dtype), want)
    assert len(launched) == 4  # one pass a step


GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device for torch")]


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("library", [_mark(Library.CUPY)])
def test_cupy_arrays_move_as_numpy_arrays_do(library: Library, name: str) -> None:
    """They agree within a hundred units: exp, log and the order of sums round differently in each of three steps."""
    rule, rng = laws.ready(subjects()[name]), np.random.default_rng(5)
    for dtype, units in (("float32", 2.0**-24), ("float64", 2.0**-53)):
        optimizer = backends.Optimizer(optcore.Recipe(rule))
        values = [rng.normal(size=(2, *s)) for s in ((7,), (30, 20), (5000,))]
        results = []
        for backend in (on_numpy, library.backend):
            params, grads = ({str(i): backend.array(x[k], dtype) for i, x in enumerate(values)} for k in range(2))
            state = optimizer.init(params)
            for _ in range(3):
                params, state = optimizer.update(params, grads, state)
            results.append([backend.numpy(x) for x in params.values()])
        for x, y in zip(*results, strict=True):
            np.testing.assert_allclose(x, y, rtol=100 * units, atol=100 * units)


@pytest.mark.parametrize("dtype", [pytest.param(d, marks=GPU) for d in (torch.float32, torch.bfloat16, torch.float16)])
def test_torch_tensors_on_a_device_move_as_those_on_the_processors_do(dtype: Any) -> None:
    assert isinstance(on_torch.address(torch.zeros(1, device="cuda"))[1].runner, Device)  # and not eager execution
    assert same(stepped(adapter.AdamW, dtype, "cuda"), stepped(adapter.AdamW, dtype))


@pytest.mark.parametrize("steps", [pytest.param(3, marks=GPU)])
def test_a_pass_is_launched_on_the_current_stream_of_torch(steps: int) -> None:
    want = stepped(adapter.AdamW)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        got = stepped(adapter.AdamW, on="cuda")
    assert same(got, want)
