"""The table of targets, with one benchmark for each case; the numbers measured are in ``extra_info``.

pytest-benchmark times our step alone; for a ratio, our steps take turns with those of the other library. ``--check``
makes a missed target a failure; ``optcore bench --targets`` prints the same numbers as a table.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from optcore.adapters.cli.cases import CASES, SIZE, ratios
from optcore.adapters.cli.contest import interleaved, working
from optcore.adapters.cli.peers import installed
from optcore.adapters.cli.targets import TARGETS

os.environ["KERAS_BACKEND"] = "torch"  # read once, when Keras is imported


@pytest.mark.parametrize("case", dict.fromkeys(t.case for t in TARGETS))
def bench_target(case: str, benchmark: Any, request: pytest.FixtureRequest) -> None:
    size, rounds = request.config.getoption("size") or SIZE, request.config.getoption("rounds")
    if case in CASES:
        framework, make = CASES[case]
        if framework and framework not in installed():
            pytest.skip(f"{framework} is not installed")
        contest = make(size)
        found = ratios(interleaved(contest, rounds))
        benchmark.pedantic(contest["ours"], rounds=rounds)
    else:  # of a process of its own
        words = ("-m", "optcore.adapters.cli.cases", case, str(size), str(rounds))
        (found,) = benchmark.pedantic(lambda: list(working(*words)), rounds=1)
    rows = [t for t in TARGETS if t.case == case]
    benchmark.extra_info.update(
        {f"{t.work} / {t.against}": {"measured": found[t.number], "at_most": t.at_most, "unit": t.unit} for t in rows}
    )
    missed = [f"{t.work}: {found[t.number]:.3g} > {t.at_most:g} {t.unit}" for t in rows if found[t.number] > t.at_most]
    assert not (missed and request.config.getoption("check")), missed
