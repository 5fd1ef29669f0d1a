"""The Keras adapter on each Keras backend, in a process of its own, since Keras has one backend a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


FILES = sorted(file.name for file in HERE.glob("on_keras*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("backend", ["jax", "torch", "tensorflow"])
def test_keras_on(backend: str, file: str) -> None:
    """The files on_keras*.py pass on this backend; warnings of Keras and TensorFlow are not errors there."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-o", "filterwarnings=", str(HERE / file)]
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    for name in [n for n in environment if n.startswith("PYTEST_")]:
        del environment[name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parents[2])
    assert done.returncode == 0, done.stdout[-8000:]
