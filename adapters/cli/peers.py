"""The other libraries' optimizers beside ours, found by the rule's name.

``python -m optcore.adapters.cli.peers FRAMEWORK REQUEST`` times contests in a process of its own, since Keras has
one backend a process, and prints a JSON line for each rule.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from optcore import registry
from optcore.adapters import native
from optcore.adapters.cli.contest import Contest, Shapes, able, elements, interleaved, shapes_of
from optcore.rule import Rule

RATE = 1e-3
ALIASES: Mapping[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("torch", "momentum"): ("SGD", {"momentum": 0.9}),
    ("torch", "nesterov"): ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("torch", "amsgrad"): ("Adam", {"amsgrad": True}),
    ("torch", "centered_rmsprop"): ("RMSprop", {"centered": True}),
    ("pytorch_optimizer", "signum"): ("SignSGD", {}),
    ("optax", "momentum"): ("sgd", {"momentum": 0.9}),
    ("optax", "nesterov"): ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("keras", "velocity"): ("SGD", {"momentum": 0.9}),
    ("keras", "nesterov_velocity"): ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("keras", "amsgrad"): ("Adam", {"amsgrad": True}),
    ("keras", "centered_rmsprop"): ("RMSprop", {"centered": True}),
}
"""The rules that a library has under another rule's name; every other peer is found by the rule's own name."""

FRAMEWORKS: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "optax": ("jax", "optax"),
    "keras": ("keras", "torch"),
}
"""The packages that must be installed for a contest in a framework."""


def installed() -> list[str]:
    """The frameworks in which a contest can be held here."""
    return [name for name, needs in FRAMEWORKS.items() if all(importlib.util.find_spec(n) for n in needs)]


def _fold(name: str) -> str:
    return name.replace("_", "").lower()


def peer(library: str, rule: Rule, module: Any) -> tuple[Callable[..., Any], dict[str, Any]] | None:
    """Return a library's function for this rule, and the arguments that make it this rule; None if it has none."""
    wanted, options = ALIASES.get((library, rule.name), (rule.name, {}))
    for name in dir(module):
        if _fold(name) == _fold(wanted):
            found = getattr(module, name)
            own = not getattr(found, "__module__", "").startswith("torch.") or library == "torch"
            if callable(found) and own and {"lr", "learning_rate"} & set(inspect.signature(found).parameters):
                return found, options
    return None


def _title(rule: Rule) -> str:
    return str(getattr(rule, "title", rule.name))


def tensors(shapes: Shapes) -> list[Any]:
    """Parameters of torch with gradients."""
    import torch

    torch.manual_seed(0)
    made = []
    for shape in shapes:
        p = torch.nn.Parameter(torch.rand(shape) + 0.5)
        p.grad = torch.rand(shape).sub_(0.5)
        made.append(p)
    return made


def on_torch(rule: Rule, shapes: Shapes) -> Contest:
    """Our torch adapter, torch's loop over tensors, its foreach and fused forms, and pytorch_optimizer."""
    import torch

    from optcore.adapters import torch as ours

    contest: Contest = {"ours": getattr(ours, _title(rule))(tensors(shapes), lr=RATE).step}
    found = peer("torch", rule, torch.optim)
    if found:
        make, options = found
        known = inspect.signature(make).parameters
        forms = {"torch single": {"foreach": False}, "torch foreach": {"foreach": True}, "torch fused": {"fused": True}}
        fitting = {name: how for name, how in forms.items() if set(how) <= set(known)}
        for name, how in (fitting or {"torch single": {}}).items():
            contest[name] = _late(make, shapes, {**options, **how})
    if importlib.util.find_spec("pytorch_optimizer"):
        import pytorch_optimizer

        found = peer("pytorch_optimizer", rule, pytorch_optimizer)
        if found:
            contest["pytorch_optimizer"] = _late(found[0], shapes, found[1])
    return contest


def _late(make: Callable[..., Any], shapes: Shapes, options: dict[str, Any]) -> Callable[[], Any]:
    """The step of an optimizer of torch's kind, which is made by the first call: it may refuse what it is given."""
    made: list[Callable[[], Any]] = []

    def step() -> None:
        if not made:
            made.append(make(tensors(shapes), lr=RATE, **options).step)
        made[0]()

    return step


def on_optax(rule: Rule, shapes: Shapes) -> Contest:
    """Our optax adapter and optax, both under jit with parameters and state donated."""
    import jax
    import optax
    import optax.contrib

    from optcore.adapters import optax as ours

    rng = np.random.default_rng(0)

    def arrays(low: float) -> list[Any]:
        return [jax.numpy.asarray(rng.random(shape, dtype=np.float32) + np.float32(low)) for shape in shapes]

    grads = arrays(-0.5)

    def step_of(transformation: Any) -> Callable[[], Any]:
        def update(params: Any, state: Any, grads: Any) -> Any:
            updates, state = transformation.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        compiled = jax.jit(update, donate_argnums=(0, 1))
        params = arrays(0.5)
        state = jax.tree.map(jax.numpy.copy, transformation.init(params))  # what starts as the parameter is donated too
        held = [params, state]

        def step() -> None:
            held[:] = jax.block_until_ready(compiled(*held, grads))

        return step

    contest = {"ours": step_of(getattr(ours, rule.name)(learning_rate=RATE))}
    found = peer("optax", rule, optax) or peer("optax", rule, optax.contrib)
    if found:
        make, options = found
        contest["optax"] = step_of(make(learning_rate=RATE, **options))
    return contest


def on_keras(rule: Rule, shapes: Shapes) -> Contest:
    """Our Keras adapter and Keras, eager, on the backend that this process has."""
    import keras

    from optcore.adapters import keras as ours

    rng = np.random.default_rng(0)
    grads = [keras.ops.convert_to_tensor(rng.random(shape, dtype=np.float32) - np.float32(0.5)) for shape in shapes]

    def step_of(make: Callable[..., Any], options: dict[str, Any]) -> Callable[[], Any]:
        variables = [keras.Variable(rng.random(shape, dtype=np.float32) + np.float32(0.5)) for shape in shapes]
        optimizer = make(learning_rate=RATE, **options)
        optimizer.build(variables)
        return lambda: optimizer.apply(grads, variables)

    contest = {"ours": step_of(getattr(ours, _title(rule)), {})}
    found = peer("keras", rule, keras.optimizers)
    if found:
        contest["keras"] = step_of(*found)
    return contest


CONTESTS: Mapping[str, Callable[[Rule, Shapes], Contest]] = {"torch": on_torch, "optax": on_optax, "keras": on_keras}


def offered(framework: str, rule: Rule) -> bool:
    """Tell whether our adapter has a constructor for the rule that takes a learning rate."""
    name = rule.name if framework == "optax" else _title(rule)
    if name not in native.names(framework):
        return False
    return bool({"lr", "learning_rate"} & set(native.constructor(framework, name).defaults))


def main(framework: str, request: str) -> None:
    """Time every rule of the request and print what was measured, one line each."""
    wanted = json.loads(request)
    for name in wanted["rules"]:
        rule = registry.rules().get(name)
        result: dict[str, Any] = {"rule": name, "seconds": {}, "failed": {}}
        if rule is None:
            result["failed"] = {framework: "a peer is found by the name of a rule alone"}
        elif offered(framework, rule):
            shapes = shapes_of(rule, wanted["work"], wanted["size"])
            contest, result["failed"] = able(CONTESTS[framework](rule, shapes))
            if len(contest) > 1:
                result["seconds"] = interleaved(contest, wanted["rounds"])
                result["elements"] = elements(shapes)
            contest.clear()
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
