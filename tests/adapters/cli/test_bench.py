"""``optcore bench``: its counts and its output; the times that it measures are not tested."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optcore import registry
from optcore.adapters.cli import bench, cases, contest, main, peers, targets
from optcore.backends.fused.trace.traffic import traffic
from optcore.rule import rule

ROW = {
    "how",
    "elements",
    "bytes_per_parameter",
    "seconds",
    "gb_per_s",
    "stream_fraction",
    "ratios",
    "seconds_against",
    "failed",
}


@pytest.mark.parametrize(
    ("name", "bytes_moved"),
    [
        ("sgd", 12),  # p, g; p
        ("lion", 20),  # p, g, m; p, m
        ("adamw", 28),  # p, g, m, v; p, m, v
        ("lamb", 44),  # the norm of the direction is read before: p, g, m, v
        ("exponentiated_gradient", 12),
        ("muon", None),
        ("soap", None),
    ],
)
def test_bytes_are_those_of_the_arrays_read_and_written(name: str, bytes_moved: int | None) -> None:
    assert traffic(registry.find(name)) == bytes_moved


def test_bytes_are_of_the_dtypes_that_arrays_are_kept_in() -> None:
    """Parameter and gradient take two bytes and moments four in bfloat16; all take eight in float64."""
    assert traffic(registry.find("adamw"), "bfloat16") == 3 * 2 + 4 * 4
    assert traffic(registry.find("adamw"), "float64") == 7 * 8


def test_the_stream_moves_what_adamw_moves() -> None:
    assert traffic(contest.stream) == traffic(registry.find("adamw")) == 4 * 7


def test_the_works_are_the_networks_tensors() -> None:
    """124,439,808 parameters are GPT-2 small's with a tied head, 25,557,032 a ResNet-50's without buffers."""
    sizes = {name: (len(shapes := make(1 << 24)), contest.elements(shapes)) for name, make in contest.WORKS.items()}
    assert sizes == {
        "tensor": (1, 1 << 24),
        "gpt2": (148, 124_439_808),
        "small": (400, 200 * (64 * 64 + 64)),
        "resnet50": (161, 25_557_032),
    }
    assert all(contest.elements(contest.tensor(n)) == n for n in (1, 7, 1000, 4096, 5_000_000))


def test_every_rule_is_measured_on_numpy(capsys: Any, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    assert main(["bench", "--size", "4096", "--repeat", "1", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert set(found) == {"machine", "rounds", "work", "tensors", "stream_gb_per_s", "kernels", "rules"}
    assert set(found["rules"]) == set(registry.rules())
    assert {"cpus", "python", "numpy", "llvmlite"} <= set(found["machine"])
    for name, row in found["rules"].items():
        assert set(row) == ROW and row["seconds"] > 0
        eager = traffic(registry.find(name)) is None
        assert (row["how"] == "eager") == eager == (row["gb_per_s"] is None) == (row["stream_fraction"] is None)
        if not eager:
            moved = row["bytes_per_parameter"] * row["elements"]
            assert row["gb_per_s"] == pytest.approx(1e-9 * moved / row["seconds"])
    assert found["stream_gb_per_s"] > 0
    assert found["kernels"]["compiled"] >= found["kernels"]["in_memory"] > 0
    words = " ".join(capsys.readouterr().out.split())
    assert "soap" in words and f"{found['kernels']['compiled']} compiled" in words


def test_against_gives_the_ratio_to_each_of_torchs_forms(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "installed", lambda: ["torch"])
    file = tmp_path / "bench.json"
    call = ["bench", "--rule", "adamw", "--rule", "muon", "--size", "4096", "--repeat", "3", "--against"]
    assert main([*call, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rules"]
    assert {"torch single", "torch foreach", "torch fused"} == set(rows["adamw"]["ratios"])
    seconds = rows["adamw"]["seconds_against"]["torch"]
    for peer, ratio in rows["adamw"]["ratios"].items():
        assert ratio == pytest.approx(seconds["ours"] / seconds[peer])
    assert "torch single" in rows["muon"]["ratios"]
    assert "below 1 ours is faster" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("library", "name", "expected"),
    [
        ("torch", "nadam", "NAdam"),
        ("torch", "momentum", "SGD"),
        ("torch", "lion", None),
        ("pytorch_optimizer", "lion", "Lion"),
        ("pytorch_optimizer", "adamw", None),  # is torch's own
        ("optax", "lion", "lion"),
        ("optax", "scale", None),  # takes no rate
    ],
)
def test_a_peer_is_found_by_the_rules_name(library: str, name: str, expected: str | None) -> None:
    import optax
    import pytorch_optimizer
    import torch

    module = {"torch": torch.optim, "optax": optax, "pytorch_optimizer": pytorch_optimizer}[library]
    found = peers.peer(library, registry.find(name), module)
    assert (found and found[0].__name__) == expected


def test_what_a_peer_cannot_do_is_said_and_what_we_cannot_do_is_raised() -> None:
    def broken() -> None:
        raise RuntimeError("no such thing\nat all")

    fit, failed = contest.able({"ours": int, "theirs": broken})
    assert set(fit) == {"ours"} and failed == {"theirs": "RuntimeError: no such thing"}
    with pytest.raises(RuntimeError):
        contest.able({"ours": broken})


def test_contestants_take_turns() -> None:
    """After three warm-up steps of each, every round runs each contestant once and begins with another one."""
    said: list[str] = []
    steps = {name: (lambda name=name: said.append(name)) for name in "ab"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "SAMPLE", 0.0)
        found = contest.interleaved(steps, 3)
    assert "".join(said) == "aaabbb" + "ab" + "ba" + "ab" and set(found) == {"a", "b"}


def test_a_worker_that_fails_says_why() -> None:
    with pytest.raises(ValueError, match="nothing to be done"):
        list(contest.working("-c", "raise SystemExit('nothing to be done')"))
    assert list(contest.working("-c", "print('{\"a\": 1}')")) == [{"a": 1}]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("mib", [0, 24, 96])
def test_the_memory_of_a_step_is_seen(mib: int) -> None:
    """The memory is measured in a process of its own, whose allocator no one else uses; Python takes up to 1 MiB more.

    Linux counts resident pages on each processor and adds them up once there are max(32, 2 processors) of them. The
    process stays on one processor, so that the counts of file pages and of anonymous pages are uncertain by no more
    than that, before the step and after it.
    """
    code = "import os, numpy as np; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
    code += "from optcore.adapters.cli.cases import extra_memory; "
    code += f"print('{{\"mib\": %r}}' % extra_memory(lambda: np.ones({mib} << 20, np.uint8)))"
    (found,) = contest.working("-c", code)
    uncounted = 4 * max(32, 2 * (os.cpu_count() or 1)) * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert math.isclose(found["mib"], mib, abs_tol=1.0 + uncounted)


def test_targets_are_measured_and_judged(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "targets.json"
    call = ["bench", "--targets", "--case", "numpy", "--size", "4096", "--repeat", "1", "--json", str(file)]
    for at_most, status in ((1e9, 0), (0.0, 1)):
        monkeypatch.setattr(targets, "TARGETS", [targets.Target("numpy", "stream", "work", "stream", at_most)])
        assert main(call) == 0
        assert main([*call, "--check"]) == status
        (row,) = json.loads(file.read_text())["targets"]
        assert row["met"] is (status == 0) and row["measured"] > 0 and row["at_most"] == at_most
    assert "missed" in capsys.readouterr().out


def test_every_target_has_a_case_that_yields_its_number() -> None:
    """A target that needs no other library's time has a case of its name."""
    for target in targets.TARGETS:
        assert cases.framework(target.case) in ("", *peers.FRAMEWORKS)
    assert set(cases.measure("numpy without llvmlite", 4096, 1)) == {"naive", "fastest"}
    assert set(cases.measure("import", 4096, 1)) == {"seconds"}


def test_a_law_that_cannot_run_is_an_error(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    @rule()
    def broken(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        raise ValueError("this law is broken")

    monkeypatch.setattr(registry, "rules", lambda: {"broken": broken})
    assert main(["bench", "--size", "16", "--repeat", "1"]) == 2
    assert "this law is broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["--rule", "adamm"], "no rule 'adamm'; did you mean adam"),
        (["--targets", "--case", "numpi"], "no case 'numpi'; did you mean numpy"),
        (["--size", "0"], "--size=0 is no count"),
        (["--repeat", "-1"], "--repeat=-1 is no count"),
        (["--rule", "sgd", "--json", "/nowhere/x.json"], "No such file"),
    ],
)
def test_a_wrong_call_is_answered_in_a_line(call: list[str], words: str, capsys: Any) -> None:
    assert main(["bench", *call]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_what_is_not_installed_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LIBRARIES", ("numpy", "no_such_library"))
    found = bench.machine()
    assert found["numpy"] == np.__version__ and found["no_such_library"] is None
