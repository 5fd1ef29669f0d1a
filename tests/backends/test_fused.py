"""Fused passes over memory: every rule lies in its certified bound, whatever the threads, chunks, shapes and values."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from loops import LOOPS

import optcore
from optcore import backends
from optcore.backends import fused
from optcore.backends.drive import advance, start
from optcore.backends.eager import eager
from optcore.backends.fused import engines
from optcore.backends.fused.running import compiled, pool, table
from optcore.backends.leaf import Leaf
from optcore.backends.numpy import backend as on_numpy
from optcore.backends.probe import asks_totals
from optcore.backends.values import laid_out, numbers
from optcore.testing import check_rule, subjects
from optcore.testing.bound import U64
from optcore.testing.laws import inexact_operations, ready

RULES = list(subjects())


def job(rule: Any, shapes: Any, dtype: str = "float32", seed: int = 0, t: int = 3) -> tuple[list[Leaf], list[Any]]:
    """Return leaves of one rule in the middle of a run."""
    rng = np.random.default_rng(seed)
    values = laid_out(numbers(rule.complete(), on_numpy, t - 1), "in_out")
    leaves = []
    for shape in shapes:
        p, g = (on_numpy.array(rng.normal(size=shape), dtype) for _ in range(2))
        arrays = rule.unpack(start(rule, on_numpy, p, values))
        for i, f in enumerate(rule.fields):
            if arrays[i] is not None and not f.shared and arrays[i].shape == p.shape:
                arrays[i] = np.asarray(np.abs(rng.normal(size=shape)), arrays[i].dtype)
        leaves.append(Leaf(p, g, rule.pack(arrays), t, values))
    shared = [x for x, f in zip(rule.unpack(leaves[0].state), rule.fields, strict=True) if f.shared]
    return leaves, shared


def arrays_of(rule: Any, done: Any) -> list[Any]:
    return [x for moved, state in done for x in (moved.p, *state) if x is not None]


def run(rule: Any, leaves: Any, shared: Any, *, threads: int = 2, chunk: int = table.CHUNK) -> list[Any]:
    (found,) = engines.chosen(rule, on_numpy, leaves, shared)
    assert len(found.taken) == len(leaves)
    results, _ = found.run(threads, chunk)
    return [x for i in range(len(leaves)) for x in (results[i][0].p, *results[i][1]) if x is not None]


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", RULES)
def test_every_law_holds_for_the_pass_as_for_eager_execution(name: str) -> None:
    (report,) = check_rule(subjects()[name], backends=["fused"], dtypes=["float32", "float64", "bfloat16"], examples=5)
    assert report.holds, report.failures
    assert report.used > 0.05  # on the simplex the exponents' common peak cancels, which a bound does not know


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_every_rule_without_rows_columns_and_matrices_is_run_as_a_pass(name: str, dtype: str) -> None:
    rule = ready(subjects()[name])
    leaves, shared = job(rule, [(), (0,), (1,), (7,), (16,), (33, 5)], dtype)
    with np.errstate(all="ignore"):
        want = arrays_of(rule, eager(rule, on_numpy, leaves, shared)[0])
    got = run(rule, leaves, shared)
    # One rounding more for each reciprocal of a constant, and sums in another order: at most 64 units of a
    # result that cancels little (Apollo's quotient of differences takes 50 of them). The certified bound
    # above is the proof; this is that nothing is left out.
    room = 64 * {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    for x, y in zip(got, want, strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        np.testing.assert_allclose(x.astype(np.float64), y.astype(np.float64), rtol=room, atol=room)


@pytest.mark.parametrize("name", LOOPS)
def test_bits_do_not_depend_on_threads_or_chunks(name: str) -> None:
    rule = ready(subjects()[name])
    leaves, shared = job(rule, [(150_001,), (3,), (257, 300)])
    first = run(rule, leaves, shared, threads=1)
    for threads, chunk in ((2, table.CHUNK), (7, 4096), (3, 1000), (1, 1 << 20)):
        assert same(first, run(rule, leaves, shared, threads=threads, chunk=chunk))


def test_bits_do_not_depend_on_whose_threads_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = optcore.chain(optcore.clipping.clip_by_global_norm(max_norm=1.0), optcore.lamb)
    leaves, shared = job(rule, [(150_001,), (77_000,)])
    first = run(rule, leaves, shared)
    monkeypatch.setattr(pool, "_openmp", lambda _: None)
    assert same(first, run(rule, leaves, shared))


SPECIAL = [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf, 1e-45, -1e-42, 1e-38, 3e38, -3e38, 1e30, 1e-30, 1e-19, 1e19]


@pytest.mark.parametrize("name", LOOPS)
def test_nan_inf_huge_and_subnormal_elements_come_out_as_in_eager_execution(name: str) -> None:
    rule = ready(subjects()[name])
    one, two = (x.ravel().astype(np.float32) for x in np.meshgrid(SPECIAL, SPECIAL))
    for pick in range(len(one)) if rule.kind == "leafwise" else [slice(None)]:  # a norm spreads what it meets
        p, g = np.atleast_1d(one[pick]), np.atleast_1d(two[pick])
        (leaf,), shared = job(rule, [p.shape])
        leaf.p, leaf.g = p, g
        with np.errstate(all="ignore"):
            want = arrays_of(rule, eager(rule, on_numpy, [leaf], shared)[0])
        for x, y in zip(run(rule, [leaf], shared), want, strict=True):
            # A quotient by a constant is a product here, which may round an overflow or an underflow otherwise.
            edge = (np.abs(y) > 1e38) | (np.abs(y) < 1e-36)
            whole = (np.abs(y) > 1e-3) | (np.abs(np.resize(p, y.shape)) == 1)  # a difference of numbers of order one
            with np.errstate(all="ignore"):
                x = np.where(whole & (np.abs(x - y) < 5e-7), y, x)
            assert np.array_equal(np.isnan(x), np.isnan(y)), (p, g, x, y)
            np.testing.assert_allclose(np.where(edge, 0, x), np.where(edge, 0, y), rtol=1e-5)
            assert np.all(np.abs(x[edge & ~np.isnan(x)]) > 9e37) or np.all(np.abs(x[edge & (np.abs(y) < 1)]) < 2e-36)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("function", ["exp", "log"])
def test_vector_functions_err_by_less_than_they_state(function: str, dtype: str) -> None:
    from optcore.rule import rule

    def law(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return getattr(xp, function)(g), s

    rng = np.random.default_rng(1)
    limit = 700.0 if dtype == "float64" else 85.0
    x = (
        rng.uniform(-limit, limit, 200_000)
        if function == "exp"
        else 10.0 ** rng.uniform(-limit / 2.4, limit / 2.4, 200_000)
    )
    g = x.astype(dtype)
    plain = {"lr": 1.0, "weight_decay": 0.0, "decay": "with", "maximize": False}
    got = -run(rule()(law), [Leaf(np.zeros_like(g), g, (), 1, plain)], [])[0].astype(np.longdouble)
    want = getattr(np, function)(g.astype(np.longdouble))
    unit = np.spacing(np.abs(want).astype(dtype)).astype(np.longdouble)
    reference = np.finfo(np.longdouble).eps / np.finfo(dtype).eps  # errs by a unit of its own, which may be a double's
    assert np.max(np.abs(got - want) / unit) <= STATED[function, dtype] + reference


STATED = {("exp", "float64"): 1.5, ("log", "float64"): 1.0, ("exp", "float32"): 0.51, ("log", "float32"): 0.51}
"""Units in the last place, as backends/fused/elementary.py has them."""


def test_numbers_never_recompile() -> None:
    rule = optcore.adamw
    leaves, shared = job(rule, [(5,), (3, 4)])
    run(rule, leaves, shared)
    before = compiled.kernels()[1]
    for k in range(5):
        changed = {**leaves[0].values, "lr": 0.1 / (k + 1), "beta1": 0.5 + k / 20, "epsilon": 10.0**-k}
        run(rule, [Leaf(x.p, x.g, x.state, k + 1, changed) for x in leaves], shared)
    assert compiled.kernels()[1] == before


def test_kernels_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "CAPACITY", 3)
    for name in ("sgd", "lion", "adamw", "adagrad", "rmsprop", "signum"):
        leaves, shared = job(subjects()[name], [(5,)])
        run(subjects()[name], leaves, shared)
        assert compiled.kernels()[0] <= 3


def test_the_loop_is_made_of_vectors() -> None:
    leaves, shared = job(optcore.adamw, [(64,)])
    (found,) = engines.chosen(optcore.adamw, on_numpy, leaves, shared)
    found.run(1)
    program = next(iter(found.groups.values())).program
    kernel = compiled.kernel(program, 0, ("float32",) * 4, ("float32",) * 3, "float32")
    assert "<16 x float>" in kernel.source and "llvm.sqrt.v16f32" in kernel.source
    assert "fast" not in kernel.source and "contract" not in kernel.source


@pytest.mark.parametrize("name", ["adamw", "lamb", "prodigy"])
def test_donated_arrays_are_moved_in_place_to_the_same_bits(name: str) -> None:
    opt = backends.Optimizer(optcore.Recipe(name, lr=0.01))
    rng = np.random.default_rng(0)
    params = {"a": rng.normal(size=(40, 30)), "b": rng.normal(size=7)}
    grads = {k: rng.normal(size=v.shape) for k, v in params.items()}
    mine = {k: v.copy() for k, v in params.items()}
    state, pure = opt.init(mine), opt.init(params)
    new, held = mine, params
    for _ in range(3):
        new, state = opt.update(new, grads, state, donate=True)
        held, pure = opt.update(held, grads, pure)
    assert all(new[k] is mine[k] for k in params)
    assert all(np.array_equal(held[k], new[k]) for k in params)
    assert not any(np.array_equal(params[k], held[k]) for k in params)


def test_leaves_that_share_memory_are_not_moved_in_place() -> None:
    opt = backends.Optimizer(optcore.Recipe("sgd", lr=1.0))
    whole = np.ones(8)
    params = [whole[:5], whole[3:]]
    new, _ = opt.update(params, [np.ones(5), np.ones(5)], opt.init(params), donate=True)
    assert all(np.array_equal(x, np.zeros(5)) for x in new)


@pytest.mark.parametrize("how", ["reversed", "strided", "readonly", "fortran", "mixed"])
def test_any_layout_gives_the_numbers_of_the_contiguous_one(how: str) -> None:
    rng = np.random.default_rng(0)
    p, g = rng.normal(size=(2, 6, 8))
    opt = backends.Optimizer(optcore.Recipe("adamw", lr=0.1))
    want, _ = opt.update([p], [g], opt.init([p]))

    def laid(x: Any) -> Any:
        if how == "reversed":
            return x[::-1].copy()[::-1]
        if how == "strided":
            return np.repeat(x, 2, axis=1)[:, ::2]
        x = np.asfortranarray(x) if how == "fortran" else x.copy()
        x.setflags(write=how != "readonly")
        return x

    other = laid(p)
    gradient = np.asfortranarray(g) if how == "mixed" else laid(g)
    got, _ = opt.update([other], [gradient], opt.init([other]), donate=True)
    np.testing.assert_allclose(got[0], want[0], rtol=4 * U64)


def test_a_step_needs_no_memory_of_the_models_size() -> None:
    opt = backends.Optimizer(optcore.Recipe("adamw", lr=0.1, clip=optcore.clipping.clip_by_global_norm(max_norm=1.0)))
    params = [np.ones(4_000_000, np.float32), np.ones(1000, np.float32)]
    grads, state = [x.copy() for x in params], opt.init(params)
    params, state = opt.update(params, grads, state, donate=True)
    tracemalloc.start()
    try:
        opt.update(params, grads, state, donate=True)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_two_threads_step_two_optimizers_at_once() -> None:
    def work(seed: int, out: dict[int, Any]) -> None:
        rng = np.random.default_rng(seed)
        opt = backends.Optimizer(optcore.Recipe("lamb", lr=0.01))
        params = [rng.normal(size=(300, 500)).astype(np.float32)]
        state, g = opt.init(params), [rng.normal(size=(300, 500)).astype(np.float32)]
        for _ in range(20):
            params, state = opt.update(params, g, state, donate=True)
        out[seed] = params[0]

    alone: dict[int, Any] = {}
    together: dict[int, Any] = {}
    for seed in (1, 2):
        work(seed, alone)
    threads = [threading.Thread(target=work, args=(seed, together)) for seed in (1, 2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert all(np.array_equal(alone[s], together[s]) for s in (1, 2))


STEPS = """
import numpy as np, optcore, sys
from optcore import backends
if {torch}:
    import torch
    (torch.ones(1 << 20) + 1).sum()  # its threads are there now
opt = backends.Optimizer(optcore.Recipe("adamw", lr=0.01))
def steps(n):
    params = [np.ones(400_000, np.float32)]
    state, g = opt.init(params), [np.ones(400_000, np.float32)]
    for _ in range(n):
        params, state = opt.update(params, g, state, donate=True)
    return float(params[0].sum())
first = steps(3)
"""


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600
    )  # of one that hangs


@pytest.mark.parametrize("torch", [False, True])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_steps_to_the_same_bits(torch: bool) -> None:
    code = STEPS.format(torch=torch) + (
        "import os, warnings\nwarnings.simplefilter('ignore')\npid = os.fork()\n"
        "if pid == 0:\n    os._exit(0 if steps(3) == first else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    done = _python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("torch", [False, True])
def test_an_interpreter_that_ends_in_the_middle_of_a_step_does_not_crash(torch: bool) -> None:
    # Without a tree: CPython ends a daemon thread where it next wants the GIL, which C++ frames do not survive.
    code = STEPS.format(torch=torch) + (
        "from optcore.backends.drive import advance, start\nfrom optcore.backends.leaf import Leaf\n"
        "from optcore.backends.numpy import backend\n"
        "values, p = {**optcore.adamw.complete(), 'lr': 0.01}, np.ones(4_000_000, np.float32)\n"
        "leaf = Leaf(p, p.copy(), start(optcore.adamw, backend, p, values), 1, values)\n"
        "import threading\nbegun = threading.Event()\n"
        "def forever():\n    while True:\n        advance(optcore.adamw, backend, [leaf], [], fuse=True, donate=True)\n"
        "        begun.set()\n"
        "threading.Thread(target=forever, daemon=True).start()\nassert begun.wait(500)\n"
    )
    for _ in range(3):
        done = _python(code)
        assert done.returncode == 0, (done.returncode, done.stderr)


def test_a_step_while_the_interpreter_shuts_down_is_made_by_its_own_thread() -> None:
    code = STEPS.format(torch=False) + "import atexit\natexit.register(lambda: print(steps(3) == first))\n"
    done = _python(code)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


ELEMENTARY = {n for n in LOOPS if inexact_operations(subjects()[n]) & {"exp", "expm1", "log", "power"}}
"""Rules of functions that NumPy's vectors round otherwise at the end of an array."""


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in LOOPS if name not in ELEMENTARY])
def test_without_llvmlite_slices_give_the_bits_of_eager_execution(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "usable", lambda: False)
    rule = ready(subjects()[name])
    leaves, shared = job(rule, [(300, 300), (70,)], dtype)
    with np.errstate(all="ignore"):
        want = arrays_of(rule, eager(rule, on_numpy, leaves, shared)[0])
        assert same(want, arrays_of(rule, advance(rule, on_numpy, leaves, shared, fuse=True)[0]))
        done, _ = advance(rule, on_numpy, leaves, shared, fuse=True, donate=True)
    assert same(want, arrays_of(rule, done))
    numbered = any(x is not None and not x.shape for x in rule.unpack(leaves[0].state))  # slices hold no number
    if rule.kind == "elementwise" and not numbered and not asks_totals(rule):
        assert done[0][0].p is leaves[0].p and done[1][0].p is not leaves[1].p  # a small leaf gains nothing


def test_without_llvmlite_leaves_that_share_memory_are_not_moved_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "usable", lambda: False)
    opt = backends.Optimizer(optcore.Recipe("sgd", lr=1.0))
    whole, g = np.ones(200_000), np.ones(150_000)
    params = [whole[:150_000], whole[50_000:]]
    new, _ = opt.update(params, [g, g], opt.init(params), donate=True)
    assert all(np.array_equal(x, np.zeros(150_000)) for x in new)


@pytest.mark.parametrize("package", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", [name for name, rule in subjects().items() if rule.axes])
def test_rules_of_rows_columns_and_matrices_are_eager_around_passes(name: str, dtype: str, package: str) -> None:
    from optcore.backends.fused.engines import matrices as parts

    rule, backend = ready(subjects()[name]), backends.named(package)
    rng = np.random.default_rng(0)
    values = laid_out(numbers(rule.complete(), backend, 0), "in_out")
    p, *grads = (backend.array(rng.normal(size=(520, 510)), dtype) for _ in range(4))
    assert parts.worthwhile(rule, backend, p)
    found = {}
    for split in (False, True):
        new, state = p, start(rule, backend, p, values)
        for t, g in enumerate(grads, 1):
            ((moved, arrays),), _ = eager(rule, backend, [Leaf(new, g, state, t, values)], [], parts=split)
            new, state = moved.p, rule.pack(arrays)
        found[split] = [backend.numpy(x).astype(np.float64) for x in (new, *arrays) if x is not None]
    # Reciprocals of constants and the order of sums: a few units each, which five Newton-Schulz iterations with
    # coefficients up to 4.8 and a turn of the basis pass on; a bfloat16 parameter is rounded to 2^-8 in the end.
    room = {"float64": 1e-12, "float32": 2e-4, "bfloat16": 2.0**-7}[dtype]
    for x, y in zip(found[True], found[False], strict=True):
        assert x.shape == y.shape
        assert np.linalg.norm(x - y) <= room * np.linalg.norm(y)


def _by_shape(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return g * p.shape[0] ** -0.5, s


def _mean(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return g - xp.mean(g), s


def _masked(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return (g > 0) * g, s


def _both(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return xp.where((g > 0) == (p > 0), g, 0.5 * g), s


def _power(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return 2.0**g + abs(g), s


def _count(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    n = yield xp.sum(xp.ones_like(g) * 0.1)
    return g * n, s


@pytest.mark.parametrize("law", [_by_shape, _mean, _masked, _both, _power, _count], ids=lambda law: law.__name__[1:])
def test_a_law_that_cannot_be_traced_as_declared_is_run_as_it_is_written(law: Any) -> None:
    from optcore.rule import rule

    odd = rule()(law)
    for dtype in ("float32", "float64"):
        leaves, shared = job(odd, [(3, 4), (5, 6)], dtype)
        want = arrays_of(odd, eager(odd, on_numpy, leaves, shared)[0])
        got = arrays_of(odd, advance(odd, on_numpy, leaves, shared, fuse=True)[0])
        for x, y in zip(got, want, strict=True):  # sums in another order
            np.testing.assert_allclose(x, y, rtol=1e-6 if dtype == "float32" else 1e-14)


def test_a_masked_array_keeps_its_own_arithmetic() -> None:
    opt = backends.Optimizer(optcore.Recipe("sgd", lr=1.0))
    p = np.ma.masked_array(np.ones(3), mask=[False, True, False])
    new, _ = opt.update([p], [np.ones(3)], opt.init([p]))
    assert np.array_equal(np.asarray(eager_of(p)), np.asarray(new[0]))


def eager_of(p: Any) -> Any:
    values = optcore.sgd.bind(lr=1.0).complete()
    return eager(optcore.sgd, on_numpy, [Leaf(p, np.ones(3), optcore.sgd.init(p), 1, values)], [])[0][0][0].p
