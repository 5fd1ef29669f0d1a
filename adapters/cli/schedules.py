"""``optcore schedules``: every schedule with its parameters and source, read from the schedules themselves."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from optcore import registry
from optcore.adapters.cli.rules import source
from optcore.adapters.cli.written import read
from optcore.hyper import REQUIRED
from optcore.schedule import Schedule


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="SCHEDULE",
        help="A name of a schedule, as cosine, or package.module:name for one of your own. It is shown with its "
        "parameters; without a name all are listed.",
    )
    parser.add_argument(
        "--json", action="store_true", help="Print JSON, a list of one object for each schedule, not text."
    )


def run(options: argparse.Namespace) -> int:
    """Print the schedules, or what there is to say of those that were named."""
    rows = [entry(read(name, "schedule", bare=True)) for name in options.names] or catalogue()
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
        return 0
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=bool(options.names))
    if options.names:
        for row in rows:
            console.print("\n".join(_card(row)), markup=False)
        return 0
    width = max(len(row["name"]) for row in rows)
    wide = max(len(_call(row)) for row in rows)
    for row in rows:
        line = f"{row['name']:{width}}  {_call(row):{wide}}  {row['source']}"
        console.print(line, markup=False, no_wrap=True, overflow="ellipsis")
    return 0


def catalogue() -> list[dict[str, Any]]:
    """One entry per schedule, as plain data."""
    return [entry(law) for law in registry.schedules().values()]


def entry(law: Schedule) -> dict[str, Any]:
    """Return the entry of a schedule, as plain data."""
    parameters = [
        {"name": h.name, "default": _plain(law.bound.get(h.name, h.default)), "range": h.range}
        for h in law.hypers.values()
    ]
    says = " ".join(law.doc.partition("Source:")[0].split())
    row = {"name": law.name, "parameters": parameters, "doc": says, "source": source(law.doc)}
    return {**row, "conventions": sorted(law.conventions)}


def _plain(default: Any) -> Any:
    """A parameter's value as JSON has it; a schedule as it is written."""
    if default is REQUIRED:
        return "required"
    return repr(default) if isinstance(default, Schedule) else default


def _call(row: dict[str, Any]) -> str:
    """The parameters without a default, in a line."""
    return ", ".join(p["name"] for p in row["parameters"] if p["default"] == "required")


def _card(row: dict[str, Any]) -> list[str]:
    """Everything about one schedule, line by line."""
    lines = [f"{row['name']}: {row['doc']}", f"  {row['source']}"]
    for p in row["parameters"]:
        words = "" if p["default"] == "required" else f" = {p['default']}"
        lines.append(f"  {p['name']}{words} in {p['range']}")
    return [*lines, f"  like = {', '.join(row['conventions'])}"] if row["conventions"] else lines
