"""``optcore verify``: the proof for what is installed here."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Sequence
from typing import Any

from optcore import backends
from optcore.hyper import unknown
from optcore.rule import Rule

PROVEN = ("numpy", "torch", "jax", "jitted", "strict")
"""The backends that are tried where no one is named; the others want a device or a Keras backend chosen first."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("rules", nargs="*", metavar="RULE", help="names of rules; all where none is given")
    parser.add_argument(
        "--backend", action="append", metavar="B", help=f"one of {', '.join(backends.names())}; repeatable"
    )
    parser.add_argument("--examples", type=int, default=20, metavar="N", help="drawn examples for each law (20)")
    parser.add_argument("--json", metavar="FILE", help="also write the reports to a file")


def installed() -> list[str]:
    """The backends whose library is installed."""
    packages = {"strict": "array_api_strict", "jitted": "jax"}
    return [name for name in PROVEN if importlib.util.find_spec(packages.get(name, name))]


def chosen(names: Sequence[str]) -> dict[str, Rule]:
    """The rules of these names, all where there is none; ValueError with the nearest names for an unknown one."""
    from optcore.testing import subjects

    every = subjects()
    for name in names:
        if name not in every:
            raise ValueError(unknown("verify", "rule", name, every))
    return {name: every[name] for name in names or every}


def run(options: argparse.Namespace) -> int:
    """Prove, show the used share of the certified bound, and return 1 where a law is broken."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, TextColumn
    from rich.table import Table

    from optcore.testing import check_rule

    targets = options.backend or installed()
    for name in targets:
        backends.named(name)
    rules = chosen(options.rules)
    if options.json:
        open(options.json, "w", encoding="utf-8").close()  # a path that cannot be written is known before the proof
    console = Console()
    reports: list[Any] = []
    columns = [TextColumn("{task.description}"), *Progress.get_default_columns()[1:]]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(rules) * len(targets))
        for name, rule in rules.items():
            for target in targets:
                progress.update(task, description=f"{name} on {target}")
                reports += [(name, r) for r in check_rule(rule, backends=[target], examples=options.examples)]
                progress.advance(task)
    table = Table(title="largest used share of the certified bound", caption="1 is the bound; every law must hold")
    table.add_column("rule")
    for target in targets:
        table.add_column(target, justify="right")
    by_rule = {(name, r.backend): r for name, r in reports}
    for name in rules:
        table.add_row(name, *(_cell(by_rule[name, backends.named(target).name]) for target in targets))
    console.print(table)
    broken = [(name, r) for name, r in reports if not r.holds]
    for name, report in broken:
        for law, text in report.failures.items():
            console.print(f"[red]{name} on {report.backend}, {law}:[/red] {escape(text)}", highlight=False)
    laws = sum(len(r.laws) for _, r in reports)
    console.print(
        f"{laws} laws proven for {len(rules)} rules on {', '.join(targets)}; {len(broken)} reports with failures"
    )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([{"name": n, **vars(r), "holds": r.holds} for n, r in reports], file, indent=2)
    return 1 if broken else 0


def _cell(report: Any) -> str:
    return f"[green]{report.used:.2f}[/green]" if report.holds else f"[red]{', '.join(report.failures)}[/red]"
