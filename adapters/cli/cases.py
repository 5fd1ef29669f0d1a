"""The cases of the targets, each of which measures some numbers.

``python -m optcore.adapters.cli.cases CASE SIZE ROUNDS`` measures one case in a process of its own and prints the
numbers as a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any
from unittest import mock

import numpy as np

import optcore
from optcore.adapters.cli.contest import WORKS, Contest, Shapes, interleaved, on_numpy, stream, working
from optcore.adapters.cli.peers import CONTESTS, RATE, tensors
from optcore.recipe import Recipe

SIZE = 1 << 24


def _torch(rule: str, work: str) -> Callable[[int], Contest]:
    return lambda size: CONTESTS["torch"](optcore.registry.find(rule), WORKS[work](size))


def _clipped(size: int) -> Contest:
    """Adam behind clipping by the global norm, in torch with the fastest of its forms of either."""
    import torch

    from optcore.adapters.torch import from_recipe

    shapes = WORKS["tensor"](size)
    recipe = Recipe(optcore.adam, lr=RATE, clip=optcore.clip_by_global_norm(max_norm=1.0))
    params = tensors(shapes)
    theirs = torch.optim.Adam(params, lr=RATE, fused=True)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        theirs.step()

    return {"ours": from_recipe(recipe, tensors(shapes)).step, "torch fused": step}


def _norm(work: str) -> Callable[[int], Contest]:
    """Clipping by the global norm alone, at a limit that falls with each call, so that each has to write."""

    def contest(size: int) -> Contest:
        import torch

        from optcore.adapters.torch import clip_grad_norm_

        def calls(clip: Any) -> Callable[[], Any]:
            params, limits = tensors(WORKS[work](size)), (0.9999**k for k in count())
            return lambda: clip(params, next(limits))

        return {"ours": calls(clip_grad_norm_), "torch": calls(torch.nn.utils.clip_grad_norm_)}

    return contest


def _keras(work: str) -> Callable[[int], Contest]:
    return lambda size: CONTESTS["keras"](optcore.adamw, WORKS[work](size))


def _optax(size: int) -> Contest:
    return CONTESTS["optax"](optcore.adamw, WORKS["tensor"](size))


def _stream(size: int) -> Contest:
    rng, shapes = np.random.default_rng(0), WORKS["tensor"](size)
    return {"ours": on_numpy(Recipe(optcore.adamw), shapes, rng), "stream": on_numpy(stream, shapes, rng)}


def _uncompiled(size: int) -> Contest:
    """Ours as it runs where llvmlite is missing, and AdamW as anyone would write it."""
    rng, (shape,) = np.random.default_rng(0), WORKS["tensor"](size)
    fast = on_numpy(Recipe(optcore.adamw), [shape], rng)
    p, g, m, v = (rng.random(shape, dtype=np.float32) for _ in range(4))
    t = 0

    def ours() -> None:
        with mock.patch("optcore.backends.fused.usable", lambda: False):
            fast()

    def naive() -> None:
        nonlocal p, m, v, t
        t += 1
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        hat_m, hat_v = m / (1 - 0.9**t), v / (1 - 0.999**t)
        p = p - RATE * (hat_m / (np.sqrt(hat_v) + 1e-8) + 0.01 * p)

    return {"ours": ours, "naive": naive}


CASES: dict[str, tuple[str, Callable[[int], Contest]]] = {
    **{f"torch adamw {work}": ("torch", _torch("adamw", work)) for work in WORKS},
    **{f"torch {name}": ("torch", _torch(name, "tensor")) for name in ("lion", "momentum", "rmsprop", "adagrad")},
    "torch clipped adam": ("torch", _clipped),
    **{f"torch clip_grad_norm_ {work}": ("torch", _norm(work)) for work in ("tensor", "small")},
    "torch lamb": ("torch", _torch("lamb", "tensor")),
    "numpy": ("", _stream),
    "numpy without llvmlite": ("", _uncompiled),
    "keras tensor": ("keras", _keras("tensor")),
    "keras small": ("keras", _keras("small")),
    "optax": ("optax", _optax),
}
"""Contests by name, with the framework that each needs."""

FIRST = """
import time
{prepare}
begun = time.perf_counter()
{first}
between = time.perf_counter()
{second}
print('{{"first": %r, "second": %r}}' % (between - begun, time.perf_counter() - between))
"""
ON_NUMPY = {
    "prepare": "import numpy as np\np = [np.ones((64, 64), np.float32)]",
    "first": "import optcore\nfrom optcore.backends import Optimizer\n"
    "o = Optimizer(optcore.Recipe('adamw')); o.update(p, p, o.init(p))",
    "second": "o = Optimizer(optcore.Recipe('lion')); o.update(p, p, o.init(p))",
}
ON_TORCH = {  # torch.optim imports more of torch when its first optimizer is made
    "prepare": "import torch\np = torch.nn.Parameter(torch.ones(64, 64)); p.grad = torch.ones(64, 64)\n"
    "torch.optim.SGD([p], lr=0.1).step()",
    "first": "import optcore.adapters.torch as ours\nours.AdamW([p]).step()",
    "second": "ours.Lion([p]).step()",
}

IMPORT = """
import time, numpy
begun = time.perf_counter()
import optcore
print('{"seconds": %r}' % (time.perf_counter() - begun))
"""


def imported(rounds: int) -> dict[str, float]:
    """Seconds that a process' import of optcore takes beyond NumPy's."""
    return {"seconds": float(np.median([each["seconds"] for _ in range(rounds) for each in working("-c", IMPORT)]))}


def first_step(parts: Mapping[str, str], rounds: int) -> dict[str, float]:
    """Seconds of a process' first step with all that it imports and compiles, and of another rule's first step."""
    found = [each for _ in range(rounds) for each in working("-c", FIRST.format(**parts))]
    return {name: float(np.median([each[name] for each in found])) for name in ("first", "second")}


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def extra_memory(step: Callable[[], Any]) -> float:
    """MiB that a step needs beyond what is resident before it.

    The peak of a process never falls, so what it exceeds the present by is first filled up; and an allocator that
    keeps what was freed would hide what a step needs.
    """
    import ctypes
    import resource  # no system but POSIX has it

    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc: whatever has 64 KiB is mapped alone and given back when freed
        libc.mallopt(-3, 1 << 16)

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    for _ in range(3):
        step()
    ballast = np.ones(max(peak() - _resident(), 0), np.uint8)
    before = max(peak(), _resident())
    for _ in range(3):
        step()
    del ballast
    return (peak() - before) / 2**20


def memory(size: int) -> dict[str, float]:
    """The memory of a step on NumPy arrays and of torch's adapter; the larger of two sizes each."""
    rng, found = np.random.default_rng(0), {}
    for name in ("numpy", "torch"):
        sizes = []
        for n in (size // 16, size):
            shapes = WORKS["tensor"](n)
            step = on_numpy(Recipe(optcore.adamw), shapes, rng) if name == "numpy" else _ours(shapes)
            sizes.append(extra_memory(step))
        found[name] = max(sizes)
    return found


def _ours(shapes: Shapes) -> Callable[[], Any]:
    from optcore.adapters.torch import AdamW

    return AdamW(tensors(shapes)).step  # type: ignore[no-any-return]


def growth(size: int, rounds: int) -> dict[str, float]:
    """Measure how far the time of a step is above a straight line over sizes, and the time for each tensor in us.

    Sizes go by tens from 1e4 to six times ``size``, 1e8 where that is 16 M; the line starts at the time of a tensor
    of one element.
    """
    many = 1000
    sizes = [1, *(10**k for k in range(4, 9) if 10**k <= 6 * size)]
    found = interleaved({str(n): _ours([(n,)]) for n in sizes}, rounds)
    small = interleaved({"one": _ours([(1,)]), "many": _ours([(1,)] * many)}, 3 * rounds)
    least, largest = found["1"], sizes[-1]
    slope = (found[str(largest)] - least) / largest
    above = max(found[str(n)] / (least + slope * n) for n in sizes)
    return {"above the line": above, "us per tensor": 1e6 * (small["many"] - small["one"]) / (many - 1)}


MEASURES: dict[str, tuple[str, Callable[[int, int], dict[str, float]]]] = {
    "import": ("", lambda _, rounds: imported(rounds)),
    "first step on NumPy": ("", lambda _, rounds: first_step(ON_NUMPY, rounds)),
    "first step in torch": ("torch", lambda _, rounds: first_step(ON_TORCH, rounds)),
    "memory": ("torch", lambda size, _: memory(size)),
    "growth": ("torch", growth),
}
"""The measurements that are no contest, by name: the framework that each needs, and the function that measures."""


def framework(case: str) -> str:
    """The framework that a case needs, empty for none."""
    return (CASES.get(case) or MEASURES[case])[0]


def measure(case: str, size: int, rounds: int) -> dict[str, float]:
    """The numbers of a case; for a contest ours divided by each peer's, and by the fastest one's."""
    if case in MEASURES:
        return MEASURES[case][1](size, rounds)
    return ratios(interleaved(CASES[case][1](size), rounds))


def ratios(seconds: Mapping[str, float]) -> dict[str, float]:
    """Ours divided by each peer's time, and by the fastest one's."""
    theirs = {name: value for name, value in seconds.items() if name != "ours"}
    fastest = {"fastest": min(theirs.values())}
    return {name: seconds["ours"] / value for name, value in (theirs | fastest).items()}


def main(case: str, size: str, rounds: str) -> None:
    """Measure a case and print it."""
    print(json.dumps(measure(case, int(size), int(rounds))))


if __name__ == "__main__":
    main(*sys.argv[1:])
