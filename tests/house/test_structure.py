"""The shape of the project itself: layers, imports, files, names and wheels."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import optcore
from optcore import registry

ROOT = Path(__file__).parents[2]
FRAMEWORKS = {"torch", "jax", "keras", "tensorflow", "cupy", "optax", "array_api_strict", "llvmlite"}


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_optcore_imports_no_framework() -> None:
    code = f"import sys, optcore; optcore.adam; print(sorted({FRAMEWORKS!r} & set(sys.modules)))"
    assert python(code).strip() == "[]"


def test_importing_optcore_loads_what_a_recipe_is_made_of_and_no_more() -> None:
    """Laws, backends and other packages are imported when they are used; ``optcore bench`` times the import."""
    code = "import sys, annotated_types; known = set(sys.modules); import optcore; print(*set(sys.modules) - known)"
    loaded = [name.split(".") for name in python(code).split()]
    assert {parts[0] for parts in loaded} - sys.stdlib_module_names == {"optcore"}
    later = {p.stem for p in (ROOT / "optcore").iterdir() if p.is_dir()} | {"backends", "adapters", "recipes"}
    assert not later & {parts[1] for parts in loaded if parts[0] == "optcore" and parts[1:]}


def test_a_test_draws_from_a_generator_of_its_own() -> None:
    """A shared generator would give each test other numbers on each worker and in each order."""
    for file in sorted((ROOT / "tests").rglob("*.py")):
        tree = ast.parse(file.read_text())
        made = [
            node for node in tree.body if isinstance(node, ast.Assign) and "default_rng(" in ast.unparse(node.value)
        ]
        shared = {t.id for node in made for t in node.targets if isinstance(t, ast.Name)}
        for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            drawn = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            calls = {ast.unparse(call.func): {key.arg for key in call.keywords} for call in drawn}
            names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            where = f"{file.name}: {function.name}"
            assert not shared & names, where
            free = [name for name in calls if name.startswith("torch.rand") and "generator" not in calls[name]]
            assert not free or "manual_seed(" in ast.unparse(function), where


def _imports(file: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def sources(folder: str) -> list[Path]:
    files = [
        f
        for f in (ROOT / folder).rglob("*.py")
        if not {"backends", "adapters"} & set(f.relative_to(ROOT / folder).parts)
    ]
    assert files
    return files


def test_the_core_imports_no_array_library() -> None:
    for file in sources("optcore"):
        if file.relative_to(ROOT / "optcore").parts[0] == "testing":
            continue  # stands above the backends; jax's precision is switched on there
        assert not _imports(file) & {*FRAMEWORKS, "numpy"}, file


def test_laws_are_written_against_the_namespace_alone() -> None:
    """Laws have no ``1 - beta**t``, no ``.item()``, no ``float()`` and no ``np``: array-api-strict cannot see these."""
    for file in [*(ROOT / "optcore/rules").glob("*.py"), *(ROOT / "optcore/clipping").glob("*.py")]:
        text = file.read_text()
        assert not re.search(r"1(\.0)? - \w*beta\w* ?\*\*", text), file
        assert not re.search(r"\.item\(|float\(|\bnp\.", text), file


def test_a_rule_is_a_small_file() -> None:
    """A law has 15 to 40 lines; the limit also counts its state, conventions, docstring and signature."""
    for file in (ROOT / "optcore/rules").glob("*.py"):
        assert len(file.read_text().splitlines()) <= 125, file
    for folder in ("optcore", "backends", "adapters", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            assert len(file.read_text().splitlines()) <= 450, file


def public() -> list[tuple[str, Any]]:
    found = []
    for name in ("optcore", "optcore.testing", "optcore.backends", "optcore.adapters.torch", "optcore.adapters.optax"):
        module = importlib.import_module(name)
        found += [(f"{name}.{n}", getattr(module, n)) for n in module.__all__]
    for info in pkgutil.iter_modules(optcore.__path__):
        if not info.ispkg and info.name != "__main__":
            module = importlib.import_module(f"optcore.{info.name}")
            found += [(f"optcore.{info.name}.{n}", getattr(module, n)) for n in getattr(module, "__all__", [])]
    return found


@pytest.mark.parametrize(("name", "thing"), [p for p in public() if inspect.isclass(p[1]) or inspect.isfunction(p[1])])
def test_what_is_public_has_a_docstring(name: str, thing: Any) -> None:
    assert inspect.getdoc(thing), name


def test_every_rule_says_where_it_comes_from() -> None:
    for each in [*registry.rules().values(), *registry.clipping().values(), *registry.combinators().values()]:
        assert "Source:" in each.doc or "Source" in each.doc, each.name
    for each in registry.schedules().values():
        assert each.doc, each.name


def test_every_state_field_says_what_it_is_and_its_unit() -> None:
    for each in registry.rules().values():
        for f in each.fields:
            assert f.doc and f.unit is not None, (each.name, f.name)


def test_the_folders_are_guarded_against_their_bare_names() -> None:
    for folder in ("backends", "adapters"):
        done = subprocess.run([sys.executable, "-c", f"import {folder}"], capture_output=True, text=True, cwd=ROOT)
        assert f"import it as optcore.{folder}" in done.stderr


@pytest.mark.parametrize(
    ("module", "hidden", "words"),
    [
        ("optcore.adapters.torch", "torch", "pip install 'optcore[torch]'"),
        ("optcore.adapters.optax", "optax", "pip install 'optcore[jax]'"),
        ("optcore.adapters.keras", "keras", "pip install 'optcore[keras]'"),
        ("optcore.backends.cupy", "cupy", "pip install 'optcore[cupy]'"),
        ("optcore.testing", "hypothesis", "pip install 'optcore[proof]'"),
    ],
)
def test_a_missing_extra_is_named_with_its_pip_command(module: str, hidden: str, words: str) -> None:
    code = f"import sys; sys.modules[{hidden!r}] = None\ntry: import {module}\nexcept ImportError as e: print(e)"
    assert words in python(code)


@pytest.mark.slow
def test_both_wheels_hold_the_same_files(tmp_path: Path) -> None:
    """The wheel built directly and that built from the sdist have the same files, without the development links."""
    lists = []
    for kind in (["--wheel"], []):
        out = tmp_path / f"dist{len(kind)}"
        command = [sys.executable, "-m", "build", "--no-isolation", *kind, "--outdir", str(out), str(ROOT)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        (wheel,) = out.glob("*.whl")
        lists.append(sorted(n for n in zipfile.ZipFile(wheel).namelist() if not n.endswith("RECORD")))
    assert lists[0] == lists[1]
    names = set(lists[0])
    assert {
        "optcore/rules/adam.py",
        "optcore/backends/numpy.py",
        "optcore/adapters/cli/digits.npz",
        "optcore/py.typed",
    } <= names
    assert not any(n.startswith(("backends/", "adapters/", "tests/")) for n in names)
