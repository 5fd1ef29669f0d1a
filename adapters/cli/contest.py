"""Steps of several optimizers timed in turns, on the tensors of real networks.

What is timed together takes turns in one process, so that whatever else the machine does strikes all alike;
of each contestant the median counts.
"""

from __future__ import annotations

import gc
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from optcore.backends import Optimizer
from optcore.recipe import Recipe
from optcore.rule import Rule, rule
from optcore.typing import Array, Namespace, Scalar

Contest: TypeAlias = dict[str, Callable[[], Any]]
Shapes: TypeAlias = list[tuple[int, ...]]

SAMPLE = 2e-3
"""Seconds that one timing takes at least: shorter steps are made several times."""
MATRIX = 1 << 18
"""Elements at most of a law of rows, columns or matrices, whose time is not that of memory."""


def tensor(size: int) -> Shapes:
    """One tensor of this many elements."""
    columns = math.gcd(size, 1024)
    return [(size // columns, columns)]


def gpt2(_: int) -> Shapes:
    """The 148 tensors of GPT-2 small, 124 million elements."""
    n = 768
    block: Shapes = [(n,), (n,), (n, 3 * n), (3 * n,), (n, n), (n,), (n,), (n,), (n, 4 * n), (4 * n,), (4 * n, n), (n,)]
    return [(50257, n), (1024, n), *(block * 12), (n,), (n,)]


def small(_: int) -> Shapes:
    """400 small tensors: 200 of 64 x 64 and 200 of 64."""
    return [(64, 64), (64,)] * 200


def resnet50(_: int) -> Shapes:
    """The 161 tensors of a ResNet-50, 26 million elements."""
    shapes: Shapes = [(64, 3, 7, 7), (64,), (64,)]
    before = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(blocks):
            for shape in ((width, before, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)):
                shapes += [shape, shape[:1], shape[:1]]
            if i == 0:
                shapes += [(4 * width, before, 1, 1), (4 * width,), (4 * width,)]
            before = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


WORKS: Mapping[str, Callable[[int], Shapes]] = {f.__name__: f for f in (tensor, gpt2, small, resnet50)}
SHOWN: Mapping[str, str] = {
    "tensor": "one tensor",
    "gpt2": "GPT-2 small's 148 tensors",
    "small": "400 small tensors",
    "resnet50": "ResNet-50's 161 tensors",
}


def shapes_of(rule: Rule, work: str, size: int) -> Shapes:
    """The tensors that a rule is timed on.

    A law of rows, columns or matrices has one square matrix, and one that takes leaves of another number of axes such
    a leaf, with sides of one length.
    """
    if not rule.axes and rule.ndim is None:
        return WORKS[work](size)
    axes = rule.ndim or 2
    elements = min(size, MATRIX) if rule.axes else size
    side = math.isqrt(elements) if axes == 2 else max(1, round(elements ** (1 / axes)))
    return [(side,) * axes]


def elements(shapes: Shapes) -> int:
    """The number of elements of all tensors."""
    return sum(math.prod(shape) for shape in shapes)


class StreamState(NamedTuple):
    """The state of the stream: the two arrays that it writes beside the parameter."""

    m: Array  #: a decaying sum of gradients; unit [g]
    v: Array  #: another; unit [g]


@rule(StreamState)
def stream(xp: Namespace, p: Array, g: Array, s: StreamState, t: Scalar) -> tuple[Array, StreamState]:
    """Four arrays read and three written, with one addition for each and the rate: what memory gives."""
    del xp, p, t
    return g, StreamState(m=s.m + g, v=s.v - g)


def on_numpy(recipe: Recipe | Rule, shapes: Shapes, rng: Any) -> Callable[[], Any]:
    """The step of a recipe on NumPy arrays, in place."""
    optimizer = Optimizer(recipe)
    params = [rng.random(shape, dtype=np.float32) + np.float32(0.5) for shape in shapes]
    grads = [rng.random(shape, dtype=np.float32) - np.float32(0.5) for shape in shapes]
    held = [params, optimizer.init(params)]

    def step() -> None:
        held[0], held[1] = optimizer.update(held[0], grads, held[1], donate=True)

    return step


def interleaved(contest: Contest, rounds: int) -> dict[str, float]:
    """The median seconds of each contestant's step."""
    times = {}
    for name, step in contest.items():
        for _ in range(3):  # states, kernels and traced graphs are made, and then ready
            begun = perf_counter()
            step()
            times[name] = max(1, math.ceil(SAMPLE / (perf_counter() - begun)))
    spent: dict[str, list[float]] = {name: [] for name in contest}
    order = list(contest)
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name in order:
                step = contest[name]
                begun = perf_counter()
                for _ in range(times[name]):
                    step()
                spent[name].append((perf_counter() - begun) / times[name])
            order.append(order.pop(0))  # no one always comes after the same
    finally:
        if collects:
            gc.enable()
    return {name: median(values) for name, values in spent.items()}


def able(contest: Contest) -> tuple[Contest, dict[str, str]]:
    """Those who can make a step, and for each peer who cannot the reason; an error of ours is raised."""
    fit: Contest = {}
    failed: dict[str, str] = {}
    for name, step in contest.items():
        try:
            step()
            fit[name] = step
        except Exception as error:  # whatever a peer raises is its result
            if name == "ours":
                raise
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return fit, failed


def working(*arguments: str, **environment: str) -> Iterator[Any]:
    """Run Python as a process of its own and yield the JSON lines it prints; ValueError with its last words."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *arguments]
    environment = {**os.environ, **quiet, **environment}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
        except BaseException:
            process.kill()  # who reads the lines has stopped
            raise
        if process.wait() != 0:
            errors.seek(0)
            raise ValueError(f"{' '.join(arguments)[:200]} failed: {errors.read().strip()[-2000:]}")
