"""The picture of the demo: the loss of every framework, and how far each is from NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from optcore.adapters.cli.plot import pyplot

__all__ = ["losses_figure"]

WINDOWS = 100
"""The mean of so many parts of the training is drawn: the loss of a single batch is noise."""
STYLES: tuple[Any, ...] = ("-", (0, (5, 5)), (0, (1, 2)), (0, (5, 2, 1, 2)), (0, (3, 6)), (0, (1, 5)))
"""Lines through which one sees the others, which lie beneath where all agree."""


def losses_figure(losses: dict[str, Any]) -> Any:
    """The training loss over the steps; below it the distance of each framework's loss to NumPy's, where there are any.

    Both axes of values are logarithmic. The legend stands beside the axes, and never on a curve.
    """
    others = [label for label in losses if label != "NumPy"]
    plt = pyplot()
    size = (8.0, 5.6) if others else (8.0, 3.8)
    figure, axes = plt.subplots(1 + bool(others), 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
    top, reference = axes[0][0], losses["NumPy"]
    colors = {label: f"C{i}" for i, label in enumerate(losses)}
    top.plot(np.arange(1, len(reference) + 1), reference, color="0.85", linewidth=0.5, label="one batch, NumPy")
    for style, (label, values) in zip(STYLES * len(losses), losses.items(), strict=False):
        top.plot(*_means(values), linestyle=style, color=colors[label], linewidth=0.9, label=label)
    top.set(ylabel="training loss", title="The same recipe in every framework" if others else "The recipe on NumPy")
    if others:
        below = axes[1][0]
        for label in others:
            steps, far = _largest(np.abs(losses[label] - reference))
            below.plot(steps, far, color=colors[label], linewidth=0.9, label=label)
        below.set(ylabel="distance to NumPy's loss")
        below.set_yscale("log")
    axes[-1][0].set_xlabel("step")
    _decades(top, reference)
    for axis in axes[:, 0]:
        axis.set_xlim(0, len(reference))
        axis.grid(True, which="major", color="0.93", linewidth=0.5)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*top.get_legend_handles_labels(), fontsize=8, loc="outside right upper", frameon=False)
    return figure


def _parts(values: Any) -> tuple[Any, Any]:
    """The values in parts of equal length, and the step in the middle of each."""
    width = max(len(values) // WINDOWS, 1)
    rows = values[: len(values) // width * width].reshape(-1, width)
    return np.arange(len(rows)) * width + (width + 1) / 2, rows


def _means(values: Any) -> tuple[Any, Any]:
    steps, rows = _parts(values)
    return steps, rows.mean(axis=1)


def _largest(values: Any) -> tuple[Any, Any]:
    """The largest value of each part, and a gap where all are 0, which has no logarithm."""
    steps, rows = _parts(values)
    largest = rows.max(axis=1)
    return steps, np.where(largest > 0, largest, np.nan)


def _decades(axis: Any, values: Any) -> None:
    """A logarithmic axis with a number at 1, 2 and 5 of every decade, and so at some ticks of any range."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_yscale("log")
    positive = values[values > 0]
    if positive.size:
        axis.set_ylim(float(np.quantile(positive, 0.01)) / 1.2, float(positive.max()) * 1.1)
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(LogLocator(subs=tuple(range(1, 10))))
    axis.yaxis.set_minor_formatter(NullFormatter())
