"""One of two processes that train together, run by ``tests/test_sharded.py``: prints what differs from one process alone.

Each case is run with whole tensors in this process, with the same leaves spread over both, and compared.
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

import optcore
from optcore import registry
from optcore.adapters import torch as ours

#: shapes, and how each leaf is placed: None for an ordinary tensor beside the spread ones
LEAVES = [
    ((4, 6), Shard(0)), ((6, 4), Shard(1)), ((5, 3), Shard(0)), ((1, 3), Shard(0)), ((3, 4), Replicate()), ((5,), Shard(0)),
    ((1,), Shard(0)), ((), Replicate()), ((2, 3, 2), Shard(1)), ((4,), None), ((3, 2), None),
]


def leaf(rng, shape, place, mesh, dtype=torch.float64):
    whole = torch.rand(shape, generator=rng, dtype=torch.float64).to(dtype) + 0.5
    return whole if place is None or mesh is None else distribute_tensor(whole, mesh, [place])


def full(x):
    return x.full_tensor() if isinstance(x, DTensor) else x


def run(recipe, mesh, leaves=LEAVES, steps=4, dtype=torch.float64, make=None):
    rng = torch.Generator().manual_seed(1)
    params = [nn.Parameter(leaf(rng, s, place, mesh, dtype)) for s, place in leaves]
    opt = ours.from_recipe(recipe, params)
    for i in range(steps):
        for p, (s, place) in zip(params, leaves):
            p.grad = (leaf(rng, s, place, mesh, dtype) - 1.0) * 10.0 ** (i % 3 - 1)
        opt.step()
    return params, opt

def main():
    rank, store = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60))
    mesh = init_device_mesh("cpu", (2,))
    begun = time.time()
    recipes = {}
    for name, r in registry.rules().items():
        recipes[name] = r
    for name, c in registry.combinators().items():
        recipes["combined " + name] = registry.applied(c)
    for name, c in registry.clipping().items():
        recipes["clip " + name] = optcore.chain(c, optcore.sgd(momentum=.9)) if 'momentum' in optcore.sgd.hypers else optcore.chain(c, optcore.momentum)
    bad = 0
    for name, r in recipes.items():
        try:
            need = {n: 0.5 for n, v in r.values().items() if v is not None and type(v).__name__ == 'object' or 'REQUIRED' in repr(v)}
            recipe = optcore.Recipe(r, lr=1e-2, weight_decay=0.1, **need)
            leaves = [l for l in LEAVES if recipe.rule.ndim is None or len(l[0]) == recipe.rule.ndim]
            want, a = run(recipe, None, leaves)
        except Exception as e:
            print(name, "SETUP", repr(e)[:200]); continue
        try:
            got, b = run(recipe, mesh, leaves)
            worst = 0.
            for k, (x, y) in enumerate(zip(want, got)):
                d = float((x - full(y)).abs().max()/(1+x.abs().max()))
                worst = max(worst, d)
                sa, sb = a.state[x], b.state[y]
                assert set(sa) == set(sb), (set(sa), set(sb))
                for key in sa:
                    xx, yy = sa[key], sb[key]
                    if isinstance(yy, DTensor):
                        assert not any(q.is_partial() for q in yy.placements)
                    e = float((xx - full(yy)).abs().max()/(1+xx.abs().max())) if xx.numel() else 0.
                    if not e <= 1e-12: print(rank, name, k, key, e)
            if not worst <= 1e-12: print(rank, name, "PARAM", worst)
        except Exception as e:
            import traceback
            print(rank, name, "FAIL", repr(e)[:300], traceback.format_exc()[-600:] if bad < 2 else ""); bad += 1
    print(rank, "time", time.time() - begun, len(recipes))
    dist.destroy_process_group()

main()
