"""The demo's task: handwritten digits, a two-layer network, and its back-propagation in NumPy.

The images are the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI
Machine Learning Repository, 1998, licensed CC BY 4.0: 1,797 images of 8 by 8 pixels in 0..16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from optcore import clipping, registry, schedules
from optcore.hyper import REQUIRED
from optcore.recipe import Recipe

HIDDEN, CLASSES, BATCH = 64, 10, 32
NAMES = ("hidden/weight", "hidden/bias", "output/weight", "output/bias")
"""Parameters in the order in which every framework gives them back, matrices as in x out."""


@dataclass(frozen=True)
class Task:
    """Images and labels for training and testing, the start, and the batches of every step."""

    train: tuple[Any, Any]
    test: tuple[Any, Any]
    start: tuple[Any, ...]
    order: Any  #: indices of the training images, (steps, batch)

    def batches(self) -> Iterator[tuple[Any, Any]]:
        """The batches in order."""
        for rows in self.order:
            yield self.train[0][rows], self.train[1][rows]


def load(epochs: int) -> Task:
    """The task for so many epochs; the same on every call."""
    file = resources.files("optcore.adapters.cli").joinpath("digits.npz")
    with file.open("rb") as stream, np.load(stream) as data:
        images, labels = data["images"] / 16.0, data["labels"].astype(np.int64)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    cut = len(images) * 4 // 5
    rows, rest = order[:cut], order[cut:]
    steps = cut // BATCH
    batches = np.concatenate([rng.permutation(cut)[: steps * BATCH].reshape(steps, BATCH) for _ in range(epochs)])
    start = (
        rng.standard_normal((64, HIDDEN)) / 8.0,
        np.zeros(HIDDEN),
        rng.standard_normal((HIDDEN, CLASSES)) / HIDDEN**0.5,
        np.zeros(CLASSES),
    )
    return Task((images[rows], labels[rows]), (images[rest], labels[rest]), start, batches)


def default_recipe(steps: int, rule: str = "adamw") -> Recipe:
    """The rule with warm-up, cosine and global-norm clipping; matrix rules leave the biases to Adam."""
    found = registry.find(rule)
    if not hasattr(found, "values"):
        raise ValueError(f"{rule} takes rules; write a recipe file and give it by --recipe")
    if found.ndim == 2:
        found = registry.find("matrices")(found, registry.find("adam"))
    peak = 3e-3 if rule == "adamw" else found.values()["lr"]
    cosine = schedules.cosine(peak=peak, steps=steps - steps // 10)
    lr = schedules.warmup(steps=max(steps // 10, 1), then=cosine)
    missing = {name: 1.0 for name, h in found.hypers.items() if h.default is REQUIRED}
    return Recipe(found.bind(**missing), lr=lr, clip=clipping.clip_by_global_norm(max_norm=1.0))


def loss_and_gradients(params: Any, x: Any, y: Any) -> tuple[float, list[Any]]:
    """Mean cross-entropy and its gradient in each parameter."""
    w1, b1, w2, b2 = params
    hidden = np.tanh(x @ w1 + b1)
    logits = hidden @ w2 + b2
    logits = logits - logits.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(logits).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    loss = float((log_total[:, 0] - logits[rows, y]).mean())
    delta = np.exp(logits - log_total)
    delta[rows, y] -= 1.0
    delta /= len(y)
    back = (delta @ w2.T) * (1.0 - hidden * hidden)
    return loss, [x.T @ back, back.sum(axis=0), hidden.T @ delta, delta.sum(axis=0)]


def accuracy(params: Any, task: Task) -> float:
    """The share of test images whose class is found."""
    w1, b1, w2, b2 = params
    x, y = task.test
    return float(((np.tanh(x @ w1 + b1) @ w2 + b2).argmax(axis=1) == y).mean())
