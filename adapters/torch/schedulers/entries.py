"""The entries of torch's schedulers, written as torch's own classes would have them at a step, in closed form."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from optcore.adapters.native import schedules
from optcore.adapters.torch.schedulers.forms import Chained, Factors, Form, Named, Sequential
from optcore.scalars import Host
from optcore.schedules.cycle import cycle

__all__ = ["COMMON", "KEYS", "MOMENTA", "entries", "written"]

COMMON = {
    "_get_lr_called_within_step", "_is_initial", "_last_lr", "_step_count", "base_lrs", "last_epoch", "verbose",
}  # fmt: skip
"""Entries of every scheduler of torch; ``verbose`` of old versions."""
MOMENTA = {"use_beta1", "base_momentums", "max_momentums"}
KEYS = {name: set(inspect.signature(law).parameters) - {"lr"} for name, law in schedules.table("torch").items()} | {
    "CosineAnnealingWarmRestarts": {"T_0", "T_mult", "eta_min", "T_cur", "T_i"},
    "CyclicLR": {"max_lrs", "total_size", "step_ratio", "mode", "gamma", "scale_mode", "cycle_momentum"}
    | {"_scale_fn_custom", *MOMENTA},
    "LambdaLR": {"lr_lambdas"},
    "OneCycleLR": {"total_steps", "_schedule_phases", "_anneal_func_type", "cycle_momentum", "use_beta1"},
    "SWALR": {"anneal_epochs", "_anneal_strategy"},
}
"""The entries of each scheduler of torch beside the common ones; most are its arguments."""


def written(form: Form, rates: Sequence[float], base_lrs: Sequence[Any], epoch: float, beta1: bool) -> dict[str, Any]:
    """The entries of torch's own class at a step, without the last rates; none of it where torch has no such class."""
    common = {
        "base_lrs": list(base_lrs), "last_epoch": epoch, "_step_count": int(epoch) + 1 if epoch > 0 else 1,
        "_is_initial": False, "_get_lr_called_within_step": False,
    }  # fmt: skip
    groups = range(len(base_lrs))
    match form:
        case Named():
            if form.name == "CosineAnnealingWarmRestarts":
                common["last_epoch"] = math.floor(epoch)
            return common | entries(form, len(groups), epoch, beta1)
        case Factors():
            return common | {"lr_lambdas": [None] * len(groups)}
        case Chained(parts) if _torch_has(form):
            return {"_schedulers": [_part(part, rates, rates, rates, epoch, beta1) for part in parts]}
        case Sequential(parts, own) if _torch_has(form):
            laws = [form.laws(i, rates[i]) for i in groups]
            states = []
            for k, part in enumerate(parts):
                at = form.local(k, epoch)
                last = [law[k]["lr"](max(at, 0)) for law in laws]
                bases = [part.base(i, own[k][i]) for i in groups]
                states.append(_part(part, rates if k == 0 else own[k], bases, last, at, beta1))
            return {"_milestones": list(form.milestones), "last_epoch": epoch, "_schedulers": states}
    return common


def _part(form: Form, rates: Any, bases: Any, last: Any, epoch: float, beta1: bool) -> dict[str, Any]:
    return written(form, rates, bases, epoch, beta1) | {"_last_lr": list(last)}


def _torch_has(form: Form) -> bool:
    """Tell whether torch's classes hold such a composition: chains of factors, sequences that may begin with one."""
    match form:
        case Chained(parts):
            return all(part.factor and (isinstance(part, Named) or _chain(part)) for part in parts)
        case Sequential((first, *others)):
            return (isinstance(first, Named | Factors) or _chain(first)) and all(
                isinstance(part, Named | Factors) for part in others
            )
    return False


def _chain(form: Form) -> bool:
    return isinstance(form, Chained) and _torch_has(form)


def entries(form: Named, n: int, epoch: float, beta1: bool) -> dict[str, Any]:
    """The entries of torch's scheduler of a name beside the common ones."""
    given = form.given
    own = [form.own(i) for i in range(n)]
    momentum: dict[str, Any] = {"use_beta1": beta1} if given.get("cycle_momentum") else {}
    match form.name:
        case "CosineAnnealingWarmRestarts":
            _, since, length = cycle(Host, float(max(epoch, 0)), given["T_0"], given["T_mult"])
            whole = float(since).is_integer()
            return {**given, "T_cur": int(since) if whole else float(since), "T_i": round(length)}
        case "CyclicLR":
            up = float(given["step_size_up"])
            total = up + (up if given["step_size_down"] is None else float(given["step_size_down"]))
            if momentum:
                momentum["base_momentums"] = [each["base_momentum"] for each in own]
                momentum["max_momentums"] = [each["max_momentum"] for each in own]
            scale = "iterations" if given["mode"] == "exp_range" else "cycle"
            return {
                "max_lrs": [each["max_lr"] for each in own], "total_size": total, "step_ratio": up / total,
                "mode": given["mode"], "gamma": given["gamma"], "scale_mode": scale, "_scale_fn_custom": None,
                "cycle_momentum": given["cycle_momentum"], **momentum,
            }  # fmt: skip
        case "OneCycleLR":
            steps = given["total_steps"]
            steps = given["epochs"] * given["steps_per_epoch"] if steps is None else steps
            return {
                "total_steps": steps, "_schedule_phases": _phases(steps, given["pct_start"], given["three_phase"]),
                "_anneal_func_type": given["anneal_strategy"], "cycle_momentum": given["cycle_momentum"], **momentum,
            }  # fmt: skip
        case "SWALR":
            return {"anneal_epochs": given["anneal_epochs"], "_anneal_strategy": given["anneal_strategy"]}
        case "MultiStepLR":
            return {**given, "milestones": Counter(given["milestones"])}
    return dict(given)


def _phases(steps: int, rise: float, three: bool) -> list[dict[str, Any]]:
    """Torch's phases of one cycle: where each ends, and from which to which of a group's entries it goes."""
    ends = [float(rise * steps) - 1, *([float(2 * rise * steps) - 2] if three else []), steps - 1]
    rates = ["initial_lr", "max_lr", *(["initial_lr"] if three else []), "min_lr"]
    momenta = ["max_momentum", "base_momentum", "max_momentum", *(["max_momentum"] if three else [])]
    return [
        {
            "end_step": end, "start_lr": rates[k], "end_lr": rates[k + 1],
            "start_momentum": momenta[k], "end_momentum": momenta[k + 1],
        }
        for k, end in enumerate(ends)
    ]  # fmt: skip
