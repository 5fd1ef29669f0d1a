"""``optcore plot``: schedules as curves, and the path of a rule on three surfaces."""

from __future__ import annotations

import argparse
import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from optcore import registry
from optcore.adapters.cli.horizon import horizon
from optcore.adapters.cli.surfaces import SURFACES, Surface
from optcore.adapters.cli.written import read
from optcore.backends.base import missing
from optcore.compose import Combinator
from optcore.recipe import Recipe
from optcore.rule import Rule
from optcore.schedule import Schedule

MARKS = "*o+x#@%&"
STYLES = ("-", "--", ":", "-.")
"""Lines through which one sees a curve beneath."""
STEPS, PATH, PICTURE = 1000, 200, "optcore-plot.png"
"""The steps of a schedule without an end or a period, those of a rule, and the file that it is drawn into."""
POINTS = 20_000
"""The number of values that a curve has at most."""
LARGEST = 1e300
"""The largest value that a picture shows; larger, infinite and NaN values leave a gap."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "what",
        nargs="+",
        metavar="LAW",
        help="A schedule with its parameters, as cosine:peak=1e-3,steps=1000, or a rule, as adam:lr=0.01 or "
        "cautious(adam:lr=0.01); package.module:name for one of your own. Several are drawn together. A rule without "
        "lr takes the power of ten that ends lowest on each surface.",
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="Draw so many steps. Without it a schedule is drawn until it has come to its end, or over its periods, "
        f"and over {STEPS} steps where it has neither; a rule makes {PATH} steps.",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="Write the picture to this file, a .png or .svg. Without it schedules are drawn as text in the terminal, "
        f"and rules are drawn into {PICTURE} in this folder.",
    )


def run(options: argparse.Namespace) -> int:
    """Draw what was asked for."""
    things, labels = [read(text, bare=True) for text in options.what], _labels(options.what)
    things = [registry.applied(thing) if isinstance(thing, Combinator) else thing for thing in things]
    for thing in things:  # each says which parameter is missing
        thing(0) if isinstance(thing, Schedule) else thing.complete()
    if options.output is not None:
        _kind(options.output)
    if options.steps is not None and options.steps < 2:
        raise ValueError(f"--steps {options.steps} is no curve; give at least 2")
    if all(isinstance(thing, Schedule) for thing in things):
        drawn = options.steps or max((1 + n for thing in things if (n := horizon(thing))), default=STEPS)
        curves = {}
        for label, thing in zip(labels, things, strict=True):
            values = values_of(thing, drawn)
            gaps = int(np.isnan(values).sum())
            if gaps == len(values):
                raise ValueError(f"{label}: no value of {drawn} steps is a number up to {LARGEST:g}")
            curves[f"{label}, no number at {gaps} of {len(values)} steps" if gaps else label] = values
        if options.output is None:
            print("\n".join(text_plot(curves, drawn)))
            return 0
        figure = curves_figure([curves], [None], drawn)
    elif all(isinstance(thing, Rule) for thing in things):
        figure = paths_figure(dict(zip(labels, things, strict=True)), options.steps or PATH)
    else:
        raise ValueError("schedules and rules have no picture in common; draw them one after the other")
    file = options.output or PICTURE
    save(figure, file)
    print(file)
    return 0


def _labels(texts: Sequence[str]) -> list[str]:
    """One label for each text; those that are written again are numbered."""
    return [text if (n := texts[:i].count(text)) == 0 else f"{text} ({n + 1})" for i, text in enumerate(texts)]


def shown(steps: int) -> np.ndarray:
    """The steps that are drawn of so many: all, or some thousand that lie evenly."""
    return np.unique(np.linspace(0, steps - 1, min(steps, POINTS)).round().astype(np.int64))


def values_of(law: Schedule, steps: int) -> np.ndarray:
    """The values of the first steps, NaN where there is none that can be drawn; of very many steps a share."""
    values = np.array([law(int(e)) for e in shown(steps)], dtype=float)
    return np.where(np.abs(values) <= LARGEST, values, np.nan)


def text_plot(curves: dict[str, np.ndarray], steps: int, width: int = 72, height: int = 16) -> list[str]:
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
    drawn = ["".join(cell[i % len(cell)] if cell else " " for i, cell in enumerate(row)) for row in rows]
    lines = [f"{label:>9} |{row}".rstrip() for label, row in zip(side, drawn, strict=True)]
    axis = f"{'':9} +{'-' * width}"
    end = f"{'':11}0{steps - 1:>{width - 1}}"
    return [*lines, axis, end, *(f"{m} {text}" for m, text in zip(MARKS * len(curves), curves, strict=False))]


def pyplot() -> Any:
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
    pyplot().close(figure)


def curves_figure(
    panels: Sequence[dict[str, np.ndarray]], titles: Sequence[str | None], steps: int | None = None
) -> Any:
    """One panel for each group of curves, three in a row; a single panel has a legend below it.

    ``steps`` is how many steps the curves are drawn over, where they do not have a value for each.
    """
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    size = (7.0, 3.5) if len(panels) == 1 else (3.0 * columns, 1.9 * rows)
    figure, axes = pyplot().subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis, curves, title in zip(axes.flat, panels, titles, strict=False):
        for style, (text, values) in zip(itertools.cycle(STYLES), curves.items(), strict=False):
            axis.plot(shown(steps or len(values)), values, style, label=text, linewidth=1.2)
        axis.tick_params(labelsize=7)
        axis.locator_params(nbins=4)
        if title:
            axis.set_title(title, fontsize=9)
        elif len(panels) == 1:
            axis.set_xlabel("step")
            figure.legend(fontsize=7, loc="outside lower center", ncols=min(len(curves), 2), frameon=False)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    return figure


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
    """Tell whether a learning rate was given, to the rule or to a rule within it."""
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
    figure, axes = pyplot().subplots(1, len(SURFACES), figsize=(12.0, 3.8), layout="constrained")
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
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, fontsize=7, loc="outside lower center", ncols=min(len(rules), 4), frameon=False)
    return figure
