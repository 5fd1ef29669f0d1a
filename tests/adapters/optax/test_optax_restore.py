"""A state comes back from every kind of checkpoint to the leaves it was made for, and goes on as if never saved."""

from __future__ import annotations

import inspect
import pathlib
import pickle
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import flax
import flax.linen as nn
import flax.serialization
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import optcore
from optcore.adapters import native
from optcore.adapters import optax as ours

NEEDED = {"lora": {"rank": 1}}
"""Arguments for a function beside 0.01 for each one without a default."""


class Pair(NamedTuple):
    weight: Any
    bias: Any


@flax.struct.dataclass
class Block:
    weight: Any
    bias: Any


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(1, 2, rngs=rngs) for _ in range(11)])
        self.norm = nnx.LayerNorm(2, rngs=rngs)


def linen() -> Any:
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.LayerNorm()(nn.Dense(2)(x))

    return Two().init(jax.random.key(0), jnp.ones((1, 2)))["params"]


def vectors(n: int) -> list[Any]:
    return [jnp.ones(2) for _ in range(n)]


TREES: dict[str, Callable[[], Any]] = {
    "dictionary": lambda: {"b": jnp.ones(2), "a": jnp.ones(2), "c": {"z": jnp.ones(2), "y": jnp.ones(2)}},
    "numbered": lambda: {i: jnp.ones(2) for i in range(12)},
    "equinox": lambda: eqx.filter([eqx.nn.LayerNorm(2), eqx.nn.MLP(2, 2, 2, 1, key=jax.random.key(0))], eqx.is_array),
    "nnx": lambda: nnx.state(Net(nnx.Rngs(0)), nnx.Param),
    "linen": linen,
    "frozen": lambda: flax.core.freeze(linen()),
    "struct": lambda: Block(jnp.ones(2), jnp.ones(2)),
    "NamedTuple": lambda: Pair(jnp.ones(2), jnp.ones(2)),
    "tuple of 12": lambda: tuple(vectors(12)),
    "list of 12": lambda: {"layers": vectors(12)},
    "with None": lambda: {"a": jnp.ones(2), "f": None, "b": (None, jnp.ones(2), {}, ())},
}  # fmt: skip


def orbax(make: Any) -> Callable[[Any, pathlib.Path], Any]:
    def through(state: Any, folder: pathlib.Path) -> Any:
        with warnings.catch_warnings(), make() as checkpointer:
            warnings.simplefilter("ignore")  # Orbax warns of the devices of a restored array
            checkpointer.save(folder / "state", state)
            if hasattr(checkpointer, "wait_until_finished"):
                checkpointer.wait_until_finished()
            return checkpointer.restore(folder / "state")

    return through


def with_target(state: Any, folder: pathlib.Path) -> Any:
    with warnings.catch_warnings(), ocp.StandardCheckpointer() as checkpointer:
        warnings.simplefilter("ignore")
        checkpointer.save(folder / "state", state)
        checkpointer.wait_until_finished()
        return checkpointer.restore(folder / "state", jax.tree.map(ocp.utils.to_shape_dtype_struct, state))


def plain(x: Any) -> Any:
    """Return a tree with each NamedTuple as a list of NumPy arrays: so NumPy and pickle keep it without its class."""
    if isinstance(x, dict):
        return {k: plain(v) for k, v in x.items()}
    if isinstance(x, tuple | list):
        return [plain(v) for v in x]
    return jax.tree.map(np.asarray, x)


FORMATS: dict[str, Callable[[Any, pathlib.Path], Any]] = {
    "orbax StandardCheckpointer": orbax(ocp.StandardCheckpointer),
    "orbax PyTreeCheckpointer": orbax(ocp.PyTreeCheckpointer),
    "orbax with a target": with_target,
    "flax msgpack": lambda s, _: flax.serialization.msgpack_restore(flax.serialization.to_bytes(s)),
    "flax msgpack sorted": lambda s, _: ordered(flax.serialization.msgpack_restore(flax.serialization.to_bytes(s))),
    "flax to_state_dict": lambda s, _: flax.serialization.to_state_dict(s),
    "flax from_bytes": lambda s, _: flax.serialization.from_bytes(s, flax.serialization.to_bytes(s)),
    "pickle": lambda s, _: pickle.loads(pickle.dumps(jax.tree.map(np.asarray, s))),
    "lists": lambda s, _: plain(s),
}


def ordered(x: Any) -> Any:
    """Return the tree with the keys of every dictionary in reverse order of their text, which must not matter."""
    return {k: ordered(x[k]) for k in sorted(x, reverse=True)} if isinstance(x, dict) else x


UNKNOWN_TO_FLAX = {"equinox", "nnx"}
"""Trees whose nodes flax.serialization can't write as bytes."""


def numbered(state: Any) -> Any:
    """Return the state with a different number in every element, so that no two can be exchanged unnoticed."""
    leaves, treedef = jax.tree.flatten(state)
    ends = np.cumsum([x.size for x in leaves])
    filled = [
        jnp.arange(end - x.size, end).reshape(x.shape).astype(x.dtype) for x, end in zip(leaves, ends, strict=True)
    ]
    return treedef.unflatten(filled)


def wrapped(params: Any) -> dict[str, Any]:
    """Return transformations of ours within transformations of optax, by name."""
    adam, sgd = ours.adam(0.1), ours.sgd(0.1, momentum=0.9)
    return {
        "bare": adam,
        "chain of 12": optax.chain(*[optax.scale(1.0), ours.adam(0.1), ours.lion(0.1), *[sgd] * 9]),
        "chain of 11 rules": ours.from_recipe(
            optcore.Recipe(optcore.chain(*[optcore.averaged_momentum(beta=0.1 + 0.05 * i) for i in range(11)]), lr=0.1)
        ),
        "inject_hyperparams": optax.inject_hyperparams(ours.adamw)(learning_rate=0.1),
        "MultiSteps": optax.MultiSteps(adam, 2),
        "masked": optax.masked(adam, jax.tree.map(lambda p: p.ndim == 1, params)),
        "partition": optax.partition(
            {"x": adam, "y": sgd}, jax.tree.map(lambda p: "x" if p.ndim == 1 else "y", params)
        ),
        "recipe": ours.from_recipe(optcore.Recipe("prodigy", accumulate=2, average=0.9)),
    }


def same(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.exhaustive(share=4)
@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_tree_comes_back_by_its_paths(tree: str, kind: str, tmp_path: pathlib.Path) -> None:
    state = numbered(ours.adam(0.1).init(TREES[tree]()))
    if tree in UNKNOWN_TO_FLAX and kind.startswith("flax") and kind != "flax to_state_dict":
        with pytest.raises(TypeError, match="can not serialize"):
            FORMATS[kind](state, tmp_path)
        return
    for template in (ours.adam(0.1).init(TREES[tree]()), jax.eval_shape(ours.adam(0.1).init, TREES[tree]())):
        assert same(ours.restore(template, FORMATS[kind](state, tmp_path / str(type(template.count)))), state)


@pytest.mark.exhaustive(share=4)
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", list(wrapped({})))
def test_the_state_of_every_wrapper_comes_back(name: str, kind: str, tmp_path: pathlib.Path) -> None:
    params = {"layers": vectors(11), "m": jnp.ones((2, 2)), "none": None}
    state = numbered(wrapped(params)[name].init(params))
    template = wrapped(params)[name].init(params)
    assert same(ours.restore(template, FORMATS[kind](state, tmp_path)), state)


PARAMS = {"w": (3, 2), "b": (3, 2)}
RESTORED = ("orbax StandardCheckpointer", "flax msgpack sorted")


@pytest.mark.exhaustive(share=8)
@pytest.mark.parametrize("name", native.names("optax"))
def test_every_rule_goes_on_from_a_checkpoint_as_if_never_interrupted(name: str, tmp_path: pathlib.Path) -> None:
    """The run goes on bit for bit, from a checkpoint of Orbax and from the bytes of flax."""
    make = getattr(ours, name)
    needed = {p.name: 0.01 for p in inspect.signature(make).parameters.values() if p.default is p.empty}
    tx = make(**needed | NEEDED.get(name, {}))
    rng = np.random.default_rng(0)
    layers = [{k: jnp.asarray(rng.standard_normal(s), jnp.float32) for k, s in PARAMS.items()} for _ in range(2)]
    params: Any = (Pair(layers[0]["w"], layers[0]["b"]), layers[1])

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        grads = jax.tree.map(lambda p: p * 0.5 + 0.1, params)
        updates, state = tx.update(
            grads, state, params, obj_fn=lambda p: sum(jnp.sum(x**2) for x in jax.tree.leaves(p))
        )
        return optax.apply_updates(params, updates), state

    params, state = step(params, tx.init(params))
    want = step(params, state)
    for kind in RESTORED:
        again = ours.restore(tx.init(params), FORMATS[kind](state, tmp_path / kind))
        assert same(again, state)
        got = step(params, again)
        assert all(
            np.array_equal(a, b, equal_nan=True) for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True)
        )


def adam_state(**params: Any) -> Any:
    return ours.adam(0.1).init(params)


def test_what_does_not_fit_is_refused_by_path_and_everything_at_once() -> None:
    state = adam_state(a=jnp.ones(2), b=jnp.ones((2, 3)))
    tree = flax.serialization.to_state_dict(state)

    def changed(**nodes: Any) -> Any:
        return tree | {
            "leaves": tree["leaves"] | {"mu": {k: v for k, v in (tree["leaves"]["mu"] | nodes).items() if v is not ...}}
        }

    for given, words in (
        (changed(a=...), "'leaves/mu/a' is missing"),
        (changed(a=None), "'leaves/mu/a' is missing"),
        (changed(c=jnp.ones(2)), "'leaves/mu/c' is unknown"),
        (changed(a=..., c=jnp.ones(2)), "'leaves/mu/a' is missing; 'leaves/mu/c' is unknown"),
        (changed(b=jnp.ones((3, 2))), r"'leaves/mu/b' has shape \(3, 2\) in the tree, and \(2, 3\) in the state"),
        (changed(a=jnp.ones(2, jnp.bfloat16)), "'leaves/mu/a' is of bfloat16 in the tree, and of float64 in the state"),
        (changed(a="x"), "'leaves/mu/a' must be an array of float64, not 'x'"),
        (changed(a={"x": jnp.ones(2)}), "'leaves/mu/a' must be an array, not a dict with the children 'x'"),
        (tree | {"leaves": jnp.ones(2)}, "'leaves' must be a dict, not an array"),
        (tree | {"average": jnp.ones(1)}, "'average' is an array in the tree, and the state holds none there"),
        (tree | {"average": {"a": jnp.ones(1)}}, "'average/a' is unknown"),
        (jax.tree.leaves(state), "'leaves' must be a dict, not an array"),
        (jnp.ones(2), "the root must be a State, not an array"),
        (
            tree | {"leaves": {}},
            "'leaves/mu/a' is missing; 'leaves/mu/b' is missing; 'leaves/nu/a' is missing; and 1 more",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            ours.restore(state, given)


def test_modules_are_not_matched_by_place() -> None:
    """The attributes of a module have no order that a list could stand for; the fields of a NamedTuple do."""
    state = adam_state(norm=eqx.nn.LayerNorm(2))
    tree = jax.tree.map(lambda x: x, state)._replace(
        leaves={k: {"norm": [jnp.ones(2), jnp.ones(2)]} for k in ("mu", "nu")}
    )
    with pytest.raises(ValueError, match="'leaves/mu/norm/weight' is missing"):
        ours.restore(state, tree)


def test_keys_that_read_alike_are_refused() -> None:
    with pytest.raises(ValueError, match="'a' has two keys that read '1', which a checkpoint doesn't tell apart"):
        ours.restore({"a": {1: jnp.ones(1), 1.0 + 1e-17: jnp.ones(1)} | {np.float64(1.5): jnp.ones(1)}}, {"a": Twice()})


@jax.tree_util.register_pytree_with_keys_class
class Twice:
    """A node of a tree with two keys that have the same text."""

    def tree_flatten_with_keys(self) -> Any:
        key = jax.tree_util.DictKey
        return ((key("1"), jnp.ones(1)), (key(1), jnp.ones(1))), None

    @classmethod
    def tree_unflatten(cls, aux: Any, children: Any) -> Any:
        return cls()


def test_a_count_that_a_format_keeps_as_a_number_is_an_array_again() -> None:
    state = adam_state(a=jnp.ones(2))
    again = ours.restore(state, {**flax.serialization.to_state_dict(state), "count": 7})
    assert again.count.dtype == jnp.int32 and int(again.count) == 7
    with pytest.raises(ValueError, match=r"'count' must be an array of int32, not 7\.5"):
        ours.restore(state, {**flax.serialization.to_state_dict(state), "count": 7.5})


def test_a_variable_saved_as_its_value_is_found() -> None:
    """nnx.to_pure_dict leaves out the ``value`` between a parameter's name and its array."""
    params = nnx.state(Net(nnx.Rngs(0)), nnx.Param)
    state = numbered(ours.adam(0.1).init(params))
    pure = {k: nnx.to_pure_dict(v) for k, v in state.leaves.items()}
    assert same(ours.restore(state, {**state._asdict(), "leaves": pure}), state)
