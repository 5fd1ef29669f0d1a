"""The words of the project: every docstring in its three packages is a statement."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    file.relative_to(ROOT).as_posix()
    for package in ("optcore", "backends", "adapters")
    for file in (ROOT / package).rglob("*.py")
    if not any((ROOT / parent).is_symlink() for parent in file.relative_to(ROOT).parents)
)
"""The source files, each once: those below the links optcore/backends and optcore/adapters are left out."""
RELATIVE = ("What ", "Whether ", "How ", "Which ", "Where ", "When ", "Who ")
"""Words at the start of a relative clause, which has no main clause if it stands alone."""


def headless(source: str) -> list[tuple[int, str]]:
    """Return line number and first line of every docstring that begins as a relative clause and is no question.

    A string that stands alone below an assignment documents the name, and counts.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            first = node.value.value.strip().partition("\n")[0]
            if first.startswith(RELATIVE) and not first.endswith("?"):
                found.append((node.lineno, first))
    return sorted(found)


def test_a_relative_clause_that_stands_alone_is_found() -> None:
    assert headless('"""What moves these passes."""') == [(1, "What moves these passes.")]
    assert headless('class A:\n    """Where a step went."""\n\n    def f(self):\n        """Whether it did."""') == [
        (2, "Where a step went."),
        (5, "Whether it did."),
    ]
    assert headless('"""The passes."""\ndef f():\n    """Tell whether it did."""') == []
    assert headless('"""What is a leaf?"""') == []
    assert headless('A = 1\n"""How many there are."""') == [(2, "How many there are.")]


def test_all_three_packages_are_read() -> None:
    assert {name.partition("/")[0] for name in FILES} == {"optcore", "backends", "adapters"}
    assert "optcore/rules/lion.py" in FILES and "optcore/backends/base.py" not in FILES


@pytest.mark.parametrize("name", FILES)
def test_a_docstring_is_a_statement(name: str) -> None:
    """It names its subject: a function's begins with a verb, as "Return" or "Tell whether", others with a noun."""
    wrong = [f"{name}:{line}: {text}" for line, text in headless((ROOT / name).read_text())]
    assert not wrong, "write these as statements, as in 'Return ...' or 'Tell whether ...':\n" + "\n".join(wrong)
