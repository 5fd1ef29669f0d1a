"""Every argument of a constructor has an effect: another value changes the numbers, or is refused by name."""

from __future__ import annotations

import inspect
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from arguments import FOUND, Walk, choices_of, differ, evidence

from optcore.adapters import native
from optcore.adapters import optax as ours
from optcore.adapters.native import schedules
from optcore.schedules import constant

CYCLE = {"init_value": 0.1, "peak_value": 0.5, "warmup_steps": 3, "decay_steps": 12}

RUN = {
    "foreach": "tensors of a list or one by one, to the same numbers",
    "fused": "one pass over memory or torch's operations, to the same numbers",
    "capturable": "torch's leave to capture a step into a CUDA graph",
    "differentiable": "whether autograd follows the step",
    "name": "the name of a Keras object in messages and files",
}
"""Arguments that say how to run, with what they change instead of numbers."""

MASKS = {"mask", "weight_decay_mask"}
"""Arguments that the optax adapter reads beside the recipe, at each step."""

BASE: dict[str, dict[str, Any]] = {
    "lora": {"rank": 1},
    "zclip": {"warmup": 3, "max_norm": 20.0, "threshold": 0.5},  # so that norms of the walk stand out
}
"""Values from which a constructor starts, where 0.1 or its default are not admissible."""

SPECIAL: dict[str, list[Any]] = {
    "axis": [0, 1, -1],
    "clip_value_fn": [lambda t: t],
    "exclude_layers": [["dense"]],
    "hessian_diagonal_fn": [object()],
    "ns_coeffs": ["dion", (3.0, -4.0, 2.0)],
    "adjust_lr_fn": ["match_rms_adamw", "spectral_unclamped"],
    "init_step": [("distance", 0.1), ("learning_rate", 0.1), ("heuristic", 0.1)],
    "base_optimizer": [object()],
    "weight_dimension_numbers": [object()],
    "muon_weight_dimension_numbers": [object()],
    "trust_ratio_mask": [False],
    "mu_dtype": ["float16"],
    "accumulator_dtype": ["float16"],
    "state_dtype": ["float16"],
    "dtype_momentum": ["float16"],
}
"""Values to try for an argument of this name whose default does not tell what it may be."""


def idle(library: str, name: str) -> list[str]:
    """Return the arguments of a constructor that change nothing."""
    constructor = native.constructor(library, name)
    tried = Walk(
        constructor.build,
        constructor.parameters,
        evidence,
        BASE.get(folded(name), {}),
        SPECIAL,
        lambda plan, argument: choices_of(library, plan.recipe.rule, argument),
    )
    left = [p.name for p in constructor.parameters if p.name not in RUN and p.name not in MASKS]
    return [f"{library}.{name}: {found}" for argument in left for found in tried.idle(argument)]


def folded(name: str) -> str:
    return name.replace("_", "").lower()


EVERY: dict[str, list[tuple[str, str]]] = {}
for library in native.LIBRARIES:
    for name in native.names(library):
        EVERY.setdefault(folded(name), []).append((library, name))


@pytest.mark.exhaustive(share=12)
@pytest.mark.parametrize("name", EVERY)
def test_every_argument_of_every_constructor_acts(name: str) -> None:
    FOUND.clear()
    assert [found for library, name in EVERY[name] for found in idle(library, name)] == []


SCHEDULES: dict[str, dict[str, Any]] = {
    "MultiStepLR": {"milestones": [5, 9]},
    "OneCycleLR": {"total_steps": 20},
    "join_schedules": {"schedules": (constant(value=0.1), constant(value=0.2)), "boundaries": [5]},
    "piecewise_constant_schedule": {"boundaries_and_scales": {5: 0.5}},
    "piecewise_interpolate_schedule": {"interpolate_type": "linear", "boundaries_and_scales": {5: 0.5}},
    "sgdr_schedule": {"cosine_kwargs": [CYCLE]},
    "PiecewiseConstantDecay": {"boundaries": [5], "values": [0.1, 0.2]},
}
"""Values from which a schedule starts, beside those of the words that many share."""

WORDS: dict[str, Any] = {
    "step_size": 3, "step_size_up": 4, "T_max": 20, "T_0": 7, "transition_steps": 20, "decay_steps": 20,
    "warmup_steps": 4, "first_decay_steps": 6, "init_value": 0.1, "peak_value": 0.5, "end_value": 0.01, "max_lr": 0.5,
    "swa_lr": 0.05, "base_lr": 0.1, "lr": 0.2, "power": 2.0, "decay_rate": 0.5, "gamma": 0.5, "total_iters": 5,
}  # fmt: skip

CHOICES: dict[str, list[Any]] = {
    "milestones": [[6], [5, 5]],
    "schedules": [(constant(value=0.3), constant(value=0.2))],
    "boundaries": [[7]],
    "values": [[0.1, 0.3]],
    "boundaries_and_scales": [{5: 0.25}],
    "interpolate_type": ["cosine"],
    "cosine_kwargs": [[CYCLE | {"peak_value": 0.7}]],
    "anneal_strategy": ["linear"],
    "mode": ["triangular2", "exp_range"],
    "scale_mode": ["iterations"],
    "epochs": [4],
    "steps_per_epoch": [5],
    "total_steps": [30, None],
    "end_value": [0.3, 0.05],
    "warmup_target": [0.4],
}
"""Values to try for an argument of a schedule."""

BESIDE = {
    ("CyclicLR", "scale_mode"): "torch reads it beside a scale_fn alone, which is refused",
    ("CyclicLR", "scale_fn"): "a function is refused, as the test below has it",
    ("CyclicLR", "lr"): "torch writes base_lr over it",
    ("OneCycleLR", "lr"): "torch writes max_lr / div_factor over it",
    ("OneCycleLR", "epochs"): "with steps_per_epoch in place of total_steps",
    ("OneCycleLR", "steps_per_epoch"): "with epochs in place of total_steps",
}
"""Arguments of schedules that change nothing alone, as in the library itself, with the reason."""


def values_of(made: Any) -> list[Any]:
    """Return the values of a schedule at many steps, or those of each schedule that a group follows."""
    laws = made if isinstance(made, dict) else {"lr": made}
    return [[name, [float(law(e)) for e in range(45)]] for name, law in laws.items()]


NAMED = [(library, name) for library in native.LIBRARIES for name in schedules.table(library)]


@pytest.mark.exhaustive(share=3)
@pytest.mark.parametrize(("library", "name"), NAMED)
def test_every_argument_of_every_schedule_acts(library: str, name: str) -> None:
    build = schedules.table(library)[name]
    parameters = tuple(inspect.signature(build).parameters.values())
    base = {p.name: WORDS[p.name] for p in parameters if p.default is p.empty and p.name in WORDS}
    tried = Walk(build, parameters, values_of, base | SCHEDULES.get(name, {}), CHOICES, lambda *_: ())
    left = [p.name for p in parameters if p.name not in RUN and (name, p.name) not in BESIDE]
    assert [found for argument in left for found in tried.idle(argument)] == []


def test_a_cycle_counted_in_epochs_is_as_long_as_both_say() -> None:
    build = schedules.table("torch")["OneCycleLR"]
    want = values_of(build(0.1, max_lr=0.5, total_steps=20))
    assert values_of(build(0.1, max_lr=0.5, epochs=4, steps_per_epoch=5)) == want
    assert values_of(build(0.1, max_lr=0.5, epochs=5, steps_per_epoch=5)) != want
    with pytest.raises(TypeError, match=r"scale_fn=.* is a function"):
        schedules.table("torch")["CyclicLR"](0.1, base_lr=0.1, max_lr=0.5, scale_fn=lambda x: x)


MASKED = [
    (name, p.name)
    for name in native.names("optax")
    for p in native.constructor("optax", name).parameters
    if p.name in MASKS
]


@pytest.mark.parametrize(("name", "mask"), MASKED)
def test_every_mask_keeps_the_decay_from_a_leaf_or_is_refused(name: str, mask: str) -> None:
    make = getattr(ours, name)
    decay = "weight_decay_rate" if name == "adafactor" else "weight_decay"
    try:
        tx = make(learning_rate=0.1, **{decay: 0.3, mask: {"a": False, "b": True}})
    except NotImplementedError as error:
        assert mask in str(error)
        return
    both = make(learning_rate=0.1, **{decay: 0.3})
    p = jnp.array([[0.5, 1.0], [2.0, 0.25]])  # along another direction than the gradient, which some rules normalize
    g = jnp.array([[0.1, -0.3], [0.2, 0.4]])
    params, grads = {"a": p, "b": p}, {"a": g, "b": g}

    def steps(tx: Any) -> Any:
        state, found = tx.init(params), []
        for _ in range(2):  # a rule may move nothing in its first step
            updates, state = tx.update(grads, state, params, obj_fn=lambda p: sum(jnp.sum(x**2) for x in p.values()))
            found.append(updates)
        return found

    with_mask, without = steps(tx), steps(both)
    assert any(not np.array_equal(x["a"], y["a"]) for x, y in zip(with_mask, without, strict=True))


LOSSES = (1.0, 0.5, 0.5, 0.499, 0.6, 0.5, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3)


def test_every_argument_of_the_plateau_acts() -> None:
    parameters = tuple(inspect.signature(ours.reduce_on_plateau).parameters.values())

    def scales(tx: Any) -> list[Any]:
        state, found = tx.init({"a": jnp.ones(1)}), []
        for loss in LOSSES:
            updates, state = tx.update({"a": jnp.ones(1)}, state, value=loss)
            found.append(float(updates["a"][0]))
        return found

    special = {"rtol": [0.1], "atol": [0.1], "cooldown": [3], "accumulation_size": [2], "min_scale": [0.4]}
    tried = Walk(ours.reduce_on_plateau, parameters, scales, {"patience": 1, "factor": 0.5}, special, lambda *_: ())
    assert [found for p in parameters for found in tried.idle(p.name)] == []


PRIVATE = {"l2_norm_clip": 1.0, "noise_multiplier": 0.5, "seed": 3}


@pytest.mark.parametrize("name", ["dpsgd", "differentially_private_aggregate"])
def test_every_argument_of_the_private_functions_acts(name: str) -> None:
    make = getattr(ours, name)
    parameters = tuple(inspect.signature(make).parameters.values())

    def run(tx: Any) -> list[Any]:
        params, found = {"a": jnp.ones(3)}, []
        state = tx.init(params)
        for step in range(3):
            grads = {"a": jnp.asarray(np.random.default_rng(step).standard_normal((4, 3)))}
            updates, state = tx.update(grads, state, params)
            found.append(np.asarray(updates["a"]))
        return found

    special = {"seed": [4], "key": [5], "momentum": [0.5]}
    base = PRIVATE if name == "dpsgd" else PRIVATE | {"seed": None}
    tried = Walk(make, parameters, run, base, special, lambda *_: ())
    assert [found for p in parameters for found in tried.idle(p.name)] == []


def test_every_argument_of_the_per_example_functions_acts() -> None:
    grads = [jnp.asarray(np.random.default_rng(i).standard_normal((4, 3))) for i in range(2)]
    for make, words in (
        (ours.per_example_global_norm_clip, {}),
        (ours.per_example_layer_norm_clip, {"uniform": False}),
    ):
        (a, _), (b, _) = make(grads, 1.0), make(grads, 0.5)
        assert differ([np.asarray(x) for x in a], [np.asarray(x) for x in b])
        if words:
            wide = [grads[0], jnp.ones((4, 5))]
            (a, _), (b, _) = make(wide, 1.0), make(wide, 1.0, **words)
            assert differ([np.asarray(x) for x in a], [np.asarray(x) for x in b])
