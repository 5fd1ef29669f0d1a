"""``optcore rules``: the catalogue, read from the rules themselves."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from optcore import registry
from optcore.hyper import REQUIRED
from optcore.rule import TEMPLATE, Primitive, Rule


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> int:
    """Print the catalogue."""
    rows = catalogue()
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
        return 0
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{len(rows)} rules", show_lines=True)
    table.add_column("name", no_wrap=True)
    table.add_column("state, kind")
    table.add_column("hyper-parameters", ratio=3)
    table.add_column("source", ratio=2)
    for row in rows:
        state = ", ".join(f"{s['name']}{' ' + s['unit'] if s['unit'] else ''}" for s in row["state"]) or "no state"
        hyper = ", ".join(f"{h['name']}={h['default']} in {h['range']}" for h in row["hyper_parameters"])
        table.add_row(row["name"], escape(f"{state}; {row['kind']}"), escape(hyper), escape(row["source"]))
    Console().print(table)
    return 0


def catalogue() -> list[dict[str, Any]]:
    """One entry per rule, clipping law and combinator, as plain data."""
    families = {"rule": registry.rules(), "clipping": registry.clipping()}
    rows = [_row(family, rule) for family, rules in families.items() for rule in rules.values()]
    for each in registry.combinators().values():
        hyper = [_hyper(h) for h in each.hypers.values()]
        row = {"name": each.name, "family": "combinator", "kind": each.kind, "takes": list(each.takes), "state": []}
        rows.append({**row, "hyper_parameters": hyper, "source": source(each.doc), "conventions": []})
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
    }


def _law(rule: Rule) -> tuple[str, ...]:
    return rule.law.names if isinstance(rule, Primitive) else ()


def _hyper(h: Any) -> dict[str, Any]:
    default = "required" if h.default is REQUIRED else h.default
    return {"name": h.name, "default": default, "range": h.range, "unit": str(h.unit), "static": h.static}


def source(doc: str) -> str:
    """What a docstring says behind ``Source:``."""
    return " ".join(doc.partition("Source:")[2].split()).rstrip(".")
