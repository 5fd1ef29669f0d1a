"""The targets for the cost of a step, and the command ``optcore bench --targets`` that measures them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from optcore.adapters.cli.cases import SIZE, framework
from optcore.adapters.cli.contest import SHOWN, WORKS, working
from optcore.adapters.cli.peers import installed
from optcore.hyper import unknown

FASTEST = "fastest of torch, pytorch_optimizer"


@dataclass(frozen=True)
class Target:
    """A number that a case yields and what it may be at most; ``unit`` is empty for a ratio of times."""

    case: str
    number: str
    work: str
    against: str
    at_most: float
    unit: str = ""


TARGETS = [
    *(Target(f"torch adamw {w}", "torch fused", f"torch AdamW, {SHOWN[w]}", "torch.optim.AdamW(fused=True)", most)
      for w, most in (("tensor", 1.0), ("gpt2", 1.0), ("small", 0.7), ("resnet50", 0.7))),
    *(Target(f"torch adamw {w}", "torch single", f"torch AdamW, {SHOWN[w]}", "torch.optim.AdamW", 0.25) for w in WORKS),
    *(Target(f"torch {name}", "fastest", f"torch {name}, {SHOWN['tensor']}", FASTEST, most)
      for name, most in (("lion", 0.5), ("momentum", 1.0), ("rmsprop", 0.5), ("adagrad", 1.0), ("clipped adam", 1.0),
                         ("lamb", 0.5))),
    *(Target(f"torch clip_grad_norm_ {w}", "torch", f"torch clip_grad_norm_, {SHOWN[w]}",
             "torch.nn.utils.clip_grad_norm_", 1.0) for w in ("tensor", "small")),
    Target("numpy", "stream", f"NumPy AdamW in place, {SHOWN['tensor']}", "4 reads and 3 writes", 1.3),
    Target("numpy without llvmlite", "naive", f"NumPy AdamW without llvmlite, {SHOWN['tensor']}", "naive NumPy", 0.5),
    Target("keras tensor", "keras", f"Keras AdamW on torch, eager, {SHOWN['tensor']}", "keras.optimizers.AdamW", 0.15),
    Target("keras small", "keras", "Keras AdamW on torch, eager, 400 small tensors", "keras.optimizers.AdamW", 0.2),
    Target("optax", "optax", f"optax adamw, jit, donated, {SHOWN['tensor']}", "optax.adamw", 1.0),
    Target("import", "seconds", "import of optcore", "beyond NumPy's import", 0.1, "s"),
    Target("first step on NumPy", "first", "first step of a process, NumPy", "beyond NumPy's import", 0.6, "s"),
    Target("first step on NumPy", "second", "first step of a second rule, NumPy", "", 0.1, "s"),
    Target("first step in torch", "first", "first step of a process, torch", "beyond torch's import", 0.6, "s"),
    Target("first step in torch", "second", "first step of a second rule, torch", "", 0.1, "s"),
    Target("memory", "numpy", f"extra memory of a step, NumPy, {SHOWN['tensor']}", "", 2.0, "MiB"),
    Target("memory", "torch", f"extra memory of a step, torch, {SHOWN['tensor']}", "", 2.0, "MiB"),
    Target("growth", "above the line", "time against size, 1e4 to 1e8, torch", "a straight line", 1.25),
    Target("growth", "us per tensor", "time of one more tensor, torch", "", 2.0, "us"),
]  # fmt: skip


def run(options: argparse.Namespace, console: Any) -> tuple[dict[str, Any], bool]:
    """The table of targets; a case that cannot be measured here is said so, and one that fails is a failure."""
    from rich.markup import escape
    from rich.progress import Progress, TextColumn
    from rich.table import Table

    every = dict.fromkeys(t.case for t in TARGETS)
    for name in options.case or ():
        if name not in every:
            raise ValueError(unknown("bench", "case", name, every))
    cases, size = options.case or list(every), options.size or SIZE
    here = ["", *installed()]
    found: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    columns = [TextColumn("{task.description}"), *Progress.get_default_columns()[1:]]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(cases))
        for case in cases:
            progress.update(task, description=case)
            if framework(case) in here:
                words = ("-m", "optcore.adapters.cli.cases", case, str(size), str(options.repeat))
                try:
                    (found[case],) = working(*words, KERAS_BACKEND="torch")
                except ValueError as error:
                    failed[case] = str(error)
            progress.advance(task)
    table = Table(
        title=f"Targets; one tensor has {size:,} elements",
        caption="ratios of times, ours / theirs, where no unit is given",
    )
    for column in ("work", "against"):
        table.add_column(column, overflow="fold")
    for column in ("measured", "at most", ""):
        table.add_column(column, justify="right")
    rows = []
    for t in (t for t in TARGETS if t.case in cases):
        value = found.get(t.case, {}).get(t.number)
        met = None if value is None else value <= t.at_most
        words = {"work": t.work, "against": t.against, "unit": t.unit, "at_most": t.at_most}
        rows.append({**words, "measured": value, "met": met})
        absent = "[red]failed[/red]" if t.case in failed else "not measured"
        verdict = absent if met is None else "[green]met[/green]" if met else "[red]missed[/red]"
        measured = "-" if value is None else f"{value:.3g} {t.unit}".strip()
        table.add_row(t.work, t.against, measured, f"{t.at_most:g} {t.unit}".strip(), verdict)
    console.print(table)
    for case, why in failed.items():
        console.print(f"[red]{case}:[/red] {escape(why.splitlines()[-1])}", highlight=False)
    missed = sum(row["met"] is False for row in rows)
    console.print(f"{sum(row['met'] is True for row in rows)} of {len(rows)} targets met, {missed} missed")
    return {"elements": size, "targets": rows}, not failed and not (options.check and missed)
