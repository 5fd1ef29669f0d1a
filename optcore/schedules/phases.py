"""Schedules of several phases for one run: warm-up, stable and decay; one cycle; the last phase before averaging."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from optcore.curves import between, through
from optcore.schedule import schedule
from optcore.typing import Count, NonNegative, UnitInterval, Whole

__all__ = ["one_cycle", "one_cycle_linear", "one_cycle_momentum", "swa_anneal", "wsd"]

Divisor = Annotated[float, Ge(1), Lt(math.inf)]
Shape = Literal["cosine", "linear"]


@schedule()
def wsd(
    xp: Any,
    e: Any,
    *,
    peak: NonNegative,
    warmup: Whole,
    stable: Whole,
    decay: Count,
    start: NonNegative = 0.0,
    floor: NonNegative = 0.0,
    shape: Literal["linear", "cosine", "sqrt", "square"] = "sqrt",
) -> Any:
    """``warmup`` steps in a line from ``start`` to ``peak``, ``stable`` steps there, ``decay`` steps down to ``floor``.

    With f going from 0 to 1 in the last phase, it has the shape ``1 - f`` ("linear"), half a cosine, ``1 - sqrt(f)``
    ("sqrt") or ``1 - f^2`` ("square"), between peak and floor. Source: Hu et al. 2024 (MiniCPM); 1 - sqrt of Hägele et
    al. 2024; pytorch_optimizer's get_wsd_schedule.
    """
    f = xp.minimum(xp.maximum(e - (warmup + stable), 0.0) / decay, 1.0)
    match shape:
        case "linear":
            left = 1.0 - f
        case "cosine":
            left = 0.5 + 0.5 * xp.cos(math.pi * f)
        case "sqrt":
            left = 1.0 - xp.sqrt(f)
        case _:
            left = 1.0 - f * f
    rise = between(start, peak, e / max(warmup, 1))
    return xp.where(e < warmup, rise, between(floor, peak, left))


def _inside(*, steps: int, rise: Any, three_phase: bool = False, **others: Any) -> None:
    if three_phase and rise > 0.5:
        raise ValueError(f"rise={rise!r} and a fall of the same length take more than all steps; give at most 0.5")


def _corners(steps: int, rise: float, three_phase: bool, last: str) -> list[float]:
    """Return the steps at which the phases end: fractions of a step less one in torch, whole steps in optax."""
    if last == "within":
        ends = [rise * steps - 1.0, 2.0 * rise * steps - 2.0, steps - 1.0]
    else:
        ends = [float(int(rise * steps)), float(int(2.0 * rise * steps)), float(steps)]
    return ends if three_phase else [ends[0], ends[2]]


@schedule(guard=_inside, like={"torch": {"last": "within"}, "optax": {"last": "after"}})
def one_cycle(
    xp: Any,
    e: Any,
    *,
    peak: NonNegative,
    steps: Count,
    rise: UnitInterval = 0.3,
    div: Divisor = 25.0,
    final_div: Divisor = 1e4,
    shape: Shape = "cosine",
    three_phase: bool = False,
    last: Literal["within", "after"] = "within",
) -> Any:
    """A rise from ``peak/div`` to ``peak`` in the share ``rise`` of the steps, then a fall to ``peak/div/final_div``.

    With ``three_phase`` it first falls back to ``peak/div``, in as many steps as it rose. It reaches the final value
    ``"within"`` the steps, at e = steps - 1 (torch), or ``"after"`` them, at e = steps (optax), and keeps it.
    Source: Smith & Topin 2018; torch's OneCycleLR; optax cosine_onecycle_schedule.
    """
    low = peak / div
    values = [peak, low, low / final_div] if three_phase else [peak, low / final_div]
    ends = _corners(steps, rise, three_phase, last)
    return through(xp, e, [(0.0, low), *zip(ends, values, strict=True)], shape)


@schedule(guard=_inside, like={"torch": {"last": "within"}, "optax": {"last": "after"}})
def one_cycle_momentum(
    xp: Any,
    e: Any,
    *,
    steps: Count,
    high: UnitInterval = 0.95,
    low: UnitInterval = 0.85,
    rise: UnitInterval = 0.3,
    shape: Shape = "cosine",
    three_phase: bool = False,
    last: Literal["within", "after"] = "within",
) -> Any:
    """The momentum that goes with :data:`one_cycle`: from ``high`` to ``low`` while the rate rises, and back.

    Source: Smith & Topin 2018; torch's OneCycleLR.
    """
    values = [low, high, high] if three_phase else [low, high]
    return through(xp, e, [(0.0, high), *zip(_corners(steps, rise, three_phase, last), values, strict=True)], shape)


def _ordered(*, rise: Any, fall: Any, **others: Any) -> None:
    if not rise <= fall:
        raise ValueError(f"rise={rise!r} is after fall={fall!r}; give shares of the steps in order")


@schedule(guard=_ordered)
def one_cycle_linear(
    xp: Any,
    e: Any,
    *,
    peak: NonNegative,
    steps: Count,
    rise: UnitInterval = 0.3,
    fall: UnitInterval = 0.85,
    div: Divisor = 25.0,
    final_div: Divisor = 1e4,
) -> Any:
    """Lines from ``peak/div`` to ``peak`` and back, at the shares ``rise`` and ``fall`` of the steps.

    A last line goes to ``peak/div/final_div`` at e = steps.

    Source: Smith & Topin 2018; optax linear_onecycle_schedule.
    """
    low = peak / div
    corners = [(0.0, low), (int(rise * steps), peak), (int(fall * steps), low), (steps, low / final_div)]
    return through(xp, e, corners, "linear")


@schedule()
def swa_anneal(
    xp: Any, e: Any, *, start: NonNegative, end: NonNegative, steps: Count = 10, shape: Shape = "cosine"
) -> Any:
    """Half a cosine or a line from ``start`` to ``end``, the rate at which weights are averaged, which it then keeps.

    Source: torch.optim.swa_utils.SWALR, swa_lr = end and anneal_epochs = steps.
    """
    return through(xp, e, [(0.0, start), (float(steps), end)], shape)
