"""Compilation of CUDA C++ by NVRTC, which needs no device and comes with torch, with CuPy or from PyPI."""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
from functools import lru_cache
from typing import Any

__all__ = ["OPTIONS", "architectures", "compiled", "library", "major"]

OPTIONS = ("--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--std=c++17")
"""Compiler options under which every operation rounds once and to nearest, as those of the LLVM printer do."""
NAMES = ("libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so.11.2")
"""The file names of NVRTC in the order in which they are tried.

CUDA 12 comes before 13: a driver runs code that was compiled for an older CUDA, and none for a newer one.
"""


def _places() -> list[str]:
    """Return the paths at which NVRTC may be found: the linker's path, wheels of NVIDIA, and CUDA toolkits."""
    spec = importlib.util.find_spec("nvidia")
    wheels = list(spec.submodule_search_locations or ()) if spec else []
    toolkits = [os.environ[name] for name in ("CUDA_PATH", "CUDA_HOME") if name in os.environ] + ["/usr/local/cuda"]
    folders = [f for root in wheels for f in sorted(glob.glob(f"{root}/*/lib"))] + [f"{t}/lib64" for t in toolkits]
    return [*NAMES, *(f"{folder}/{name}" for name in NAMES for folder in folders)]


@lru_cache(maxsize=1)
def library() -> Any:
    """Return NVRTC, preferably the one that this process has loaded already; None if there is none."""
    for name, mode in [*((n, ctypes.DEFAULT_MODE | getattr(os, "RTLD_NOLOAD", 0)) for n in NAMES),
                       *((n, ctypes.DEFAULT_MODE) for n in _places())]:  # fmt: skip
        try:
            return ctypes.CDLL(name, mode)
        except OSError:
            continue
    return None


def _check(nvrtc: Any, code: int, log: str = "") -> None:
    if code:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(f"optcore: NVRTC says {nvrtc.nvrtcGetErrorString(code).decode()}; {log}")


def major() -> int:
    """Return the major version of CUDA to which the loaded NVRTC belongs, such as 12."""
    first, second = ctypes.c_int(), ctypes.c_int()
    _check(library(), library().nvrtcVersion(ctypes.byref(first), ctypes.byref(second)))
    return first.value


def architectures() -> list[int]:
    """Return the compute capabilities that the loaded NVRTC compiles for, such as 90 for 9.0."""
    nvrtc, n = library(), ctypes.c_int()
    _check(nvrtc, nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(n)))
    found = (ctypes.c_int * n.value)()
    _check(nvrtc, nvrtc.nvrtcGetSupportedArchs(found))
    return list(found)


def _text(nvrtc: Any, program: Any, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    held = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, held))
    return held.raw


def compiled(source: str, capability: int) -> bytes:
    """Return the machine code of a source for this compute capability, or PTX if this NVRTC is older than the device.

    Raises RuntimeError with NVRTC's own message if the source does not compile, ImportError if there is no NVRTC.
    """
    nvrtc = library()
    if nvrtc is None:
        raise ImportError("optcore needs NVRTC here, which is not installed: pip install nvidia-cuda-nvrtc-cu12")
    known = [a for a in architectures() if a <= capability]
    if not known:
        raise RuntimeError(
            f"optcore: this NVRTC does not know compute capability {capability / 10}; install an older NVRTC"
        )
    exact = max(known) == capability
    options = [*OPTIONS, f"--gpu-architecture={'sm' if exact else 'compute'}_{max(known)}"]
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"optcore.cu", 0, None, None))
    try:
        given = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
        code = nvrtc.nvrtcCompileProgram(program, len(options), given)
        _check(nvrtc, code, _text(nvrtc, program, "ProgramLog").rstrip(b"\0").decode() if code else "")
        return _text(nvrtc, program, "CUBIN" if exact else "PTX")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
