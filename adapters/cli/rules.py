"""``optcore rules``: the catalogue, read from the rules themselves."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from optcore import registry
from optcore.hyper import REQUIRED, unknown
from optcore.rule import TEMPLATE, Primitive, Rule


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("names", nargs="*", help="rules to show with their state and hyper-parameters; all by default")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> int:
    """Print the catalogue."""
    rows = catalogue()
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
        return 0
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=bool(options.names))
    for name in options.names:
        found = next((row for row in rows if row["name"] == name), None)
        if found is None:
            raise ValueError(unknown("optcore rules", "rule", name, [row["name"] for row in rows]))
        console.print("\n".join(_card(found)), markup=False)
    if not options.names:
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
    lines = [f"{row['name']}: {row['family']}, {row['kind']}, {_cell(row, 'passes')} passes", f"  {row['source']}"]
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
    from optcore.backends.fused.trace.traffic import kept, passes

    rows = []
    for clipping, rules in ((True, registry.clipping()), (False, registry.rules())):
        for rule in rules.values():
            given = rule.bind(**{name: 1.0 for name, value in rule.values().items() if value is REQUIRED})
            measured = {"kept": kept(given), "passes": passes(given)}
            rows.append({**_row("clipping" if clipping else rule.family, rule), **measured})  # type: ignore[attr-defined]
    for each in registry.combinators().values():
        hyper = [_hyper(h) for h in each.hypers.values()]
        whole = registry.applied(each)
        row = {"name": each.name, "family": "combinator", "kind": whole.kind, "takes": list(each.takes), "state": []}
        measured = {"kept": kept(whole), "passes": passes(whole)}
        rows.append({**row, **measured, "hyper_parameters": hyper, "source": source(each.doc), "conventions": []})
    return sorted(rows, key=lambda row: str(row["name"]))


def _row(family: str, rule: Rule) -> dict[str, Any]:
    own = [h for name, h in rule.hypers.items() if name not in TEMPLATE or name in rule.template or name in _law(rule)]
    fields = [
        {"name": f.name, "unit": str(f.unit) if f.unit else None, "shared": f.shared, "doc": f.doc} for f in rule.fields
    ]
    conventions = sorted(rule.conventions) if isinstance(rule, Primitive) else []
    row = {"name": rule.name, "family": family, "kind": rule.kind, "owns": sorted(rule.owns), "state": fields}
    return {
        **row,
        "hyper_parameters": [_hyper(h) for h in own],
        "source": source(rule.doc),
        "conventions": conventions,
        "names": {pattern: dict(given) for pattern, given in rule.names.items()},
    }


def _law(rule: Rule) -> tuple[str, ...]:
    return rule.law.names if isinstance(rule, Primitive) else ()


def _hyper(h: Any) -> dict[str, Any]:
    default = "required" if h.default is REQUIRED else h.default
    return {"name": h.name, "default": default, "range": h.range, "unit": str(h.unit), "static": h.static}


def source(doc: str) -> str:
    """What a docstring says behind ``Source:``."""
    return " ".join(doc.partition("Source:")[2].split()).rstrip(".")
