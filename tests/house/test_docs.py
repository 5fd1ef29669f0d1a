"""The documents are true: their examples are run, and their numbers are measured."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)


@pytest.mark.slow
@pytest.mark.parametrize("code", BLOCKS, ids=lambda code: code.splitlines()[0])
def test_the_readmes_code_runs(code: str, tmp_path: Path) -> None:
    file = tmp_path / "block.py"
    file.write_text(code)
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_readmes_lion_is_the_librarys() -> None:
    """The README has the law's two equations, word for word."""
    law = re.search(r"    d = xp\.sign.*\n.*\n", (ROOT / "README.md").read_text())
    assert law and law[0] in (ROOT / "optcore/rules/lion.py").read_text()


def test_the_numbers_of_differences_are_measured() -> None:
    """torch computes its factor 1 - lr * wd in float32; at lr * wd = 1e-7 the decay is off by about a fifth."""
    import numpy as np

    factor = np.float32(1.0) - np.float32(1e-7)
    assert 0.15 < abs((1.0 - float(factor)) / 1e-7 - 1.0) < 0.25
