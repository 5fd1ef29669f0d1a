"""``optcore plot``: schedules as curves, and the path of a rule on three surfaces."""

from __future__ import annotations

import argparse
import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from optcore.adapters.cli.written import read
from optcore.backends.base import missing
from optcore.recipe import Recipe
from optcore.rule import Rule
from optcore.schedule import Schedule

MARKS = "*o+x#@%&"
STYLES = ("-", "--", ":", "-.")
"""Lines through which one sees a curve beneath."""
LARGEST = 1e300
"""What is larger is left out of a picture, as an infinite value and a NaN are."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "what",
        nargs="+",
        help="schedules as cosine:peak=1e-3,steps=1000, or rules as adam:lr=0.01 or cautious(adam:lr=0.01); several",
    )
    parser.add_argument("--steps", type=int, help="how many steps to draw; 1000 for schedules, 200 for rules")
    parser.add_argument("-o", "--output", help="the picture to write, .png or .svg; text in the terminal without it")


def run(options: argparse.Namespace) -> int:
    """Draw what was asked for."""
    things, labels = [read(text) for text in options.what], _labels(options.what)
    if options.output is not None:
        _kind(options.output)
    if options.steps is not None and options.steps < 2:
        raise ValueError(f"--steps {options.steps} is no curve; give at least 2")
    if all(isinstance(thing, Schedule) for thing in things):
        drawn = options.steps or 1000
        curves = {}
        for label, thing in zip(labels, things, strict=True):
            values = values_of(thing, drawn)
            gaps = int(np.isnan(values).sum())
            if gaps == drawn:
                raise ValueError(f"{label}: no value of {drawn} steps is a number up to {LARGEST:g}")
            curves[f"{label}, no number at {gaps} of {drawn} steps" if gaps else label] = values
        if options.output is None:
            print("\n".join(text_plot(curves)))
            return 0
        figure = curves_figure([curves], [None])
    elif all(isinstance(thing, Rule) for thing in things):
        if options.output is None:
            raise ValueError("a path is drawn into a picture; give -o FILE.png or FILE.svg")
        figure = paths_figure(dict(zip(labels, things, strict=True)), options.steps or 200)
    else:
        raise ValueError("schedules and rules have no picture in common; draw them one after the other")
    save(figure, options.output)
    print(options.output)
    return 0


def _labels(texts: Sequence[str]) -> list[str]:
    """One label for each text; those that are written again are numbered."""
    return [text if (n := texts[:i].count(text)) == 0 else f"{text} ({n + 1})" for i, text in enumerate(texts)]


def values_of(law: Schedule, steps: int) -> np.ndarray:
    """The values of the first steps, NaN where there is none that can be drawn."""
    values = np.array([law(e) for e in range(steps)], dtype=float)
    return np.where(np.abs(values) <= LARGEST, values, np.nan)


def text_plot(curves: dict[str, np.ndarray], width: int = 72, height: int = 16) -> list[str]:
    """The curves in letters, one mark for each, with the range of values at the side; where some meet, in turns."""
    every = np.concatenate(list(curves.values()))
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    rows = [[""] * width for _ in range(height)]
    for mark, values in zip(MARKS * len(curves), curves.values(), strict=False):
        for column in range(width):
            value = values[round(column * (len(values) - 1) / (width - 1))]
            if np.isnan(value):
                continue
            up = round((value - low) / (high - low) * (height - 1)) if high > low else 0
            rows[height - 1 - up][column] += mark
    side = [f"{high:.3g}", *[""] * (height - 2), f"{low:.3g}"]
    steps = max(len(v) for v in curves.values())
    drawn = ["".join(cell[i % len(cell)] if cell else " " for i, cell in enumerate(row)) for row in rows]
    lines = [f"{label:>9} |{row}".rstrip() for label, row in zip(side, drawn, strict=True)]
    axis = f"{'':9} +{'-' * width}"
    end = f"{'':11}0{steps - 1:>{width - 1}}"
    return [*lines, axis, end, *(f"{m} {text}" for m, text in zip(MARKS * len(curves), curves, strict=False))]


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise missing("matplotlib", "plot") from None
    matplotlib.use("agg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "optcore", "path.simplify_threshold": 0.3})
    import matplotlib.pyplot as plt

    return plt


def _kind(file: str) -> str:
    """The ending of a picture's name."""
    kind = Path(file).suffix
    if kind not in (".png", ".svg"):
        raise ValueError(f"{file}: pictures are .png or .svg, with a name before the ending, as in curves.svg")
    return kind


def save(figure: Any, file: str) -> None:
    """Write a figure; an SVG without the date, so that the same picture is the same file, and to 1/100 of a point."""
    if _kind(file) == ".png":
        figure.savefig(file, dpi=120)
    else:
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        short = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text.getvalue())
        Path(file).write_text("\n".join(line.strip() for line in short.splitlines() if line.strip()) + "\n")
    _pyplot().close(figure)


def curves_figure(panels: Sequence[dict[str, np.ndarray]], titles: Sequence[str | None]) -> Any:
    """One panel for each group of curves, three in a row; a single panel has a legend."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    size = (7.0, 3.5) if len(panels) == 1 else (3.0 * columns, 1.9 * rows)
    figure, axes = _pyplot().subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis, curves, title in zip(axes.flat, panels, titles, strict=False):
        for style, (text, values) in zip(itertools.cycle(STYLES), curves.items(), strict=False):
            axis.plot(values, style, label=text, linewidth=1.2)
        axis.tick_params(labelsize=7)
        axis.locator_params(nbins=4)
        if title:
            axis.set_title(title, fontsize=9)
        elif len(panels) == 1:
            axis.legend(fontsize=7)
            axis.set_xlabel("step")
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    return figure


@dataclass(frozen=True)
class Surface:
    """A function of two numbers with its gradient, a start and a minimum."""

    name: str
    f: Callable[[Any, Any], Any]
    gradient: Callable[[float, float], tuple[float, float]]
    start: tuple[float, float]
    minimum: tuple[float, float]
    window: tuple[float, float, float, float]


def _beale(x: float, y: float) -> tuple[float, float]:
    rows = [(c - x + x * y**k, y**k - 1.0, k * x * y ** (k - 1)) for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
    return sum(2.0 * r * dx for r, dx, _ in rows), sum(2.0 * r * dy for r, _, dy in rows)


SURFACES = (
    Surface(
        "Rosenbrock",
        lambda x, y: (1.0 - x) ** 2 + 100.0 * (y - x * x) ** 2,
        lambda x, y: (-2.0 * (1.0 - x) - 400.0 * x * (y - x * x), 200.0 * (y - x * x)),
        (-1.2, 1.0),
        (1.0, 1.0),
        (-2.0, 2.0, -1.0, 3.0),
    ),
    Surface(
        "Beale",
        lambda x, y: sum((c - x + x * y**k) ** 2 for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))),
        _beale,
        (1.0, 1.0),
        (3.0, 0.5),
        (-1.0, 4.5, -2.0, 2.0),
    ),
    Surface(
        "quadratic, condition 100",
        lambda x, y: 0.5 * (x * x + 100.0 * y * y),
        lambda x, y: (x, 100.0 * y),
        (-4.0, 1.0),
        (0.0, 0.0),
        (-5.0, 5.0, -2.0, 2.0),
    ),
)


def path(rule: Rule, surface: Surface, steps: int, lr: float | None = None) -> np.ndarray:
    """The points that a rule visits, which is given them as a row where it takes arrays of more axes than one.

    It ends where they are no longer finite.
    """
    from optcore.backends import Optimizer

    optimizer = Optimizer(Recipe(rule, **({} if lr is None else {"lr": lr})))
    shape = (1,) * ((rule.ndim or 1) - 1) + (2,)
    tree = {"w": np.array(surface.start).reshape(shape)}
    state, points = optimizer.init(tree), [tree["w"].ravel()]
    for _ in range(steps):
        gradient = np.array(surface.gradient(*map(float, points[-1]))).reshape(shape)
        tree, state = optimizer.update(tree, {"w": gradient}, state)
        if not np.isfinite(tree["w"]).all() or np.abs(tree["w"]).max() > 1e6:
            break
        points.append(tree["w"].ravel())
    return np.array(points)


def _has_rate(rule: Any) -> bool:
    """Whether a rate was given, to the rule or to a rule within it."""
    return "lr" in rule.bound or any(map(_has_rate, getattr(rule, "parts", ())))


def best_path(rule: Rule, surface: Surface, steps: int) -> np.ndarray:
    """The path at the rule's own rate where one was given, else at the power of ten that ends lowest."""
    if _has_rate(rule):
        return path(rule, surface, steps)
    found = [path(rule, surface, steps, 10.0**k) for k in range(-5, 2)]
    whole = [points for points in found if len(points) == steps + 1] or found
    return min(whole, key=lambda points: float(surface.f(*points[-1])))


def paths_figure(rules: dict[str, Rule], steps: int) -> Any:
    """The rules' paths over the level lines of three surfaces."""
    figure, axes = _pyplot().subplots(1, len(SURFACES), figsize=(12.0, 3.8), layout="constrained")
    for axis, surface in zip(axes, SURFACES, strict=True):
        left, right, low, high = surface.window
        x, y = np.meshgrid(np.linspace(left, right, 120), np.linspace(low, high, 120))
        axis.contour(x, y, np.log1p(surface.f(x, y)), levels=14, colors="0.8", linewidths=0.6)
        for text, rule in rules.items():
            points = best_path(rule, surface, steps)
            axis.plot(points[:, 0], points[:, 1], ".-", markersize=2, linewidth=0.8, label=text)
        axis.plot(*surface.minimum, "k+")
        axis.set(xlim=(left, right), ylim=(low, high))
        axis.set_title(surface.name, fontsize=9)
        axis.tick_params(labelsize=7)
    axes[0].legend(fontsize=7)
    return figure
