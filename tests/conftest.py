"""One enum of backends, strict settings, and the arrays that tests share."""

from __future__ import annotations

import enum
import importlib.util
import zlib
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

jax.config.update("jax_enable_x64", True)
COMMON: dict[str, Any] = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
settings.register_profile("quick", max_examples=20, **COMMON)
settings.register_profile("exhaustive", max_examples=100, **COMMON)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive", action="store_true", help="run every member of the walks and more examples, not a share of them"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Draw as many examples as the profile says; tests that state a number of their own keep it."""
    settings.load_profile("exhaustive" if config.getoption("--exhaustive") else "quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without ``--exhaustive``, run a test with that mark for one in n of its cases, the same ones everywhere.

    The hash of a case's own name decides, so that a new case does not change the choice among the others.
    """
    if config.getoption("--exhaustive"):
        return
    kept, left = [], []
    for item in items:
        mark = item.get_closest_marker("exhaustive")
        out = mark is not None and zlib.crc32(item.nodeid.encode()) % int(mark.kwargs["share"]) != 0
        (left if out else kept).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


class Library(enum.Enum):
    """The array libraries that a law is run with."""

    NUMPY = "numpy"
    NUMPY_READONLY = "numpy:readonly"
    STRICT = "strict"
    STRICT_DEVICE = "strict:device1"
    TORCH = "torch"
    JAX = "jax"
    CUPY = "cupy"

    @property
    def backend(self) -> Any:
        from optcore import backends

        return backends.named(self.value.partition(":")[0])

    def array(self, values: Any, dtype: str = "float64") -> Any:
        """Return an array of this library, read-only or on another virtual device if the member's name says so."""
        if self is Library.STRICT_DEVICE:
            import array_api_strict as xp

            return xp.asarray(values, dtype=getattr(xp, dtype), device=xp.Device("device1"))
        made = self.backend.array(np.asarray(values), dtype)
        if self is Library.NUMPY_READONLY:
            made = made.copy()
            made.setflags(write=False)
        return made


def _mark(library: Library) -> Any:
    if library is Library.CUPY:
        has_device = importlib.util.find_spec("cupy") is not None and _cuda()
        return pytest.param(
            library, marks=[pytest.mark.gpu, pytest.mark.skipif(not has_device, reason="no CUDA device")]
        )
    return library


def _cuda() -> bool:
    import cupy

    try:
        return bool(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return False


EVERY = [_mark(library) for library in Library]


@pytest.fixture
def exhaustive(request: pytest.FixtureRequest) -> bool:
    """Tell whether all of a proof's examples are to be run."""
    return bool(request.config.getoption("--exhaustive"))


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator of the test's own: its numbers do not depend on the tests that ran before it."""
    return np.random.default_rng(0)


@pytest.fixture(params=EVERY, ids=lambda library: library.value)
def library(request: pytest.FixtureRequest) -> Library:
    return request.param


def numpy_of(x: Any) -> Any:
    from optcore.backends import of

    return of(x).numpy(x)
