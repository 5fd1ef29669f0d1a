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
from optcore.recipe import Recipe

EPOCHS = 20
AGREES, LEARNS = 1e-8, 0.95
"""The default recipe must end this close to NumPy and classify this share of the test images."""


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
    which.add_argument("--rule", metavar="NAME", help="another rule in place of adamw")
    which.add_argument("--recipe", metavar="FILE", help="a recipe's JSON file in place of the default recipe")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help=f"passes over the images ({EPOCHS})")
    parser.add_argument("--output", default="optcore-demo.png", metavar="FILE", help="where to draw the loss curves")


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
        f"Training on {len(task.train[0])} handwritten digits, {len(task.order)} steps, float64: {escape(str(recipe))}"
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
    absent = [r.label for r in RUNS if r not in present]
    if absent:
        console.print(f"Not installed: {', '.join(absent)}. pip install 'optcore\\[torch,jax,keras]' adds them.")
    _draw(console, results, options.output)
    return 0 if ok else 1


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
    """Print the table; whether every framework agrees with NumPy and learns, where that is judged."""
    from rich.table import Table

    table = Table(title="One recipe everywhere")
    for column in ("framework", "loss", "test accuracy", "largest difference to NumPy", "optimizer step", "own AdamW"):
        table.add_column(column, justify="left" if column == "framework" else "right")
    reference = _params(results["NumPy"])
    ok = True
    for label, result in results.items():
        params = _params(result)
        far = max(float(np.abs(p - q).max()) for p, q in zip(params, reference, strict=True))
        share = tasks.accuracy(params, task)
        ok = ok and (not judged or (far <= AGREES and share > LEARNS))
        loss = float(np.mean(result["losses"][-20:]))
        own = f"{1e6 * float(result['own']):.0f} µs" if "own" in result else "-"
        difference = "reference" if label == "NumPy" else f"{far:.1e}"
        table.add_row(
            label, f"{loss:.4f}", f"{100 * share:.1f} %", difference, f"{1e6 * float(result['ours']):.0f} µs", own
        )
    console.print(table)
    if judged:
        verdict = "[green]agree" if ok else "[red]do not all agree"
        console.print(f"{verdict}[/] with NumPy to {AGREES:g} and classify more than {100 * LEARNS:g} % right")
    return ok


def _params(result: dict[str, Any]) -> list[Any]:
    return [result[f"param{i}"] for i in range(len(tasks.NAMES))]


def _draw(console: Any, results: dict[str, Any], output: str) -> None:
    """The loss curves, where matplotlib is installed."""
    if not importlib.util.find_spec("matplotlib"):
        console.print("No picture: pip install 'optcore\\[plot]' draws the loss curves.")
        return
    import matplotlib
    from rich.markup import escape

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for i, (label, result) in enumerate(results.items()):
        losses = np.asarray(result["losses"])
        width = max(len(losses) // 60, 1)
        smooth = losses[: len(losses) // width * width].reshape(-1, width).mean(axis=1)
        axes.plot(np.arange(len(smooth)) * width, smooth, label=label, linewidth=6 - 0.8 * i, alpha=0.7)
    axes.set(xlabel="step", ylabel="training loss", yscale="log", title="The same recipe in every framework")
    axes.legend()
    figure.savefig(output, dpi=120)
    console.print(f"Loss curves: {escape(output)}")
