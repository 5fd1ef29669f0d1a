"""Parameters spread over processes give what they give in one: two processes, started once for each part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from optcore import registry

HERE = Path(__file__).parents[1]
LIMIT = 600
"""Seconds until processes that wait for each other are ended; each part takes 15 to 30 of a free core."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed"),
]


def together(part: str, folder: Path) -> list[str]:
    """Return the lines that the two processes of ``sharded.py`` print."""
    lo = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    env = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1", **lo}
    run = [sys.executable, "-W", "error", str(HERE / "sharded.py"), part]
    both = []
    for rank in "01":
        with (folder / rank).open("w") as out:
            both.append(subprocess.Popen([*run, rank, str(folder / "meet")], stdout=out, stderr=out, env=env))
    try:
        for each in both:
            each.wait(timeout=LIMIT)
    finally:
        for each in both:
            each.kill()
            each.wait()
    texts = [(folder / rank).read_text() for rank in "01"]
    assert [each.returncode for each in both] == [0, 0], "\n".join(texts)
    return [line for text in texts for line in text.splitlines()]


def test_every_rule_clipping_law_and_combinator_walks_the_path_of_one_process(tmp_path: Path) -> None:
    """Parameters, states and shared fields agree to 1e-12, for even and uneven shards of both axes; none is Partial."""
    count = len(registry.rules()) + len(registry.combinators()) + len(registry.clipping())
    assert together("walk", tmp_path) == [f"rules {count}", "done"] * 2


def test_options_clipping_checkpoints_and_other_ways_of_sharding_are_right_or_refused(tmp_path: Path) -> None:
    assert together("training", tmp_path) == ["done"] * 2
