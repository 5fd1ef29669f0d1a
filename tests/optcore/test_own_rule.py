"""A new rule file in the folder optcore/rules is available everywhere, without any other edit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULE = '''"""A rule of one's own."""

from __future__ import annotations

from typing import NamedTuple

from optcore.rule import rule
from optcore.typing import Array, Decay, Namespace, Scalar


class HalfwayState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]


@rule(HalfwayState)
def halfway(xp: Namespace, p: Array, g: Array, s: HalfwayState, t: Scalar, *,
            beta1: Decay = 0.9, beta2: Decay = 0.5) -> tuple[Array, HalfwayState]:
    """Half sign, half momentum. Source: no one."""
    m = beta1 * s.m + (1 - beta1) * g
    return beta2 * xp.sign(m), HalfwayState(m)
'''
USE = """
import jax.numpy as jnp, keras, numpy as np, optax, torch
import optcore
from optcore.adapters import keras as ok, optax as oo, torch as ot

p = torch.nn.Parameter(torch.ones(3))
p.grad = torch.ones(3)
ot.Halfway([p], lr=0.5, betas=(0.9, 0.5)).step()
assert p.tolist() == [0.75] * 3
tx = oo.halfway(learning_rate=0.5, b2=0.5)
updates, _ = tx.update({"w": jnp.ones(3)}, tx.init({"w": jnp.ones(3)}))
assert updates["w"].tolist() == [-0.25] * 3
v = keras.Variable(np.ones(3, "float32"))
ok.Halfway(learning_rate=0.5, beta_2=0.5).apply([keras.ops.ones(3)], [v])
assert keras.ops.convert_to_numpy(v).tolist() == [0.75] * 3
x, s = optcore.halfway(np.ones(3), np.ones(3), optcore.halfway.init(np.ones(3)), t=1, lr=0.5)
assert x.tolist() == [0.75] * 3
assert optcore.Recipe.from_json(optcore.Recipe("halfway", lr=0.1).to_json()).values["lr"] == 0.1
"""


@pytest.mark.slow
def test_a_rule_file_in_the_folder_appears_everywhere(tmp_path: Path) -> None:
    for name in ("optcore", "backends", "adapters"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "optcore" / "rules" / "halfway.py").write_text(RULE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "KERAS_BACKEND": "torch"}

    def run(*command: str) -> str:
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("-c", USE)
    rows = {row["name"]: row for row in json.loads(run("-m", "optcore", "rules", "--json"))}
    assert rows["halfway"]["source"] == "no one" and rows["halfway"]["state"][0]["unit"] == "[g]"
    file = tmp_path / "report.json"
    run("-m", "optcore", "verify", "halfway", "--backend", "numpy", "--backend", "torch", "--json", str(file))
    reports = json.loads(file.read_text())
    assert [r["holds"] for r in reports] == [True, True] and reports[0]["rule"] == "halfway"


def test_a_rule_that_is_nowhere_in_the_library_becomes_native_objects() -> None:
    import jax.numpy as jnp
    import torch

    from optcore.adapters import optax as oo
    from optcore.adapters import torch as ot

    space: dict[str, object] = {"__name__": "mine"}
    exec(RULE, space)
    mine = space["halfway"]
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    ot.from_rule(mine)([p], lr=0.5).step()
    assert p.tolist() == [0.75] * 3
    tx = oo.from_rule(mine)(0.5)
    updates, _ = tx.update({"w": jnp.ones(3)}, tx.init({"w": jnp.ones(3)}))
    assert updates["w"].tolist() == [-0.25] * 3
