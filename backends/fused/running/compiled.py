"""Passes compiled for this machine's processor; the kernels used last are kept in memory."""

from __future__ import annotations

import ctypes
import os
import threading
from collections import OrderedDict
from functools import lru_cache
from typing import Any

from optcore.backends.base import missing
from optcore.backends.fused.printers.llvm import COUNTERS, LOOPS, TEAM, text
from optcore.backends.fused.trace.program import Program

try:
    import llvmlite.binding as llvm
except ImportError:
    raise missing("llvmlite", "fast") from None

__all__ = ["Kernel", "counters", "kernel", "kernels"]


class Counters:
    """The two compiled functions on torch's counts of updates (llvm.COUNTERS); they take addresses."""

    def __init__(self) -> None:
        self.engine = _compiled_engine(COUNTERS)[0]
        void, whole = ctypes.c_void_p, ctypes.c_int64
        self.read = ctypes.CFUNCTYPE(None, void, whole, void)(self.engine.get_function_address("read"))
        self.bump = ctypes.CFUNCTYPE(None, void, whole)(self.engine.get_function_address("bump"))


@lru_cache(maxsize=1)
def counters() -> Counters:
    """Return the functions on torch's counts of updates, compiled at the first call."""
    with _lock:
        return Counters()


def _compiled_engine(source: str) -> tuple[Any, str]:
    """Compile LLVM text; return the engine that holds the machine code, and the optimised text."""
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
    """A compiled pass over memory; its functions take addresses and run without the GIL."""

    def __init__(self, source: str) -> None:
        self.engine, self.source = _compiled_engine(source + TEAM + LOOPS)
        void, whole = ctypes.c_void_p, ctypes.c_int64
        address = self.engine.get_function_address("run")
        self.run = ctypes.CFUNCTYPE(None, void, whole, void, void, void, void, void)(address)
        self.team = self.engine.get_function_address("team")


_lock = threading.RLock()
_kernels: OrderedDict[Any, Kernel] = OrderedDict()
CAPACITY = 256


def _unlock() -> None:
    """Replace the lock in a forked child: a thread of the parent, which the child does not have, may hold it."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)
_compiled = 0


def _machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2, jit=True
    )


def kernel(
    program: Program, stage: int, dtypes: tuple[str, ...], outputs: tuple[str, ...], compute: str, whole: bool = False
) -> Kernel:
    """Return the compiled pass number ``stage`` of a program for these dtypes; a known one is not compiled again.

    The arguments are those of :func:`optcore.backends.fused.printers.llvm.text`.
    """
    global _compiled
    key = (program.key, stage, dtypes, outputs, compute, whole)
    with _lock:
        found = _kernels.get(key)
        if found is None:
            found = _kernels[key] = Kernel(text(program, program.passes[stage], dtypes, outputs, compute, whole))
            _compiled += 1
        _kernels.move_to_end(key)
        while len(_kernels) > CAPACITY:
            _kernels.popitem(last=False)  # a call that is running keeps its kernel alive by its own reference
    return found


def kernels() -> tuple[int, int]:
    """Return the number of kernels in memory, and the number that this process has compiled."""
    return len(_kernels), _compiled
