"""The command ``optcore``: demo, verify, bench, rules, schedules and plot."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence

__all__ = ["main"]

COMMANDS = {
    "demo": "Train one small classifier in every installed framework, and compare.",
    "verify": "Prove rules on the installed array libraries.",
    "bench": "Time rules against this machine's memory and the other libraries.",
    "rules": "List every rule, or show some with their state, hyper-parameters and source.",
    "schedules": "List every schedule, or show some with their parameters and source.",
    "plot": "Draw schedules, or the path of rules on three surfaces.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 where something failed, 2 for a wrong call."""
    import optcore

    parser = argparse.ArgumentParser(
        prog="optcore",
        description="Update rules written once, native everywhere.",
        epilog="optcore COMMAND --help explains a command's arguments.",
    )
    version = f"optcore {optcore.__version__}"
    parser.add_argument("--version", action="version", version=version, help="Print the version, and do nothing else.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, words in COMMANDS.items():
        module = importlib.import_module(f"optcore.adapters.cli.{name}")
        command = commands.add_parser(name, help=words, description=words)
        module.arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(argv)
    try:
        return int(options.run(options))
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, ImportError, OSError) as error:
        said = re.sub(rf"^(optcore|{options.command}|optcore {options.command}): ", "", str(error))  # not twice
        print(f"optcore {options.command}: {said}", file=sys.stderr)
        return 2
