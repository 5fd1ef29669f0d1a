"""Rules that distinguish leaves by their names: Tiger's classes, in every adapter and under every combinator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import optcore
from optcore import registry
from optcore.adapters import optax as ours_in_optax
from optcore.adapters import torch as ours_in_torch
from optcore.adapters.cli.rules import catalogue
from optcore.backends import Optimizer
from optcore.rule import rule

RECIPE = optcore.Recipe("tiger")
KEPT = 0.99**100
"""The rest of an offset of 1 after a hundred gradients with a NaN; a factor stays at 1."""


def classes(named: Any, recipe: optcore.Recipe = RECIPE) -> dict[str, str]:
    """Return the class of each leaf that has one by its name."""
    return {name: recipe.own(name).get("use", "shape") for name in named}


def test_torchs_names() -> None:
    """The scale of a norm in a Sequential is called "2.weight"; its one axis distinguishes it from a matrix."""
    block = torch.nn.ModuleDict(
        {
            "wte": torch.nn.Embedding(3, 2),
            "word_embeddings": torch.nn.Embedding(3, 2),
            "attention": torch.nn.MultiheadAttention(2, 1),
            "norm_proj": torch.nn.Linear(2, 2),
            "ln_1": torch.nn.LayerNorm(2),
            "mlp": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)),
        }
    )
    found = classes(dict(block.named_parameters()))
    assert found == {
        "wte.weight": "embedding", "word_embeddings.weight": "embedding", "attention.in_proj_weight": "shape",
        "attention.in_proj_bias": "offset", "attention.out_proj.weight": "gain", "attention.out_proj.bias": "offset",
        "norm_proj.weight": "gain", "norm_proj.bias": "offset", "ln_1.weight": "gain", "ln_1.bias": "offset",
        "mlp.0.weight": "gain", "mlp.0.bias": "offset", "mlp.1.weight": "gain", "mlp.1.bias": "offset",
    }  # fmt: skip


def test_the_names_of_flax_nnx_and_equinox() -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, i: Any) -> Any:
            x = nn.LayerNorm()(nn.Dense(2)(nn.Embed(3, 2)(i)))
            return nn.RMSNorm()(x)

    tree = Net().init(jax.random.key(0), jnp.zeros([1], int))
    assert classes(paths(tree)) == {
        "params/Embed_0/embedding": "embedding", "params/Dense_0/kernel": "shape", "params/Dense_0/bias": "offset",
        "params/LayerNorm_0/scale": "gain", "params/LayerNorm_0/bias": "offset", "params/RMSNorm_0/scale": "gain",
    }  # fmt: skip
    found = classes(paths(nnx.state(nnx.LayerNorm(2, rngs=nnx.Rngs(0)), nnx.Param)))
    assert sorted(found.values()) == ["gain", "offset"]
    norm = eqx.filter((eqx.nn.LayerNorm(2), eqx.nn.Linear(2, 2, key=jax.random.key(0))), eqx.is_array)
    assert classes(paths(norm)) == {"0/weight": "gain", "0/bias": "offset", "1/weight": "gain", "1/bias": "offset"}


def paths(tree: Any) -> list[str]:
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found]


def test_names_that_only_look_like_a_class_are_none() -> None:
    for name in ("kernel", "logit_scale", "embed/kernel", "patch_embed.proj.weight_g", "0/3", ""):
        assert RECIPE.own(name) == {}
    assert classes(["embeddings.LayerNorm.weight", "rel_pos_bias_table", "tok/embeddings", "pos_embed"]) == {
        "embeddings.LayerNorm.weight": "gain", "rel_pos_bias_table": "offset", "tok/embeddings": "embedding",
        "pos_embed": "embedding",
    }  # fmt: skip


LEAVES = {"norm": {"weight": np.ones(3), "bias": np.ones(3)}, "dense": {"weight": np.ones((2, 2))}}
PATHS = ("norm.weight", "norm.bias", "dense.weight")


def spoilt(recipe: Any, steps: int = 100) -> list[float]:
    """Return the values to which gradients of NaN move a gain, an offset and a matrix of ones."""
    optimizer, params = Optimizer(recipe), LEAVES
    state = optimizer.init(params)
    for _ in range(steps):
        grads = {k: {n: p * np.nan for n, p in layer.items()} for k, layer in params.items()}
        params, state = optimizer.update(params, grads, state)
    return [float(params[a][b].flat[0]) for a, b in (path.split(".") for path in PATHS)]


WITHIN = {
    "alone": optcore.tiger,
    "behind another": optcore.chain(optcore.scale(factor=0.5), optcore.tiger),
    "lookahead": optcore.lookahead(optcore.tiger),
    "the second of two": optcore.matrices(optcore.muon, optcore.tiger),
    "of two that have its names": optcore.chain(optcore.tiger(shrink=1.0), optcore.scale(factor=1.0)),
}


@pytest.mark.parametrize("name", ["alone", "behind another"])
def test_a_gain_stays_at_one_where_gradients_are_spoilt(name: str) -> None:
    recipe = optcore.Recipe(WITHIN[name])
    assert spoilt(recipe) == pytest.approx([1.0, KEPT, KEPT], rel=1e-12)
    assert spoilt(optcore.Recipe.from_json(recipe.to_json())) == pytest.approx([1.0, KEPT, KEPT], rel=1e-12)


@pytest.mark.parametrize("name", WITHIN)
def test_names_reach_through_chains_and_combinators(name: str) -> None:
    own = optcore.Recipe(WITHIN[name]).own("norm.weight")
    assert list(own.values()) == ["gain"] and next(iter(own)).rpartition(".")[2] == "use"
    assert own.keys() <= WITHIN[name].hypers.keys()


@pytest.mark.parametrize(
    ("recipe", "want"),
    [
        (RECIPE.replace(leaves={"norm": {"use": "offset"}}), [KEPT, KEPT, KEPT]),
        (RECIPE.replace(leaves={"dense": {"use": "factor"}}), [1.0, KEPT, 1.0]),
        (RECIPE.replace(use="factor"), [1.0, 1.0, 1.0]),
        (optcore.Recipe(optcore.tiger(use="weight")), [KEPT, KEPT, KEPT]),
    ],
)
def test_what_the_user_chose_wins_over_names(recipe: optcore.Recipe, want: list[float]) -> None:
    assert spoilt(recipe) == pytest.approx(want, rel=1e-12)


def test_a_bias_of_zeros_with_two_axes_moves() -> None:
    """As a weight its step would be relative to its own size, which is 0."""
    optimizer, params = Optimizer(RECIPE.replace(lr=0.1)), {"bias": np.zeros((2, 2))}
    moved, _ = optimizer.update(params, {"bias": np.ones((2, 2))}, optimizer.init(params))
    np.testing.assert_allclose(moved["bias"], -0.05, rtol=1e-15)


@pytest.mark.parametrize("make", [ours_in_torch.Tiger, lambda named: ours_in_torch.from_recipe(RECIPE, named)])
def test_torch_has_the_classes_of_names(make: Any) -> None:
    named = [(f"{a}.{b}", torch.nn.Parameter(torch.tensor(p))) for a, at in LEAVES.items() for b, p in at.items()]
    optimizer = make(named)
    for _ in range(100):
        for _, p in named:
            p.grad = torch.full_like(p, torch.nan)
        optimizer.step()
    assert [float(p.detach().ravel()[0]) for _, p in named] == pytest.approx([1.0, KEPT, KEPT], rel=1e-12)


def test_a_torch_group_that_chose_for_itself_keeps_its_choice() -> None:
    """The groups run together, by the plan of the first one."""
    named = [(f"{i}.weight", torch.nn.Parameter(torch.ones(3, dtype=torch.float64))) for i in range(2)]
    optimizer = ours_in_torch.Tiger([{"params": [named[0]]}, {"params": [named[1]], "use": "offset"}])
    for _ in range(100):
        for _, p in named:
            p.grad = torch.full_like(p, torch.nan)
        optimizer.step()
    assert [float(p.detach()[0]) for _, p in named] == pytest.approx([1.0, KEPT], rel=1e-12)


@pytest.mark.parametrize("make", [lambda: ours_in_optax.tiger(1e-3), lambda: ours_in_optax.from_recipe(RECIPE)])
def test_optax_has_the_classes_of_names(make: Any) -> None:
    tx, params = make(), jax.tree.map(jnp.asarray, LEAVES)
    state = tx.init(params)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        updates, state = tx.update(jax.tree.map(lambda p: p * jnp.nan, params), state, params)
        return jax.tree.map(jnp.add, params, updates), state

    for _ in range(100):
        params, state = step(params, state)
    got = [float(params[a][b].ravel()[0]) for a, b in (path.split(".") for path in PATHS)]
    assert got == pytest.approx([1.0, KEPT, KEPT], rel=1e-12)


IN_KERAS = """
import json, keras, numpy as np, sys, optcore
from optcore.adapters import keras as ours
keras.backend.set_floatx("float64")
found = []
for optimizer in (ours.Tiger(), ours.from_recipe(optcore.Recipe("tiger"))):
    layers = [keras.layers.LayerNormalization(), keras.layers.Dense(2), keras.layers.Embedding(3, 2)]
    for layer, shape in zip(layers, ((2, 3), (2, 3), (2,))):
        layer.build(shape)
    variables = [v for layer in layers for v in layer.trainable_variables]
    for v in variables:
        v.assign(np.ones(v.shape))
    optimizer.build(variables)
    for _ in range(100):
        optimizer.apply([keras.ops.full(v.shape, np.nan, dtype=v.dtype) for v in variables], variables)
    uses = [dict(optimizer._of_leaf(v)[1].own).get("use") for v in variables]
    found.append([[v.name, u, float(np.ravel(keras.ops.convert_to_numpy(v))[0])] for u, v in zip(uses, variables)])
print(json.dumps(found))
"""


@pytest.mark.parametrize("kind", ["jax", "torch", "tensorflow"])
def test_keras_has_the_classes_of_names(kind: str) -> None:
    env = os.environ | {"KERAS_BACKEND": kind, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_ENABLE_X64": "1"}
    ran = subprocess.run([sys.executable, "-c", IN_KERAS], env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for found in json.loads(ran.stdout.splitlines()[-1]):
        assert [row[:2] for row in found] == [
            ["gamma", "factor"], ["beta", "offset"], ["kernel", None], ["bias", "offset"], ["embeddings", "embedding"]
        ]  # fmt: skip
        tolerance = 1e-12 if kind != "tensorflow" else 1e-5  # Keras casts numbers through float32 there
        assert [row[2] for row in found] == pytest.approx([1.0, KEPT, KEPT, KEPT, KEPT], rel=tolerance)


def test_the_catalogue_shows_what_names_mean() -> None:
    shown = {row["name"]: row.get("names") for row in catalogue()}
    for name, each in {**registry.rules(), **registry.clipping()}.items():
        assert shown[name] == {pattern: dict(given) for pattern, given in each.names.items()}
    assert any(given == {"use": "factor"} for given in (shown["tiger"] or {}).values())


def test_a_rule_names_switches_of_its_own_alone() -> None:
    def law(xp: Any, p: Any, g: Any, s: Any, t: Any, *, size: float = 1.0, flat: bool = False) -> Any:
        return g, s

    assert rule(names={"bias$": {"flat": True}})(law).names == {"bias$": {"flat": True}}
    for wrong in ({"size": 2.0}, {"lr": 0.1}, {"flta": True}):
        with pytest.raises(TypeError, match=f"law.*{next(iter(wrong))}"):
            rule(names={"bias$": wrong})(law)
