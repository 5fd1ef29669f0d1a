"""The program that writes the table of docs/differences.md: ``python tests/differences.py``.

Tests compare the file with it.
"""

from __future__ import annotations

import math
from pathlib import Path

import oracles
from oracles import Difference

FILE = Path(__file__).parent.parent / "docs" / "differences.md"
START, END = "<!-- measured: python tests/differences.py -->\n", "<!-- end -->\n"


def rows() -> list[Difference]:
    """Return the rows of the table, sorted by law."""
    return sorted(oracles.gather("DIFFERENCES"), key=lambda row: row.law.lower())


def figure(row: Difference, size: float | None = None) -> str:
    """Return the table's entry for the size of a difference, which is measured here unless it is given.

    A size is infinite if one side is NaN and the other a number. A difference of laws is entered as its power of ten,
    whatever its last bits (it may be a power of ten itself). A difference that comes from a library's rounding depends
    on processor and BLAS, and is entered as a range.
    """
    if row.rounding is not None:
        low, high = row.rounding.range()
        return f"{low:.0e} to {high:.0e}, {row.rounding.dtype}".replace("e-0", "e-")
    size = row.size() if size is None else size
    if math.isinf(size):
        return "NaN"
    return "0" if size < 1e-13 else f"1e{math.floor(math.log10(size) + 1e-6)}"


def line(row: Difference, figure: str) -> str:
    """Return the text of one row of the table."""
    return f"| {row.law} | {row.who} | {row.what} | {figure} | {row.here} |"


def table() -> str:
    """Return the text of the table, one line for each row."""
    lines = ["| law | who | what | size | here |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(line(row, figure(row)) for row in rows())]) + "\n"


def written() -> list[str]:
    """Return the lines of the table in the file, without its head."""
    return FILE.read_text().partition(START)[2].partition(END)[0].strip().splitlines()[2:]


if __name__ == "__main__":
    head, _, rest = FILE.read_text().partition(START)
    FILE.write_text(head + START + "\n" + table() + "\n" + END + rest.partition(END)[2])
