"""The rules that are named on the command line, and the words that go with their number."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from optcore import registry
from optcore.hyper import REQUIRED
from optcore.rule import Rule

__all__ = ["OWN", "RULES", "count", "foreign", "ready"]

OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""A law of someone's own, as ``package.module:name``."""
RULES = (
    "A name of a rule, clipping law or combinator, as adam; package.module:name for one of your own, which is imported "
    "from there; with parameters, as adam:lr=0.01 or cautious(lion:beta1=0.8)."
)
"""The help text for naming a rule, the same in every command."""


def foreign(text: str) -> Any:
    """Return the law that a text ``package.module:name`` names.

    Raises ValueError, in words, for what cannot be imported and for what is no law.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as python -m has it, so that a file beside the caller is found
    return registry.named(text)


def ready(rule: Rule) -> Rule:
    """The rule with 1 for every hyper-parameter that has no default and was not given."""
    return rule.bind(**{name: 1.0 for name, value in rule.values().items() if value is REQUIRED})


def count(n: int, one: str, several: str | None = None) -> str:
    """A number with its noun, as ``1 pass`` and ``2 passes``."""
    return f"{n:,} {one if n == 1 else several or f'{one}s'}"
