"""Writes the table of docs/differences.md: ``python tests/differences.py``; tests hold the file to it."""

from __future__ import annotations

import math
from pathlib import Path

import oracles
from oracles import Difference

FILE = Path(__file__).parent.parent / "docs" / "differences.md"
START, END = "<!-- measured: python tests/differences.py -->\n", "<!-- end -->\n"


def rows() -> list[Difference]:
    """Sorted by law, as the table has them."""
    return sorted(oracles.gather("DIFFERENCES"), key=lambda row: row.law.lower())


def figure(row: Difference, size: float | None = None) -> str:
    """The entry of the table for a size, measured here unless it is given; infinite where a NaN stands for a number.

    A difference of laws is known by its power of ten, whatever its last bits (it may be a power of ten itself). One
    of a library's own rounding hangs on processor and BLAS: it is known by the range that it lies in.
    """
    if row.rounding is not None:
        low, high = row.rounding.range()
        return f"{low:.0e} to {high:.0e}, {row.rounding.dtype}".replace("e-0", "e-")
    size = row.size() if size is None else size
    if math.isinf(size):
        return "NaN"
    return "0" if size < 1e-13 else f"1e{math.floor(math.log10(size) + 1e-6)}"


def line(row: Difference, figure: str) -> str:
    """The row as the table has it."""
    return f"| {row.law} | {row.who} | {row.what} | {figure} | {row.here} |"


def table() -> str:
    """One line for each row."""
    lines = ["| law | who | what | size | here |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(line(row, figure(row)) for row in rows())]) + "\n"


def written() -> list[str]:
    """The lines of the file's table, without its head."""
    return FILE.read_text().partition(START)[2].partition(END)[0].strip().splitlines()[2:]


if __name__ == "__main__":
    head, _, rest = FILE.read_text().partition(START)
    FILE.write_text(head + START + "\n" + table() + "\n" + END + rest.partition(END)[2])
