"""The rows of schedules on which libraries disagree: the largest difference over two horizons, with a peak of 1."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import optcore
from optcore.plateau import reduce_on_plateau
from oracles import Difference

s = optcore.schedules


def apart(a: Callable[[int], float], b: Callable[[int], float], steps: int = 40) -> float:
    """Return the largest difference of two functions of the step."""
    return max(abs(a(e) - b(e)) for e in range(steps))


def of_torch(make: Callable[[Any], Any]) -> Callable[[int], float]:
    """Return the rates that a torch scheduler gives to an optimizer whose own rate is 1."""
    import torch

    found: list[float] = []
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer's own
        scheduler = make(optimizer)
        for _ in range(40):
            found.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            scheduler.step()
    return found.__getitem__


def _torch_cosine() -> float:
    import torch

    theirs = of_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20))
    return apart(s.cosine(peak=1.0, steps=20), theirs)


def _torch_restart() -> float:
    """Return the difference at step 111, the start of the fourth cycle of 1, 10, 100, ...: log(1000, 10) is below 3."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 1, 10)
    scheduler.step(111)
    return abs(scheduler.get_last_lr()[0] - s.sgdr(peak=1.0, first=1, growth=10.0)(111))


def _optax_one_cycle() -> float:
    import optax

    theirs = optax.cosine_onecycle_schedule(20, 1.0)
    return apart(s.one_cycle(peak=1.0, steps=20), lambda e: float(theirs(e)))


def _poly() -> float:
    import pytorch_optimizer
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = pytorch_optimizer.lr_scheduler.PolyScheduler(optimizer, poly_order=2.0, t_max=20, max_lr=1.0)
    found = [theirs.step() for _ in range(21)]
    return apart(s.polynomial(peak=1.0, steps=20, power=2.0), found.__getitem__, 21)


def _wsd() -> float:
    from pytorch_optimizer import get_wsd_schedule

    theirs = of_torch(lambda o: get_wsd_schedule(o, 5, 5, 20, min_lr_ratio=0.1, cooldown_type="linear"))
    return apart(s.wsd(peak=1.0, warmup=5, stable=5, decay=20, floor=0.1, shape="linear"), theirs)


def _chebyshev() -> float:
    from pytorch_optimizer import get_chebyshev_schedule

    return apart(s.chebyshev(steps=16), of_torch(lambda o: get_chebyshev_schedule(o, 16)), 16)


def _plateau(like: str) -> float:
    """Return the difference for a value that does not improve, with a patience of 3, or improves by 5e-5 of itself."""
    worst = 0.0
    for seen in ([1.0] * 15, [1e-2 - 5e-5 * k for k in range(15)]):
        mine, theirs = reduce_on_plateau(patience=3), reduce_on_plateau(like=like, patience=3)
        a, b = mine.init(), theirs.init()
        for value in seen:
            a, b = mine.update(a, value), theirs.update(b, value)
            worst = max(worst, abs(a.scale - b.scale))
    return worst


DROP = s.piecewise(start=1.0, points=((10, 0.1),))

DIFFERENCES = [
    Difference(
        "schedule: cosine",
        "torch",
        "rises again after the horizon; optax and Keras stay at the floor",
        '`cosine(like="torch")`',
        _torch_cosine,
    ),
    Difference(
        "schedule: piecewise",
        "Keras",
        "changes one step after the boundary; torch and optax at it",
        '`piecewise(like="keras")`',
        lambda: apart(DROP, DROP(like="keras")),
    ),
    Difference(
        "schedule: polynomial",
        "Keras",
        "ends at 1e-4 by default; torch at 0",
        '`polynomial(like="keras")`',
        lambda: apart(s.polynomial(peak=1.0, steps=20), s.polynomial(like="keras", peak=1.0, steps=20)),
    ),
    Difference(
        "schedule: one cycle",
        "optax",
        "whole steps for the phases, the end at e = steps; torch ends at steps - 1",
        '`one_cycle(like="optax")`',
        _optax_one_cycle,
    ),
    Difference(
        "schedule: restarts",
        "timm",
        "the peak shrinks from cycle to cycle; in Keras the height above the floor",
        '`sgdr(like="timm")`',
        lambda: apart(
            s.sgdr(peak=1.0, first=10, floor=0.1, shrink=0.5),
            s.sgdr(like="timm", peak=1.0, first=10, floor=0.1, shrink=0.5),
        ),
    ),
    Difference(
        "schedule: restarts",
        "Keras",
        "the next cycle is twice as long by default; the same in torch",
        '`sgdr(like="keras")`',
        lambda: apart(s.sgdr(peak=1.0, first=10), s.sgdr(like="keras", peak=1.0, first=10)),
    ),
    Difference(
        "schedule: restarts",
        "torch",
        "`step(epoch)` takes the cycle from a logarithm that is rounded down: at 111 of cycles 1, 10, 100, ... the "
        "floor for the peak",
        "`sgdr` checks the logarithm by the cycle's beginning",
        _torch_restart,
    ),
    Difference(
        "schedule: warm-up",
        "timm",
        "what follows counts the steps of the warm-up too; elsewhere it starts anew",
        '`warmup(like="timm")`',
        lambda: apart(
            s.warmup(steps=5, then=s.cosine(peak=1.0, steps=20)),
            s.warmup(like="timm", steps=5, then=s.cosine(peak=1.0, steps=20)),
        ),
    ),
    Difference(
        "schedule: polynomial",
        "pytorch_optimizer",
        "`PolyScheduler` grows as `(e - warmup)^order`: a defect, not reproduced",
        "`polynomial`",
        _poly,
    ),
    Difference(
        "schedule: WSD",
        "pytorch_optimizer",
        "heeds the floor in the cosine decay alone, the others fall to 0 and jump up to it",
        "`wsd`, the floor in every shape, as transformers has it",
        _wsd,
    ),
    Difference(
        "schedule: Chebyshev",
        "pytorch_optimizer",
        "two steps late: the first value three times, the last two never",
        '`chebyshev(like="pytorch_optimizer")`',
        _chebyshev,
    ),
    Difference(
        "plateau",
        "optax",
        "reduces when the bad values reach the patience; torch when they exceed it",
        '`reduce_on_plateau(like="optax")`',
        lambda: _plateau("optax"),
    ),
    Difference(
        "plateau",
        "Keras",
        "as optax, and an improvement is absolute: 1e-4, not 1e-4 of the value",
        '`reduce_on_plateau(like="keras")`',
        lambda: _plateau("keras"),
    ),
]
