"""One of two processes that train together, run by test_sharded.py: ``python sharded.py PART RANK FILE``.

It prints a line for each difference from a run in one process alone, and "done" at the end.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy, fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor, init_device_mesh

import optcore
from optcore import registry
from optcore.adapters import torch as ours
from optcore.clipping import clipped
from optcore.rule import REQUIRED

LEAVES: Any = (
    ((6, 4), Shard(1)),
    ((5, 3), Shard(0)),  # 3 rows and 2
    ((1, 3), Shard(0)),  # a row and none
    ((3,), Shard(0)),
    ((), Replicate()),
    ((2, 3, 2), Shard(1)),
    ((3, 2), None),  # an ordinary tensor beside the DTensors
)
"""Shapes, and how each leaf is placed."""
ROOM = 1e-12
"""Sums over two parts are rounded in another order than those over a whole: some units of 1e-16, grown over steps."""


def placed(whole: torch.Tensor, place: Any, mesh: Any) -> torch.Tensor:
    if place is None or mesh is None:
        return whole
    places = [*(Replicate() for _ in range(mesh.ndim - 1)), place]
    return distribute_tensor(whole, mesh, places, src_data_rank=None)


def whole(x: Any) -> Any:
    return x.full_tensor() if isinstance(x, DTensor) else x


def trained(recipe: optcore.Recipe, mesh: Any, steps: int = 3, dtype: torch.dtype = torch.float64) -> Any:
    """Return the optimizer of some leaves after some steps; they are spread over a mesh or, without one, whole here."""
    rng = torch.Generator().manual_seed(1)
    draw = lambda s: torch.rand(s, generator=rng, dtype=torch.float64)  # noqa: E731
    leaves = [leaf for leaf in LEAVES if recipe.rule.ndim in (None, len(leaf[0]))]
    params = [nn.Parameter(placed((draw(s) + 0.5).to(dtype), place, mesh)) for s, place in leaves]
    optimizer = ours.from_recipe(recipe, params)
    for i in range(steps):
        for p, (s, place) in zip(params, leaves, strict=True):
            p.grad = placed(((draw(s) - 0.5) * 10.0 ** (i % 3 - 1)).to(dtype), place, mesh)
        optimizer.step()
    return optimizer


def arrays(optimizer: Any) -> Iterator[tuple[str, Any]]:
    """Return parameters, states and shared fields by name."""
    for i, group in enumerate(optimizer.param_groups):
        yield from ((f"group {i} {k}", v) for k, v in group.items() if torch.is_tensor(v))
        for k, p in enumerate(group["params"]):
            yield f"parameter {i}/{k}", p.detach()
            yield from ((f"{name} of {i}/{k}", x) for name, x in optimizer.state[p].items())


def compare(who: str, alone: Any, together: Any, room: float = ROOM) -> list[str]:
    """Return a line for each array that differs between one and two processes by ``room`` times its largest number."""
    wanted, found, wrong = dict(arrays(alone)), dict(arrays(together)), []
    if wanted.keys() != found.keys():
        return [f"{who}: the arrays are {sorted(found)}, alone {sorted(wanted)}"]
    for name, x in found.items():
        got, want = x, wanted[name]
        if got.shape != want.shape or got.dtype != want.dtype:
            wrong.append(f"{who}: {name} is {got.dtype} {tuple(got.shape)}, alone {want.dtype} {tuple(want.shape)}")
            continue
        largest = float(want.abs().max()) if want.numel() else 0.0
        if isinstance(x, DTensor):  # each process compares the part it has, without a word to the other
            if any(place.is_partial() for place in x.placements):
                wrong.append(f"{who}: {name} is kept as {x.placements}")
                continue
            got, want = (
                x.to_local(),
                distribute_tensor(want, x.device_mesh, x.placements, src_data_rank=None).to_local(),
            )
        if not torch.allclose(got, want, rtol=room, atol=room * largest):
            wrong.append(f"{who}: {name} is off by {float((got - want).abs().max()):.1e}")
    return wrong


def refused(who: str, kind: type[Exception], words: str, make: Callable[[], Any]) -> list[str]:
    try:
        make()
    except kind as error:
        return [] if words in str(error) else [f"{who}: refused by {error}"]
    return [f"{who}: is not refused"]


def every_rule() -> Iterator[tuple[str, Any]]:
    yield from registry.rules().items()
    for name, each in registry.combinators().items():
        yield f"{name}(...)", registry.applied(each)
    for name, law in registry.clipping().items():
        numbers = {k: 0.5 for k, v in law.values().items() if v is REQUIRED}
        yield name, optcore.chain(law(**numbers), optcore.momentum)


def walk(mesh: Any) -> list[str]:
    wrong, count = [], 0
    for name, law in every_rule():
        recipe = optcore.Recipe(law, lr=1e-2, weight_decay=0.1)
        wrong += compare(name, trained(recipe, None), trained(recipe, mesh))
        count += 1
    return [*wrong, f"rules {count}"]


def options(mesh: Any) -> list[str]:
    """Compare options of a recipe: random numbers by an element's position, accumulation, averages, skipped steps."""
    wrong = []
    for name, recipe in {
        "stochastic rounding": optcore.Recipe("adamw", lr=1e-3, rounding="stochastic", seed=5),
        "stochastic rounding of matrices": optcore.Recipe("soap", lr=1e-3, rounding="stochastic", seed=5),
        "stochastic rounding of norms": optcore.Recipe(
            "sgd", lr=1e-3, clip="clip_by_percentile", rounding="stochastic"
        ),
        "noise before a matrix": optcore.Recipe(optcore.chain(optcore.noisy_sgd, optcore.shampoo)),
        "states of the leaf's dtype": optcore.Recipe("adafactor", state_dtype="param"),
    }.items():
        # in float32 a sum over parts rounds elsewhere: at most one unit of bfloat16, 2^-8, here and there
        wrong += compare(
            name, trained(recipe, None, 4, torch.bfloat16), trained(recipe, mesh, 4, torch.bfloat16), 2**-7
        )
    for name, recipe in {
        "accumulate": optcore.Recipe("lamb", accumulate=2),
        "average": optcore.Recipe("adamw", average=0.9),
        "skip": optcore.Recipe("prodigy", on_nonfinite="skip"),
    }.items():
        wrong += compare(name, trained(recipe, None, 5), trained(recipe, mesh, 5))
    exact = optcore.Recipe("adamw", lr=1e-3, rounding="stochastic", seed=5)
    wrong += compare("bits", trained(exact, None, 4, torch.bfloat16), trained(exact, mesh, 4, torch.bfloat16), 0.0)
    copies = init_device_mesh("cpu", (2, 1))  # as in hybrid sharding: what is there twice counts once
    for name in ("prodigy", "lamb", "soap", "noisy_sgd"):
        recipe = optcore.Recipe(name, clip=optcore.clip_by_global_norm(max_norm=0.1))
        wrong += compare(f"copies, {name}", trained(recipe, None), trained(recipe, copies))
    wrong += compare("noise", trained(optcore.Recipe("noisy_sgd"), None), trained(optcore.Recipe("noisy_sgd"), mesh))

    p = nn.Parameter(placed(torch.ones(5, 3), Shard(0), mesh))
    optimizer = ours.from_recipe(optcore.Recipe("sgd", lr=1.0, on_nonfinite="skip"), [p])
    g = torch.ones(5, 3)
    g[4, 0] = torch.nan  # which lies in the second process alone
    p.grad = placed(g, Shard(0), mesh)
    optimizer.step()
    wrong += [] if bool((whole(p.detach()) == 1).all()) else ["skip: a NaN elsewhere is not seen"]
    for law in (optcore.clip_by_global_max(max_norm=0.5), optcore.clip_by_global_norm(max_norm=0.5)):
        got = whole(clipped(law, {"a": placed(g, Shard(0), mesh)})["a"])
        wrong += [] if got.isnan().all() else [f"{law.name}: a NaN elsewhere is lost"]
    return wrong


def clip(mesh: Any) -> list[str]:
    """Compare torch's clipping functions, and every clipping law on a tree."""
    wrong, rng = [], torch.Generator().manual_seed(3)
    grads = [(torch.randn(s, generator=rng, dtype=torch.float64), place) for s, place in LEAVES]
    both = [[nn.Parameter(placed(torch.zeros_like(g), place, m)) for g, place in grads] for m in (None, mesh)]

    def given() -> Any:
        for params, m in zip(both, (None, mesh), strict=True):
            for p, (g, place) in zip(params, grads, strict=True):
                p.grad = placed(g.clone(), place, m)
        return both

    for order in (1.0, 2.0, float("inf")):
        alone, spread = given()
        norms = [whole(ours.clip_grad_norm_(params, 0.1, norm_type=order)) for params in (alone, spread)]
        same = [torch.allclose(whole(b.grad), a.grad, rtol=ROOM) for a, b in zip(alone, spread, strict=True)]
        if not (all(same) and torch.allclose(*norms, rtol=ROOM)):
            wrong.append(f"clip_grad_norm_ of order {order}: {same}, {norms}")
    alone, spread = given()
    for params in (alone, spread):
        ours.clip_grad_value_(params, 0.3)
    if not all(torch.equal(whole(b.grad), a.grad) for a, b in zip(alone, spread, strict=True)):
        wrong.append("clip_grad_value_")
    for name, law in registry.clipping().items():
        if law.fields:
            continue  # a law with a memory is a link of an optimizer
        law = law(**{k: 0.5 for k, v in law.values().items() if v is REQUIRED})
        trees = [{str(i): p.grad for i, p in enumerate(params)} for params in given()]
        weights = [{k: g * 0 + 0.1 for k, g in tree.items()} for tree in trees]
        a, b = (clipped(law, tree, w) for tree, w in zip(trees, weights, strict=True))
        wrong += [f"clipped({name}): {k}" for k in a if not torch.allclose(whole(b[k]), a[k], rtol=ROOM, atol=ROOM)]
    return wrong


def loss(model: Any, i: int) -> Any:
    """Return a loss of more samples than inputs: eigenvectors of a gram matrix' null space depend on rounding."""
    return (model(torch.sin(torch.arange(48, dtype=torch.float64) ** 1.5 + i).reshape(8, 6)) ** 2).sum()


def net() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def steps(model: Any, optimizer: Any, at: range) -> None:
    for i in at:
        loss(model, i).backward()
        optimizer.step()
        optimizer.zero_grad()


CHECKPOINTED = ("adamw", "soap", "prodigy", "adafactor", "shampoo", "asgd", "schedule_free_adamw")


def checkpoints(mesh: Any) -> list[str]:
    """Compare runs under fully_shard, one of which is saved and reloaded by torch.distributed.checkpoint."""
    wrong = []
    folder = [tempfile.mkdtemp() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(folder, src=0)
    for name in CHECKPOINTED:
        recipe = optcore.Recipe(name, lr=1e-2, weight_decay=0.0)
        make = lambda model, recipe=recipe: ours.from_recipe(recipe, model.named_parameters())  # noqa: E731
        alone = net()
        a = make(alone)
        steps(alone, a, range(4))
        model = fully_shard(net(), mesh=mesh)
        b = make(model)
        steps(model, b, range(4))
        wrong += compare(f"fully_shard, {name}", a, b)
        saved = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, b)}
        dcp.save(saved, checkpoint_id=os.path.join(folder[0] or "", name))
        every = get_optimizer_state_dict(model, b, options=StateDictOptions(full_state_dict=True))
        plain = io.BytesIO()
        torch.save(a.state_dict(), plain)
        steps(alone, a, range(4, 7))

        fresh = fully_shard(net(), mesh=mesh)
        c = make(fresh)
        c.init_state()
        into = {"model": fresh.state_dict(), "optimizer": get_optimizer_state_dict(fresh, c)}
        dcp.load(into, checkpoint_id=os.path.join(folder[0] or "", name))
        fresh.load_state_dict(into["model"])
        set_optimizer_state_dict(fresh, c, into["optimizer"])
        steps(fresh, c, range(4, 7))
        wrong += compare(f"reloaded, {name}", a, c)

        if dist.get_rank() == 0:  # a full state is the first process' alone
            keys = {k for entry in every["state"].values() for k, x in entry.items() if isinstance(x, DTensor)}
            wrong += [f"full_state_dict, {name}: {keys} are spread"] if keys else []
        fresh = fully_shard(net(), mesh=mesh)
        c = make(fresh)
        weights = {"model": fresh.state_dict()}
        dcp.load(weights, checkpoint_id=os.path.join(folder[0] or "", name))
        fresh.load_state_dict(weights["model"])
        plain.seek(0)
        c.load_state_dict(torch.load(plain))  # a state that was saved in one process
        steps(fresh, c, range(4, 7))
        wrong += compare(f"a state of one process, {name}", a, c)
    return wrong


def parallel(mesh: Any) -> list[str]:
    """Compare DistributedDataParallel with one process; rules that need whole leaves refuse pieces of them."""
    wrong = []
    for name in ("muon", "prodigy", "noisy_sgd"):
        recipe = optcore.Recipe(optcore.matrices(optcore.muon, optcore.adamw) if name == "muon" else name, lr=1e-2)
        alone, model = net(), nn.parallel.DistributedDataParallel(net())
        a, b = (ours.from_recipe(recipe, m.parameters()) for m in (alone, model))
        steps(alone, a, range(4))
        steps(model, b, range(4))
        wrong += compare(f"DistributedDataParallel, {name}", a, b)

    cut = lambda **how: FullyShardedDataParallel(net(), device_id=torch.device("cpu"), **how)  # noqa: E731
    for original in (True, False):
        model = cut(use_orig_params=original)
        for name in ("soap", "lamb", "prodigy", "noisy_sgd", "adafactor"):
            recipe, words = optcore.Recipe(name), "is a piece that torch.distributed.fsdp.FullyShardedDataParallel cut"
            made = lambda recipe=recipe, model=model: ours.from_recipe(recipe, model.parameters())  # noqa: E731
            wrong += refused(f"FullyShardedDataParallel, {name}", ValueError, words, made)
        for option in ({"rounding": "stochastic"}, {"on_nonfinite": "skip"}):
            optimizer = ours.from_recipe(optcore.Recipe("sgd", **option), model.parameters())
            wrong += refused(f"FullyShardedDataParallel, {option}", ValueError, words, optimizer.init_state)
        alone = net()
        a, b = (ours.AdamW(m.parameters(), lr=1e-2) for m in (alone, model))
        steps(alone, a, range(4))
        steps(model, b, range(4))
        with FullyShardedDataParallel.summon_full_params(model):
            for p, q in zip(alone.parameters(), model.parameters(), strict=original):
                if original and not torch.allclose(p, q, rtol=ROOM):
                    wrong.append("FullyShardedDataParallel, AdamW")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # NO_SHARD, whose leaves are whole, is on its way out of torch
        model = cut(use_orig_params=True, sharding_strategy=ShardingStrategy.NO_SHARD)
    ours.from_recipe(optcore.Recipe("soap"), [p for p in model.parameters() if p.ndim == 2])

    half = DTensor.from_local(torch.ones(4, 4), mesh, [Partial()])
    words = "a sum that is not taken yet"
    wrong += refused("a partial parameter", TypeError, words, lambda: ours.AdamW([nn.Parameter(half)]))
    p = nn.Parameter(placed(torch.ones(4, 4), Shard(0), mesh))
    made = [ours.from_recipe(optcore.Recipe(name, lr=1.0, weight_decay=0.0), [p]) for name in ("sgd", "soap")]
    p.grad = half  # of a sum that is not taken yet: 2 everywhere
    for optimizer in made:
        optimizer.step()
    wrong += [] if bool((whole(p.detach()) == -1.0).all()) else ["a partial gradient"]
    pure = optcore.backends.Optimizer(optcore.Recipe("sgd"))
    for g, q, words in (
        (torch.ones(4, 4), p, "is a Tensor, the parameter a DTensor"),
        (p.detach(), nn.Parameter(torch.ones(4, 4)), "is spread over processes, the parameter is not"),
    ):
        first = nn.Parameter(torch.ones(2))  # of another rule, which would move first
        optimizer = ours.from_recipe(optcore.Recipe(optcore.matrices(optcore.muon, optcore.sgd)), [first, q])
        first.grad, q.grad = torch.ones(2), g
        wrong += refused("a gradient that lies elsewhere", TypeError, words, optimizer.step)
        wrong += [] if bool((first == 1).all()) else ["a gradient that lies elsewhere: something has moved"]
    words = "is a Tensor, the parameter a DTensor"
    start = pure.init({"a": p.detach()})
    plain = {"a": torch.ones(4, 4)}
    wrong += refused("a plain gradient", TypeError, words, lambda: pure.update({"a": p.detach()}, plain, start))
    return wrong


PARTS = {"walk": [walk], "training": [options, clip, checkpoints, parallel]}


def main(part: str, rank: str, file: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{file}", rank=int(rank), world_size=2, timeout=timedelta(seconds=120)
    )
    mesh = init_device_mesh("cpu", (2,))
    for each in PARTS[part]:
        for line in each(mesh):
            print(line, flush=True)
    dist.destroy_process_group()
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
