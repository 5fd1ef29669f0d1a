"""``optcore rules``: the catalogue, read from the rules themselves."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

from optcore import registry
from optcore.adapters.cli.names import RULES, count, ready
from optcore.adapters.cli.written import read
from optcore.compose import Combinator
from optcore.hyper import REQUIRED
from optcore.rule import TEMPLATE, Primitive, Rule


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "names", nargs="*", metavar="RULE", help=f"{RULES} It is shown with its state; without a name all are listed."
    )
    parser.add_argument("--json", action="store_true", help="Print JSON, a list of one object for each rule, not text.")


def run(options: argparse.Namespace) -> int:
    """Print the catalogue, or what it says of the rules that were named."""
    rows = [entry(read(name, "rule", bare=True)) for name in options.names] or catalogue()
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
        return 0
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=bool(options.names))
    if options.names:
        for row in rows:
            console.print("\n".join(_card(row)), markup=False)
    else:
        for line in _lines(rows):
            console.print(line, markup=False, no_wrap=True, overflow="ellipsis")
        console.print("state: numbers kept for each element of a 64 x 64 matrix; a combinator's around Adam")
        console.print("passes: how often a step goes through memory; - for laws of rows, columns and matrices")
    return 0


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    """One line for each rule under a line of headings."""
    headings = ("name", "state", "passes", "kind", "family", "source")
    width = {h: max(len(h), *(len(_cell(row, h)) for row in rows)) for h in headings}
    right = ("state", "passes")
    cells = [{h: h for h in headings}, *({h: _cell(row, h) for h in headings} for row in rows)]
    return ["  ".join(f"{c[h]:{'>' if h in right else ''}{width[h]}}" for h in headings).rstrip() for c in cells]


def _cell(row: dict[str, Any], heading: str) -> str:
    if heading == "state":
        return f"{row['kept']:.3g}"
    return str(row[heading] or "-")


def _card(row: dict[str, Any]) -> list[str]:
    """Everything about one rule, line by line."""
    passes = "not one loop over elements" if row["passes"] is None else count(row["passes"], "pass", "passes")
    lines = [f"{row['name']}: {row['family']}, {row['kind']}, {passes}", f"  {row['source']}"]
    if row["takes"]:
        lines.append(f"  made of rules, as {row['name']}({', '.join(row['takes'])}); shown around {row['around']}")
    if row["ndim"] is not None:
        lines.append(f"  takes leaves of {count(row['ndim'], 'axis', 'axes')}")
    for s in row["state"]:
        lines.append(f"  state {s['name']}{' for the whole tree' if s['shared'] else ''}: {s['doc']}")
    for h in row["hyper_parameters"]:
        lines.append(f"  {h['name']} = {h['default']} in {h['range']}, unit {h['unit']}")
    for pattern, given in row.get("names", {}).items():
        lines.append(f"  leaves named {pattern}: {', '.join(f'{k} = {v}' for k, v in given.items())}")
    if row["conventions"]:
        lines.append(f"  like = {', '.join(row['conventions'])}")
    return lines


def catalogue() -> list[dict[str, Any]]:
    """One entry per rule, clipping law and combinator, as plain data."""
    every = [*registry.clipping().values(), *registry.rules().values(), *registry.combinators().values()]
    return sorted(map(entry, every), key=lambda row: str(row["name"]))


def entry(thing: Rule | Combinator) -> dict[str, Any]:
    """Return the entry of a rule, clipping law or combinator, as plain data.

    Passes and state of a combinator are those around the rules that :func:`registry.applied` gives it.
    """
    from optcore.backends.fused.trace.traffic import kept, passes

    whole = ready(registry.applied(thing) if isinstance(thing, Combinator) else thing)
    measured = {"kept": kept(whole), "passes": passes(whole), "ndim": whole.ndim}
    if not isinstance(thing, Combinator):
        return {**_row(thing), **measured}
    row = {"name": thing.name, "family": "combinator", "kind": whole.kind, "state": [], "conventions": []}
    inner = {"takes": list(thing.takes), "around": " and ".join(part.name for part in whole.parts)}  # type: ignore[attr-defined]
    hyper = [_hyper(h) for h in thing.hypers.values()]
    return {**row, **inner, **measured, "hyper_parameters": hyper, "source": source(thing.doc)}


def _row(rule: Rule) -> dict[str, Any]:
    family = getattr(rule, "family", "made of rules")
    own = [h for name, h in rule.hypers.items() if name not in TEMPLATE or name in rule.template or name in _law(rule)]
    fields = [
        {"name": f.name, "unit": str(f.unit) if f.unit else None, "shared": f.shared, "doc": f.doc} for f in rule.fields
    ]
    conventions = sorted(rule.conventions) if isinstance(rule, Primitive) else []
    row = {"name": rule.name, "family": family, "kind": rule.kind, "owns": sorted(rule.owns), "state": fields}
    return {
        **row,
        "hyper_parameters": [_hyper(replace(h, default=rule.bound.get(h.name, h.default))) for h in own],
        "source": source(rule.doc),
        "conventions": conventions,
        "takes": [],
        "names": {pattern: dict(given) for pattern, given in rule.names.items()},
    }


def _law(rule: Rule) -> tuple[str, ...]:
    return rule.law.names if isinstance(rule, Primitive) else ()


def _hyper(h: Any) -> dict[str, Any]:
    default = "required" if h.default is REQUIRED else h.default
    return {"name": h.name, "default": default, "range": h.range, "unit": str(h.unit), "static": h.static}


def source(doc: str) -> str:
    """Return the text of a docstring after ``Source:``."""
    return " ".join(doc.partition("Source:")[2].split()).rstrip(".")
