"""``optcore demo``: one recipe, one start, one order of batches, in every framework that is installed."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from optcore.adapters.cli import task as tasks
from optcore.adapters.cli.names import count
from optcore.recipe import Recipe

EPOCHS = 20
AGREES, LEARNS = 1e-8, 0.95
"""The default recipe must end this close to NumPy and classify this share of the test images."""
EXTRAS = {"torch": "torch", "jax": "jax", "optax": "jax", "keras": "keras", "tensorflow": "tensorflow"}
"""The extra that installs each package."""


@dataclass(frozen=True)
class Run:
    """One row of the table."""

    label: str
    worker: str
    needs: tuple[str, ...] = ()
    keras: str = ""


RUNS = (
    Run("NumPy", "numpy"),
    Run("PyTorch", "torch", ("torch",)),
    Run("optax", "optax", ("jax", "optax")),
    Run("Keras on JAX", "keras", ("keras", "jax"), "jax"),
    Run("Keras on torch", "keras", ("keras", "torch"), "torch"),
    Run("Keras on TensorFlow", "keras", ("keras", "tensorflow"), "tensorflow"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rule", metavar="NAME", help="Train with this rule in place of adamw.")
    which.add_argument("--recipe", metavar="FILE", help="Train with the recipe in this JSON file, not the default one.")
    parser.add_argument(
        "--epochs",
        type=int,
        default=EPOCHS,
        metavar="N",
        help=f"Go so many times through the images; {EPOCHS} where it is not given.",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="optcore-demo.png",
        metavar="FILE",
        help="Draw the loss curves into this file, optcore-demo.png where it is not given.",
    )


def run(options: argparse.Namespace) -> int:
    """Train everywhere, print the table, draw the curves; 1 where the default recipe does not agree or learn."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    if not Path(options.output).absolute().parent.is_dir():
        raise ValueError(f"--output={options.output}: there is no such folder; name a file in one that exists")
    if options.epochs < 1:
        raise ValueError(f"--epochs={options.epochs} is no count; give a whole number of at least 1")
    task = tasks.load(options.epochs)
    recipe = _recipe(options, len(task.order))
    console = Console()
    console.print(
        f"Training on {len(task.train[0]):,} handwritten digits, {count(len(task.order), 'step')}, float64: "
        f"{escape(str(recipe))}"
    )
    present = [r for r in RUNS if all(importlib.util.find_spec(name) for name in r.needs)]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as progress:
        file = Path(folder) / "recipe.json"
        file.write_text(recipe.to_json())
        bars = {r.label: progress.add_task(r.label, total=len(task.order)) for r in present}
        for each in present:
            out = Path(folder) / f"{each.worker}-{each.keras}.npz"
            results[each.label] = _work(
                each, file, options.epochs, out, lambda n, b=bars[each.label]: progress.update(b, completed=n)
            )
    plain = options.rule is None and options.recipe is None
    ok = _show(console, results, task, plain and options.epochs >= EPOCHS)
    for line in absent():
        console.print(escape(line), highlight=False)
    _draw(console, results, options.output)
    return 0 if ok else 1


def absent() -> list[str]:
    """A line for all frameworks that lack the same packages, with the command that installs them."""
    lacking: dict[str, list[str]] = {}
    for each in RUNS:
        extras = dict.fromkeys(EXTRAS[name] for name in each.needs if not importlib.util.find_spec(name))
        if extras:
            lacking.setdefault(",".join(extras), []).append(each.label)
    return [
        f"{' and '.join(labels)} {'was' if len(labels) == 1 else 'were'} left out, for what is not installed: "
        f"pip install 'optcore[{extras}]'"
        for extras, labels in lacking.items()
    ]


def _recipe(options: argparse.Namespace, steps: int) -> Recipe:
    if options.recipe:
        return Recipe.from_json(Path(options.recipe).read_text(encoding="utf-8"))
    return tasks.default_recipe(steps, options.rule or "adamw")


def _work(each: Run, recipe: Path, epochs: int, out: Path, advance: Any) -> dict[str, Any]:
    """Run one worker and follow its progress; RuntimeError with its last words where it fails."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    if each.keras:
        environment["KERAS_BACKEND"] = each.keras
    command = [sys.executable, "-m", "optcore.adapters.cli.workers", each.worker, str(recipe), str(epochs), str(out)]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step "):
                advance(int(line.split()[1]))
        if process.wait() != 0:
            errors.seek(0)
            raise ValueError(f"{each.label} failed: {errors.read().strip()[-2000:]}")
    with np.load(out) as data:
        return {name: data[name] for name in data.files}


def _show(console: Any, results: dict[str, Any], task: tasks.Task, judged: bool) -> bool:
    """Print the table; whether every framework agrees with NumPy and learns, where that is judged.

    NumPy alone has nothing to agree with, and nothing is said of it.
    """
    from rich.table import Table

    several = len(results) > 1
    table = Table(title="One recipe everywhere" if several else "The recipe on NumPy")
    far = ("largest difference to NumPy",) if several else ()
    for column in ("framework", "loss", "test accuracy", *far, "optimizer step", *(("own AdamW",) if several else ())):
        table.add_column(column, justify="left" if column == "framework" else "right")
    reference = _params(results["NumPy"])
    agree = learn = True
    for label, result in results.items():
        params = _params(result)
        difference = max(float(np.abs(p - q).max()) for p, q in zip(params, reference, strict=True))
        share = tasks.accuracy(params, task)
        agree, learn = agree and difference <= AGREES, learn and share > LEARNS
        cells = [label, f"{float(np.mean(result['losses'][-20:])):.4f}", f"{100 * share:.1f} %"]
        if several:
            cells.append("reference" if label == "NumPy" else f"{difference:.1e}")
        cells.append(f"{1e6 * float(result['ours']):.0f} µs")
        if several:
            cells.append(f"{1e6 * float(result['own']):.0f} µs" if "own" in result else "-")
        table.add_row(*cells)
    console.print(table)
    if not judged:
        return True
    ok = agree and learn
    if several:
        verdict = "[green]agree" if ok else "[red]do not all agree"
        console.print(f"{verdict}[/] with NumPy to {AGREES:g} and classify more than {100 * LEARNS:g} % right")
    else:
        verdict = "[green]classifies" if ok else "[red]does not classify"
        console.print(f"{verdict}[/] more than {100 * LEARNS:g} % right")
    return ok


def _params(result: dict[str, Any]) -> list[Any]:
    return [result[f"param{i}"] for i in range(len(tasks.NAMES))]


def _draw(console: Any, results: dict[str, Any], output: str) -> None:
    """The loss curves, where matplotlib is installed."""
    from rich.markup import escape

    if not importlib.util.find_spec("matplotlib"):
        console.print("No picture was drawn: pip install 'optcore\\[plot]'", highlight=False)
        return
    from optcore.adapters.cli.losses import losses_figure

    losses = {label: np.asarray(result["losses"]) for label, result in results.items()}
    losses_figure(losses).savefig(output, dpi=150)
    console.print(f"Loss curves: {escape(output)}")
