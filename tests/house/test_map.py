"""The map of the house names files that are there, and every folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "house.md").read_text()
FILES = sorted(set(re.findall(r"[\w./]+\.py", PAGE)))


@pytest.mark.parametrize("file", [name for name in FILES if "/" in name])
def test_a_file_on_the_map_is_there(file: str) -> None:
    assert (ROOT / file).is_file()


def test_every_question_has_its_file() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "?" in line]
    assert len(rows) >= 30 and all(re.search(r"`[\w./]+\.py`", row) for row in rows)


def test_every_folder_of_the_project_is_on_the_map() -> None:
    links = {ROOT / "optcore" / "backends", ROOT / "optcore" / "adapters"}
    for top in ("optcore", "backends", "adapters"):
        for folder in (ROOT / top).rglob("*"):
            if folder.is_dir() and folder.name != "__pycache__" and not links & {folder, *folder.parents}:
                assert f"{folder.name}/" in PAGE, folder.relative_to(ROOT)
