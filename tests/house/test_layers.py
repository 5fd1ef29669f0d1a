"""The direction of imports: optcore below backends below optcore.testing below adapters, and no circle anywhere."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINKS = {("optcore", "backends"), ("optcore", "adapters")}
"""The development links, through which the two upper layers are packages of optcore."""
LAYERS = ("optcore", "optcore.backends", "optcore.testing", "optcore.adapters")


def modules() -> dict[str, Path]:
    """Return every module of the project by its full name."""
    found = {}
    for top in ("optcore", "backends", "adapters"):
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if parts[:2] in LINKS:
                continue  # the same file is found at the link's other end
            full = parts if top == "optcore" else ("optcore", *parts)
            found[".".join(full[:-1] if full[-1] == "__init__" else full)] = file
    return found


MODULES = modules()


def imported(name: str) -> set[str]:
    """Return the project's modules that a module imports, at its top or in a function, except for type checking."""
    tree = ast.parse(MODULES[name].read_text())
    typing = {
        id(each)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for each in ast.walk(statement)
    }
    wanted = []
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.Import):
            wanted += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{name}: a relative import hides where it points"
            wanted += [f"{node.module}.{each.name}" for each in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "import_module"):
            wanted += [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    found = set()
    for each in wanted:
        while each and each not in MODULES:
            each = each.rpartition(".")[0]
        found |= {each} - {"", name}
    return found


IMPORTS = {name: imported(name) for name in MODULES}


def layer(name: str) -> int:
    """Return the number of a module's layer; the lowest layer is 0."""
    package = ".".join(name.split(".")[:2])
    return LAYERS.index(package) if package in LAYERS else 0


def test_the_modules_are_found() -> None:
    assert {"optcore.rules.adam", "optcore.backends.numpy", "optcore.adapters.torch.optimizer"} <= MODULES.keys()
    assert "optcore.rule" in IMPORTS["optcore.rules.adam"]
    assert any("optcore.backends" in each for each in IMPORTS["optcore.adapters.torch.optimizer"])


def test_imports_point_down() -> None:
    """Only the command ``python -m optcore`` imports upwards."""
    up = {(a, b) for a, found in IMPORTS.items() for b in found if layer(b) > layer(a)}
    assert up == {("optcore.__main__", "optcore.adapters.cli")}


def test_the_core_names_the_layer_above_in_one_place() -> None:
    """``optcore.running`` imports the package that provides the runner; ``optcore`` itself names its subpackages."""
    named = set()
    for name, file in MODULES.items():
        if layer(name) or name == "optcore.__main__":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if text in ("optcore.backends", "optcore.adapters", "backends", "adapters"):
                named.add(name)
    assert named == {"optcore", "optcore.running"}


def test_no_imports_run_in_a_circle() -> None:
    """Modules that import only modules already removed are removed in turn; those that remain are in circles."""
    left = {name: set(found) for name, found in IMPORTS.items()}
    while ready := {name for name, found in left.items() if not found}:
        left = {name: found - ready for name, found in left.items() if name not in ready}
    assert not left, {name: sorted(found & left.keys()) for name, found in left.items()}
