"""``optcore verify``: the proof for what is installed here."""

from __future__ import annotations

import argparse
import importlib.util
import json
from typing import Any

from optcore import backends
from optcore.adapters.cli.names import RULES, count
from optcore.adapters.cli.written import rules_of

PROVEN = ("numpy", "torch", "jax", "jitted", "strict")
"""The backends that are tried where no one is named; the others want a device or a Keras backend chosen first."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("names", nargs="*", metavar="RULE", help=f"{RULES} Without a name all rules are proven.")
    parser.add_argument(
        "--backend",
        action="append",
        metavar="B",
        help=f"Prove on this backend, one of {', '.join(backends.names())}; it may be given several times. Without "
        f"it every installed one of {', '.join(PROVEN)} is taken.",
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=20,
        metavar="N",
        help="Draw so many examples for each law, 20 where it is not given.",
    )
    parser.add_argument("--json", metavar="FILE", help="Write the reports to a file of JSON, too.")


def installed() -> list[str]:
    """The backends whose library is installed."""
    packages = {"strict": "array_api_strict", "jitted": "jax"}
    return [name for name in PROVEN if importlib.util.find_spec(packages.get(name, name))]


def run(options: argparse.Namespace) -> int:
    """Prove, show the used share of the certified bound, and return 1 where a law is broken."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, TextColumn
    from rich.table import Table

    from optcore.testing import check_rule, subjects

    if options.examples < 1:
        raise ValueError(f"--examples={options.examples} is no count; give a whole number of at least 1")
    targets = list(dict.fromkeys(options.backend or installed()))
    for name in targets:
        backends.named(name)
    rules = rules_of(options.names, subjects)
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
    laws = count(sum(len(r.laws) for _, r in reports), "law")
    whose = f"{count(len(rules), 'rule')} on {', '.join(targets)}"
    console.print(f"{laws} proven for {whose}; {count(len(broken), 'report')} with failures")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([{"name": n, **vars(r), "holds": r.holds} for n, r in reports], file, indent=2)
    return 1 if broken else 0


def _cell(report: Any) -> str:
    return f"[green]{report.used:.2f}[/green]" if report.holds else f"[red]{', '.join(report.failures)}[/red]"
