"""The command line, called as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import optcore
from optcore.adapters.cli import main
from optcore.adapters.cli import task as tasks


def test_rules_lists_every_rule(capsys: Any) -> None:
    assert main(["rules", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    from optcore import registry

    names = {*registry.rules(), *registry.clipping(), *registry.combinators()}
    assert {row["name"] for row in rows} == names
    adam = next(row for row in rows if row["name"] == "adam")
    assert adam["state"][1] == {
        "name": "v",
        "unit": "[g^2]",
        "shared": False,
        "doc": "EMA of the squared gradient, zero at the start; unit [g^2]",
    }
    epsilon = next(h for h in adam["hyper_parameters"] if h["name"] == "epsilon")
    assert epsilon == {"name": "epsilon", "default": 1e-8, "range": "[0, inf)", "unit": "[g]", "static": False}
    assert all(row["source"] for row in rows)
    assert all(row["family"] != "own" for row in rows) and len(rows) >= 85
    assert (adam["kept"], adam["passes"]) == (2.0, 1)
    by_name = {row["name"]: row for row in rows}
    assert by_name["adafactor"]["passes"] is None and by_name["adafactor"]["kept"] < 0.05
    assert by_name["clip_by_global_norm"]["passes"] == 2 and by_name["lookahead"]["kept"] == 3.0
    assert main(["rules"]) == 0
    assert "adafactor" in capsys.readouterr().out
    assert main(["rules", "adam", "prodigy"]) == 0
    shown = capsys.readouterr().out
    assert "beta2 = 0.999 in [0, 1)" in shown and "state d for the whole tree" in shown


def test_verify_passes_and_reports(capsys: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert main(["verify", "lion", "cautious", "--backend", "numpy", "--examples", "5", "--json", str(file)]) == 0
    assert "laws proven for 2 rules on numpy; 0 reports with failures" in capsys.readouterr().out
    reports = json.loads(file.read_text())
    assert [r["name"] for r in reports] == ["lion", "cautious"] and all(0 < r["used"] <= 1 for r in reports)


def test_verify_fails_where_a_law_is_broken(monkeypatch: Any, capsys: Any) -> None:
    from optcore.rule import rule

    @rule()
    def broken(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return g - xp.mean(g), s

    monkeypatch.setattr("optcore.testing.subjects", lambda: {"broken": broken})
    assert main(["verify", "--backend", "numpy", "--examples", "5"]) == 1
    assert "declared elementwise" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["verify", "adamm"], "no rule 'adamm'; did you mean adam"),
        (["verify", "--backend", "nunpy"], "no backend 'nunpy'; did you mean numpy"),
        (["demo", "--rule", "adamm"], "no rule 'adamm'; did you mean"),
        (["demo", "--epochs", "0"], "--epochs=0 is no count"),
        (["demo", "--recipe", "nowhere.json"], "No such file"),
        (["demo", "--output", "/nowhere/x.png"], "there is no such folder"),
        (["verify", "lion", "--backend", "numpy", "--json", "/nowhere/x.json"], "No such file"),
    ],
)
def test_a_wrong_call_is_answered_in_a_line(call: list[str], words: str, capsys: Any) -> None:
    assert main(call) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_the_demos_back_propagation_is_the_derivative() -> None:
    task = tasks.load(1)
    x, y = next(task.batches())
    params = [np.array(p) for p in task.start]
    _, grads = tasks.loss_and_gradients(params, x, y)
    for p, g in zip(params, grads, strict=True):
        at = np.unravel_index(np.argmax(np.abs(g)), g.shape)
        old, h = p[at], 1e-6
        ends = []
        for sign in (1, -1):
            p[at] = old + sign * h
            ends.append(tasks.loss_and_gradients(params, x, y)[0])
        p[at] = old
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(g[at], rel=1e-6)  # h^2 and 1e-16/h leave 1e-10


def test_the_digits_are_shipped_whole() -> None:
    task = tasks.load(1)
    assert len(task.train[0]) + len(task.test[0]) == 1797 and task.train[0].shape[1] == 64
    file = Path(tasks.__file__).with_name("digits.npz")
    assert file.stat().st_size < 150_000


@pytest.mark.slow
def test_the_demo_agrees_in_every_framework(tmp_path: Path) -> None:
    """By the default recipe in float64 all agree to 1e-8 at the end, and class more than 95 % of the images rightly."""
    done = subprocess.run(
        [sys.executable, "-m", "optcore", "demo"], capture_output=True, text=True, cwd=tmp_path, env=_wide()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for label in ("NumPy", "PyTorch", "optax", "Keras on JAX", "Keras on torch", "Keras on TensorFlow"):
        assert label in done.stdout
    assert "agree with NumPy to 1e-08 and classify more than 95 % right" in done.stdout
    assert (tmp_path / "optcore-demo.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_demo_takes_another_rule_or_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(optcore.Recipe("lion", lr=1e-3, no_decay=("[/.]bias$",)).to_json())
    for option in (["--rule", "muon"], ["--recipe", str(file)]):
        command = [sys.executable, "-m", "optcore", "demo", "--epochs", "1", *option]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=_wide())
        assert done.returncode == 0, done.stdout + done.stderr


def _wide() -> dict[str, str]:
    import os

    return {**os.environ, "COLUMNS": "160"}
