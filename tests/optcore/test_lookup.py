"""Names of the library are searched for once: a second look-up is Python's own."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import optcore
from optcore import clipping, registry, schedules

ADAPTERS = ("optcore.adapters.torch", "optcore.adapters.optax", "optcore.adapters.keras")
LAW = """
from optcore.rule import NoState, rule

@rule()
def {name}(xp, p, g, s, t):
    return g, s
"""


def searches(monkeypatch: pytest.MonkeyPatch, look: Any) -> list[str]:
    """Return the calls of the import system while ``look`` runs."""
    asked: list[str] = []
    for module, name in ((pkgutil, "iter_modules"), (importlib, "import_module")):
        own = getattr(module, name)

        def counted(*args: Any, _own: Any = own, _name: str = name, **options: Any) -> Any:
            asked.append(f"{_name}{args}")
            return _own(*args, **options)

        monkeypatch.setattr(module, name, counted)
    look()
    monkeypatch.undo()
    return asked


@pytest.mark.parametrize("name", ["optcore", "optcore.clipping", "optcore.schedules", *ADAPTERS])
def test_the_second_look_up_of_every_public_name_asks_nothing_of_the_import_system(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(name)
    public = [n for n in dir(module) if not n.startswith("_")]
    assert len(public) > 20
    first = {n: getattr(module, n) for n in public}

    def again() -> None:
        assert all(getattr(module, n) is first[n] for n in public)

    assert searches(monkeypatch, again) == []
    assert all(n in vars(module) for n in public), "found without a call of ours"


def test_the_registry_searches_its_folders_once(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.rules(), registry.clipping(), registry.combinators(), registry.schedules()

    def again() -> None:
        for name in {**registry.rules(), **registry.clipping(), **registry.combinators()}:
            registry.find(name)
        optcore.Recipe("adam", clip="clip_by_block_rms")
        recipe = optcore.Recipe("adam", lr=schedules.cosine(peak=1.0, steps=3), clip=clipping.zero_nans)
        assert optcore.Recipe.from_json(recipe.to_json()) == recipe

    assert searches(monkeypatch, again) == []


def test_what_the_registry_gives_is_the_callers() -> None:
    registry.rules().clear()
    assert "adam" in registry.rules()


def test_the_search_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above could not fail if searches were not counted."""
    monkeypatch.setattr(registry, "_kept", {})
    assert any("iter_modules" in each for each in searches(monkeypatch, registry.rules))


def test_a_file_that_comes_while_the_process_runs_is_found(tmp_path: Path) -> None:
    """It is found before and after the first look-up, in a folder of the package's path, and not once it is deleted."""
    code = f"""
import optcore, optcore.rules, sys, importlib
from pathlib import Path
from optcore import registry
folder, law = Path({str(tmp_path)!r}), {LAW!r}
optcore.rules.__path__.append(str(folder))
(folder / "early.py").write_text(law.format(name="early"))
assert optcore.early.name == "early"
assert optcore.adam is registry.find("adam")
try:
    optcore.late
except AttributeError as error:
    assert "late" in str(error)
(folder / "late.py").write_text(law.format(name="late"))
importlib.invalidate_caches()
assert optcore.late.name == "late" and registry.find("late") is optcore.late
assert "late" in registry.rules() and "late" in dir(optcore)
(folder / "late.py").unlink()
assert "late" not in registry.rules() and "early" in registry.rules()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
