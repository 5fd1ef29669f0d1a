"""The program that writes docs/schedules.md and its pictures: ``python tests/pictures.py``; a test compares them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import optcore.schedules
from optcore import registry
from optcore.adapters.cli import plot
from optcore.adapters.cli.schedules import catalogue

DOCS = Path(__file__).parent.parent / "docs"
FILE = DOCS / "schedules.md"
STEPS = 121

COSINE = "(cosine:peak=1,steps=100)"
EXAMPLES = {
    "amos_constant_speed": "peak=1,half_life=30",
    "amos_dynamic_speed": "peak=1,half_life=30",
    "batch_growth": f"decay={COSINE},start=8,limit=64",
    "batch_residual": f"decay={COSINE},start=8,limit=64",
    "chebyshev": "steps=64",
    "clocked": f"of={COSINE},sizes=(0:1,40:2,60:4),start=1",
    "constant": "value=1",
    "cosine": "peak=1,steps=100,floor=0.1",
    "ema_warmup": "decay=0.9",
    "exp_range": "base=0.1,peak=1,up=15,rate=0.98",
    "exponential": "start=1,rate=0.5,steps=30",
    "from_points": "points=(20:1,60:1,100:0.1),origin=true",
    "half_life_linear": "start=0.9,end=0.999,steps=100",
    "hard_restarts": "peak=1,steps=100,cycles=3",
    "hold": "value=1,steps=40",
    "internal_cosine": "steps=100,periods=2.5",
    "internal_linear": "steps=100",
    "internal_restart": "steps=100,periods=4",
    "interpolate": "start=0.2,points=(30:1,100:0.1),shape=cosine",
    "inverse_power": "start=1,rate=0.1",
    "inverse_sqrt": "peak=1,warmup=20",
    "inverse_time": "start=1,rate=1,steps=20",
    "join": f"parts=((linear:start=0.2,end=0.5,steps=40),{COSINE}),boundaries=(40,)",
    "k_decay": "peak=1,steps=100,k=3",
    "linear": "start=1,end=0.1,steps=100",
    "multiplicative": "start=1,points=(30:0.95,70:1.01)",
    "multistep": "start=1,milestones=(40,80),rate=0.5",
    "noam": "d_model=64,warmup=30",
    "normalized_decay": "value=1,first=20,growth=2",
    "one_cycle": "peak=1,steps=110",
    "one_cycle_linear": "peak=1,steps=110",
    "one_cycle_momentum": "steps=110",
    "piecewise": "start=1,points=(30:0.5,90:0.1)",
    "polynomial": "peak=1,steps=100,power=2",
    "product": "parts=((exponential:start=1,rate=0.99),(triangular:base=0.5,peak=1,up=10))",
    "proportion": f"of={COSINE},low=0,high=1,to_low=0.5,to_high=2",
    "rex": "peak=1,steps=100",
    "sgdr": "peak=1,first=20,growth=2,shrink=0.8",
    "snapshot": "peak=1,steps=120,cycles=4",
    "step": "start=1,every=30,rate=0.5",
    "swa_anneal": "start=1,end=0.2,steps=60",
    "swa_cycle": "high=1,low=0.2,length=20",
    "t5": "hold=30",
    "tanh": "peak=1,steps=100",
    "triangular": "base=0.1,peak=1,up=20,down=10",
    "triangular2": "base=0.1,peak=1,up=15",
    "untuned_warmup": f"then={COSINE},beta2=0.95",
    "warmup": f"steps=20,then={COSINE}",
    "warmup_restarts": "peak=1,first=40,warmup=10,cycles=3,shrink=0.7",
    "wsd": "peak=1,warmup=10,stable=60,decay=40",
}
"""What each schedule is drawn with, as ``optcore plot`` reads it."""


HEAD = """# Schedules

{count} laws of the step, written once: `optcore.schedules.cosine(peak=1e-3, steps=10_000)`. The step e counts updates
from 0. Any number of a rule may be a schedule. A schedule is plain data, goes through a recipe's JSON, and is computed
in float64 on the host for Python numbers, in the array's own library for arrays and under `jax.jit`.

- torch: `optcore.adapters.torch.scheduler(optimizer, schedule)`, or torch's names, as `CosineAnnealingLR`
- optax: `optcore.adapters.optax.schedule(schedule)`, or optax' names, as `cosine_decay_schedule`
- Keras: `optcore.adapters.keras.schedule(schedule)`, or Keras' names, as `CosineDecay`
- on a plateau: `optcore.plateau.reduce_on_plateau(like="torch" | "optax" | "keras")`, which remembers; in the
  adapters torch's `ReduceLROnPlateau`, optax' `reduce_on_plateau` and Keras' callback `ReduceLROnPlateau`
- a larger batch for a smaller rate: `optcore.recipes.growing_batch(recipe, start=..., limit=...)`

Each is drawn over 120 steps with `optcore plot NAME:PARAMETERS`; where libraries differ is in
[differences](differences.md).
"""


def modules() -> dict[str, list[str]]:
    """Return the names of the schedules by their module, in the order of the file."""
    found = {}
    for info in pkgutil.iter_modules(optcore.schedules.__path__):
        module = importlib.import_module(f"optcore.schedules.{info.name}")
        text = inspect.getsource(module)
        own = [name for name, law in registry.schedules().items() if getattr(module, name, None) is law]
        own = [name for name in own if re.search(rf"^def {name}\(", text, re.M)]
        found[info.name] = sorted(own)
    return found


def page() -> str:
    """Return the text of docs/schedules.md."""
    rows = {row["name"]: row for row in catalogue()}
    lines = HEAD.format(count=len(rows)).splitlines()
    for module, names in modules().items():
        doc = inspect.getdoc(importlib.import_module(f"optcore.schedules.{module}")) or ""
        lines += ["", f"## {doc.rstrip('.')}", "", f"![{', '.join(names)}](pictures/{module}.svg)", ""]
        lines += ["| name | parameters | what it is | source | drawn with |", "| --- | --- | --- | --- | --- |"]
        for name in names:
            row = rows[name]
            like = f"; `like=` {', '.join(row['conventions'])}" if row["conventions"] else ""
            cells = [f"`{name}`", f"{_parameters(row)}{like}", row["doc"], row["source"], f"`{EXAMPLES[name]}`"]
            lines.append("| " + " | ".join(re.sub(r"``|:data:`(\w+)`", _code, cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _code(found: re.Match[str]) -> str:
    return f"`{found[1]}`" if found[1] else "`"


def _parameters(row: dict[str, Any]) -> str:
    words = (p["name"] if p["default"] == "required" else f"{p['name']} = {p['default']}" for p in row["parameters"])
    return ", ".join(f"`{word}`" for word in words)


def draw() -> None:
    """Write one picture for each module."""
    for module, names in modules().items():
        laws = {name: plot.read(f"{name}:{EXAMPLES[name]}") for name in names}
        panels = [{name: plot.values_of(law, STEPS)} for name, law in laws.items()]
        figure = plot.curves_figure(panels, names)
        plot.save(figure, str(DOCS / "pictures" / f"{module}.svg"))


if __name__ == "__main__":
    FILE.write_text(page())
    draw()
