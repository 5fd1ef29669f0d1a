"""One training of the demo in one framework, run as a process of its own.

``python -m optcore.adapters.cli.workers FRAMEWORK RECIPE EPOCHS OUT`` prints ``step loss`` lines and writes the
parameters, losses and step times to OUT. A process of its own, since Keras has one backend a process and
JAX one precision.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from optcore.adapters.cli import task as tasks
from optcore.recipe import Recipe

ROUNDS = 100
"""Timed steps of either optimizer, interleaved; the medians are reported."""
Report = Callable[[int, float], None]
Result = tuple[list[Any], list[float], dict[str, float]]


def _times(ours: Callable[[], Any], own: Callable[[], Any] | None) -> dict[str, float]:
    """Median seconds of a step of ours and of the framework's own AdamW, in turns."""
    spent: dict[str, list[float]] = {"ours": [], "own": []}
    for _ in range(ROUNDS):
        for name, step in (("ours", ours), ("own", own)):
            if step is not None:
                begun = time.perf_counter()
                step()
                spent[name].append(time.perf_counter() - begun)
    return {name: median(values) for name, values in spent.items() if values}


def numpy(recipe: Recipe, task: tasks.Task, report: Report) -> Result:
    """Pure functions on NumPy arrays, with back-propagation written out."""
    from optcore.backends import Optimizer

    optimizer = Optimizer(recipe)
    params = dict(zip(tasks.NAMES, task.start, strict=True))
    state = optimizer.init(params)
    losses = []
    for i, (x, y) in enumerate(task.batches()):
        loss, grads = tasks.loss_and_gradients(params.values(), x, y)
        named = dict(zip(tasks.NAMES, grads, strict=True))
        params, state = optimizer.update(params, named, state)
        losses.append(loss)
        report(i, loss)
    return list(params.values()), losses, _times(lambda: optimizer.update(params, named, state), None)


def torch(recipe: Recipe, task: tasks.Task, report: Report) -> Result:
    """A torch.nn module under a native torch optimizer."""
    import torch

    from optcore.adapters.torch import from_recipe

    torch.set_default_dtype(torch.float64)
    w1, b1, w2, b2 = (torch.tensor(x) for x in task.start)
    model = torch.nn.Sequential(torch.nn.Linear(*w1.shape), torch.nn.Tanh(), torch.nn.Linear(*w2.shape))
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), (w1.T, b1, w2.T, b2), strict=True):
            parameter.copy_(value)
    optimizer = from_recipe(recipe, model.named_parameters())
    losses = []
    for i, (x, y) in enumerate(task.batches()):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        report(i, losses[-1])
    params = [p.detach().numpy().T.copy() for p in model.parameters()]
    own = torch.optim.AdamW(model.parameters())
    return params, losses, _times(optimizer.step, own.step)


def optax(recipe: Recipe, task: tasks.Task, report: Report) -> Result:
    """A jitted JAX training step under a native optax transformation."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import optax

    from optcore.adapters.optax import from_recipe

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2 = (params[name] for name in tasks.NAMES)
        logits = jnp.tanh(x @ w1 + b1) @ w2 + b2
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    transformation = from_recipe(recipe)

    @jax.jit
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        updates, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss, grads

    params = {name: jnp.asarray(x) for name, x in zip(tasks.NAMES, task.start, strict=True)}
    state = transformation.init(params)
    losses = []
    for i, (x, y) in enumerate(task.batches()):
        params, state, loss, grads = step(params, state, x, y)
        losses.append(float(loss))
        report(i, losses[-1])

    def timed(tx: Any) -> Callable[[], Any]:
        update, start = jax.jit(tx.update), tx.init(params)
        jax.block_until_ready(update(grads, start, params))
        return lambda: jax.block_until_ready(update(grads, start, params))

    return [np.asarray(params[n]) for n in tasks.NAMES], losses, _times(timed(transformation), timed(optax.adamw(1e-3)))


def keras(recipe: Recipe, task: tasks.Task, report: Report) -> Result:
    """A Keras model that is not built before ``fit``, under a native Keras optimizer."""
    if os.environ.get("KERAS_BACKEND") == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    import keras

    from optcore.adapters.keras import from_recipe
    from optcore.backends import of

    keras.backend.set_floatx("float64")
    # Keras' own layers and losses compute in float32 on JAX and torch even where floatx is float64
    # (keras.backend.result_type), so this layer and loss are written on the arrays themselves.

    class Network(keras.layers.Layer):  # type: ignore[misc]
        def build(self, _: Any) -> None:
            """Two matrices and two biases, from the task's start."""
            self.parts = [
                self.add_weight(
                    shape=x.shape,
                    initializer=lambda _, dtype=None, x=x: keras.ops.convert_to_tensor(x, dtype=dtype),
                )
                for x in task.start
            ]

        def call(self, x: Any) -> Any:
            """Logits of a batch, with tanh written by exp."""
            w1, b1, w2, b2 = (keras.ops.convert_to_tensor(v) for v in self.parts)
            return (1.0 - 2.0 / (of(w1).xp.exp(2.0 * (x @ w1 + b1)) + 1.0)) @ w2 + b2

        def compute_output_shape(self, shape: Any) -> Any:
            """Return the shape of the output, which Keras cannot find by tracing this layer."""
            return (shape[0], tasks.CLASSES)

    def cross_entropy(y: Any, logits: Any) -> Any:
        xp = of(logits).xp
        log_total = xp.log(xp.sum(xp.exp(logits), axis=1, keepdims=True))
        return -xp.sum(y * (logits - log_total), axis=1)

    model = keras.Sequential([Network()])
    losses: list[float] = []

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(task.order)

        def __getitem__(self, i: int) -> Any:
            rows = task.order[i]
            return task.train[0][rows], np.eye(tasks.CLASSES)[task.train[1][rows]]

    class Losses(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            """Keras logs the mean since the start of the epoch."""
            before = sum(losses)
            losses.append(float(logs["loss"]) * (batch + 1) - before)
            report(batch, losses[-1])

    optimizer = from_recipe(recipe)
    model.compile(optimizer=optimizer, loss=cross_entropy)
    model.fit(Batches(), epochs=1, shuffle=False, verbose=0, callbacks=[Losses()])
    params = [np.array(keras.ops.convert_to_numpy(v)) for v in model.trainable_variables]
    grads = [keras.ops.ones_like(v.value) for v in model.trainable_variables]
    own = keras.optimizers.AdamW()
    own.build(model.trainable_variables)
    timed = [lambda o=o: o.apply(grads, model.trainable_variables) for o in (optimizer, own)]
    return params, losses, _times(*timed)


WORKERS = {"numpy": numpy, "torch": torch, "optax": optax, "keras": keras}


def main(framework: str, recipe: str, epochs: str, out: str) -> None:
    """Train and write what came out."""
    task = tasks.load(int(epochs))
    stride = max(len(task.order) // 100, 1)

    def report(step: int, loss: float) -> None:
        if step % stride == 0 or step == len(task.order) - 1:
            print(f"step {step + 1} {loss:.6f}", flush=True)

    params, losses, times = WORKERS[framework](Recipe.from_json(Path(recipe).read_text()), task, report)
    arrays = {f"param{i}": p for i, p in enumerate(params)}
    np.savez(out, losses=losses, **arrays, **times)


if __name__ == "__main__":
    main(*sys.argv[1:])
