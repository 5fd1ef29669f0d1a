"""``optcore bench``: how fast the rules run here, against memory itself and against the other libraries."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable
from typing import Any

import numpy as np

from optcore import registry
from optcore.adapters.cli.contest import SHOWN, WORKS, elements, interleaved, on_numpy, shapes_of, stream, working
from optcore.adapters.cli.names import RULES, count, ready
from optcore.adapters.cli.written import rules_of
from optcore.backends import fused
from optcore.recipe import Recipe
from optcore.rule import Rule

SIZE, ROUNDS = 4_194_304, 9
COLUMNS = ("torch single", "torch foreach", "torch fused", "pytorch_optimizer", "optax", "keras")
LIBRARIES = ("optcore", "numpy", "llvmlite", "torch", "jax", "optax", "keras", "pytorch_optimizer")
KEYS = """
The file of --json holds: machine {system, processor, cpus, python, and the versions of the libraries}, rounds, work,
tensors, stream_gb_per_s, kernels {in_memory, compiled}, and rules {NAME: {how (fused, blocked or eager), elements,
bytes_per_parameter, seconds, gb_per_s, stream_fraction, ratios {PEER: ours / peer}, seconds_against {FRAMEWORK: {ours
and each peer}}, failed {PEER: why}}}; with --targets: machine, rounds, elements and targets, a list of {work, against,
unit, at_most, measured, met}. What was not or cannot be measured is null.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = KEYS
    parser.add_argument("names", nargs="*", metavar="RULE", help=f"{RULES} Without a name all rules are timed.")
    parser.add_argument("--rule", action="append", metavar="RULE", help="The same as a RULE that is only named.")
    parser.add_argument(
        "--size",
        type=int,
        metavar="N",
        help=f"Give the one tensor so many elements; {SIZE} where it is not given, and 2**24 for targets.",
    )
    parser.add_argument(
        "--work", default="tensor", choices=list(WORKS), help="Time one tensor, or the tensors of a real network."
    )
    parser.add_argument(
        "--repeat",
        type=int,
        default=ROUNDS,
        metavar="N",
        help=f"Make so many rounds, of which the median counts; {ROUNDS} where it is not given.",
    )
    parser.add_argument(
        "--against", action="store_true", help="Measure the installed libraries' own optimizers of the same name, too."
    )
    parser.add_argument(
        "--targets", action="store_true", help="Measure the table of targets in place of the rules; it takes no RULE."
    )
    parser.add_argument(
        "--case", action="append", metavar="C", help="Of the targets, measure this case; it may be given several times."
    )
    parser.add_argument(
        "--check", action="store_true", help="Exit with status 1 where a target is missed; without it none is judged."
    )
    parser.add_argument("--json", metavar="FILE", help="Write what was measured to a file of JSON, too; see below.")


def run(options: argparse.Namespace) -> int:
    """Measure, show the table and return 1 where a measurement failed, or with --check a target was missed."""
    from rich.console import Console

    from optcore.adapters.cli import targets

    for name in ("size", "repeat"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name}={value} is no count; give a whole number of at least 1")
    options.names += options.rule or []
    if options.targets and options.names:
        raise ValueError(f"--targets measures cases, and no rules, as {options.names[0]}; name a case by --case")
    if (options.case or options.check) and not options.targets:
        given = "--check judges" if options.check else f"--case={options.case[0]} is a case of"
        raise ValueError(f"{given} --targets; give --targets, too")
    if options.json:
        open(options.json, "w", encoding="utf-8").close()  # a path that cannot be written is known before the work
    console = Console()
    results, ok = (targets.run if options.targets else _rules)(options, console)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "rounds": options.repeat, **results}, file, indent=2)
    return 0 if ok else 1


def machine() -> dict[str, Any]:
    """Return the machine and the versions that were measured; a library that is not installed is null."""

    def version(name: str) -> str | None:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    found = {"system": platform.platform(), "processor": platform.processor() or platform.machine()}
    python = {"cpus": os.cpu_count(), "python": platform.python_version()}
    return {**found, **python, **{name: version(name) for name in LIBRARIES}}


def alone(rule: Rule, work: str, size: int, rounds: int, against: Callable[[], Any] | None) -> tuple[Any, float | None]:
    """One rule on NumPy arrays in place, and the seconds of the stream that took turns with it."""
    from optcore.backends.fused.trace.traffic import traffic

    shapes = shapes_of(rule, work, size)
    contest = {"ours": on_numpy(Recipe(rule), shapes, np.random.default_rng(0))}
    moved, n = traffic(rule), elements(shapes)
    if against and moved:
        contest["stream"] = against
    seconds = interleaved(contest, rounds)
    how = "eager" if moved is None else "fused" if fused.usable() else "blocked"
    speed = None if moved is None else 1e-9 * moved * n / seconds["ours"]
    row = {"how": how, "elements": n, "bytes_per_parameter": moved, "seconds": seconds["ours"], "gb_per_s": speed}
    return {**row, "stream_fraction": None, "ratios": {}, "seconds_against": {}, "failed": {}}, seconds.get("stream")


def _rules(options: argparse.Namespace, console: Any) -> tuple[dict[str, Any], bool]:
    from rich.progress import Progress, TextColumn

    from optcore.adapters.cli import peers
    from optcore.backends.fused.trace.traffic import traffic

    rules = {name: ready(rule) for name, rule in rules_of(options.names, registry.rules).items()}
    size = options.size or SIZE
    shapes = WORKS[options.work](size)
    against = on_numpy(stream, shapes, np.random.default_rng(0)) if fused.usable() else None
    streamed = []
    found: dict[str, Any] = {}
    frameworks = peers.installed() if options.against else []
    columns = [TextColumn("{task.description}"), *Progress.get_default_columns()[1:]]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(rules) * (1 + len(frameworks)))
        for name, rule in rules.items():
            progress.update(task, description=f"{name} on NumPy")
            found[name], seconds = alone(rule, options.work, size, options.repeat, against)
            if seconds:
                speed = 1e-9 * traffic(stream) * elements(shapes) / seconds
                streamed.append(speed)
                found[name]["stream_fraction"] = found[name]["gb_per_s"] / speed
            progress.advance(task)
        kernels = dict(zip(("in_memory", "compiled"), _kernels(), strict=True))
        against = None  # the memory is the peers' now
        request = {"rules": list(rules), "work": options.work, "size": size, "rounds": options.repeat}
        for framework in frameworks:
            progress.update(task, description=f"in {framework}")
            words = ("-m", "optcore.adapters.cli.peers", framework, json.dumps(request))
            for line in working(*words, KERAS_BACKEND="torch"):
                row, seconds = found[line["rule"]], line["seconds"]
                row["failed"] |= line["failed"]
                if seconds:
                    row["seconds_against"][framework] = seconds
                    row["ratios"] |= {k: seconds["ours"] / v for k, v in seconds.items() if k != "ours"}
                progress.update(task, description=f"{line['rule']} in {framework}", advance=1)
    gb = float(np.median(streamed)) if streamed else None
    results = {"work": options.work, "tensors": len(shapes), "stream_gb_per_s": gb, "kernels": kernels, "rules": found}
    _show(console, results)
    return results, True


def _kernels() -> tuple[int, int]:
    if not fused.usable():
        return 0, 0
    from optcore.backends.fused.running.compiled import kernels

    return kernels()


def _show(console: Any, results: dict[str, Any]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    rows = results["rules"]
    table = Table(title=f"A step on {SHOWN[results['work']]}, NumPy arrays in place", box=box.SIMPLE_HEAD)
    table.caption = "bytes of a parameter are counted from the graph; what runs eagerly has none, and one small matrix"
    table.add_column("rule", no_wrap=True)
    for column in ("run", "bytes", "ms", "GB/s", "of stream"):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        speed, share = (_cell(row[key], "") for key in ("gb_per_s", "stream_fraction"))
        moved = _cell(row["bytes_per_parameter"], "d")
        table.add_row(name, row["how"], moved, f"{1e3 * row['seconds']:.3g}", speed, share)
    console.print(table)
    columns = [c for c in COLUMNS if any(c in row["ratios"] for row in rows.values())]
    if columns:
        table = Table(title="Ours / theirs in the same framework: below 1 ours is faster", box=box.SIMPLE_HEAD)
        table.add_column("rule", no_wrap=True)
        for column in columns:
            table.add_column(column.replace(" ", "\n").replace("_", "_\n"), justify="right")
        for name, row in rows.items():
            table.add_row(name, *(_cell(row["ratios"].get(c), "") for c in columns))
        console.print(table)
    for name, row in rows.items():
        for peer, why in row["failed"].items():
            console.print(f"{name}: {peer} could not run: {escape(why)}", highlight=False)
    gb, kernels = results["stream_gb_per_s"], results["kernels"]
    speed = "not measured: it wants llvmlite" if gb is None else f"{gb:.1f} GB/s, 4 arrays read and 3 written"
    held = f"{count(kernels['in_memory'], 'kernel')} in memory, {kernels['compiled']} compiled"
    console.print(f"Stream: {speed}. In this process: {held}.")


def _cell(value: float | None, kind: str) -> str:
    return "-" if value is None else f"{value:{kind or '.2f'}}"
