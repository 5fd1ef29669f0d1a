"""The state dicts of torch's schedulers: written as torch's own classes would at a step, and read from theirs.

torch's classes load by taking every entry over, so that a state of ours holds their entries, in closed form. Beside
them ``state["optcore"]`` holds the form and the rates that the groups had when the state was taken. It counts only as
long as torch's entries are those that it gives: behind steps of torch's own class, or an edit, the entries do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from optcore.adapters.torch.schedulers.entries import COMMON, KEYS, MOMENTA, entries, written
from optcore.adapters.torch.schedulers.forms import WHO, Chained, Form, Named, Sequential, from_data, through

__all__ = ["OURS", "Found", "epoch_of", "read", "record"]

OURS = "optcore"
"""The entry that is ours."""
VOLATILE = COMMON - {"base_lrs", "last_epoch"}
NOTHING = Form()
"""No schedule of ours beside the one that is read."""
SHORT = 1e-6
"""The room for a rate of torch's beside the schedule's, as a share of the first rate: torch's products drift."""


@dataclass
class Found:
    """A scheduler at a step, as a state holds it; ``lr`` are the groups' rates where the state is ours."""

    form: Form
    rates: list[float] | None
    base_lrs: list[Any]
    epoch: float
    lr: list[float] | None = None


def record(form: Form, rates: Sequence[float] | None, base_lrs: Sequence[Any], epoch: float, lr: Any) -> dict[str, Any]:
    """Our own entry: everything that torch's do not tell."""
    kept = None if rates is None else list(rates)
    return {"form": form.data(), "rates": kept, "base_lrs": list(base_lrs), "last_epoch": epoch, "lr": list(lr)}


def epoch_of(state: Mapping[str, Any]) -> Any:
    """The step of a state; that of its parts where torch's chain keeps none."""
    if "last_epoch" not in state and state.get("_schedulers"):
        return epoch_of(state["_schedulers"][0])
    if "last_epoch" not in state:
        raise ValueError(f"{WHO}: a state with {sorted(state)} is none of a scheduler; give its state_dict()")
    return state["last_epoch"]


def read(state: Mapping[str, Any], own: Form, groups: Sequence[Mapping[str, Any]], beta1: bool) -> Found:
    """The scheduler of a state, ours or torch's own, for a scheduler of form ``own``; ValueError where it fits none."""
    epoch, mine = epoch_of(state), state.get(OURS)
    if mine is not None and "form" in mine:
        form, rates, bases = from_data(mine["form"]), mine["rates"], mine["base_lrs"]
        gives = written(form, bases if rates is None else rates, bases, mine["last_epoch"], beta1)
        if all(_same(value, state.get(key), key) for key, value in gives.items()):
            if len(mine["lr"]) != len(groups):
                raise ValueError(
                    f"{WHO}: the state holds the rates of {len(mine['lr'])} parameter groups, the optimizer has "
                    f"{len(groups)}"
                )
            return Found(form, rates, list(bases), mine["last_epoch"], list(mine["lr"]))
    found = _torchs({k: v for k, v in state.items() if k != OURS}, own, groups, beta1)
    last = state.get("_last_lr")
    if last is not None and epoch >= 0:
        _fit(found, last, groups)
    return found


def _same(a: Any, b: Any, key: str = "") -> bool:
    """Tell whether an entry is the one that a form gives; those that say nothing of the schedule aside."""
    if key in VOLATILE or a is b:
        return True
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return all(_same(value, b.get(k), k) for k, value in a.items())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, int | float):
        return abs(a - b) <= 1e-9 * max(abs(a), abs(b))  # the arguments come back from entries by a sum and a quotient
    return bool(a == b)


def _torchs(state: Mapping[str, Any], own: Form, groups: Any, beta1: bool) -> Found:
    """The scheduler of a state of torch's own class."""
    keys = set(state) - COMMON
    if "_schedulers" in keys:
        return (_sequence if "_milestones" in keys else _chain)(state, own, groups, beta1)
    epoch, bases = epoch_of(state), list(state.get("base_lrs", ()))
    if not float(epoch).is_integer():
        raise ValueError(
            f"{WHO}: last_epoch={epoch!r} is no whole step, between which torch's products go astray; take the state "
            "at a whole one"
        )
    rates = [float(rate) for rate in bases]
    if "lr_lambdas" in keys and any(each is not None for each in state["lr_lambdas"]):
        raise ValueError(
            f"{WHO}: lr_lambdas={state['lr_lambdas']!r} holds what only torch's LambdaLR can take; give it"
        )
    if keys <= {"lr_lambdas"}:  # the functions are not in the state: the schedules that are here stand for them
        if own is NOTHING or own.anneals:
            raise ValueError(f"{WHO}: the state of a LambdaLR does not hold its functions; load it into a LambdaLR")
        _counted(own, bases, groups)
        return Found(own, rates, bases, epoch)
    name = next((n for n, known in KEYS.items() if keys <= known and known - keys <= MOMENTA), None)
    if name is None:
        raise ValueError(
            f"{WHO}: a state with {sorted(keys)} is of no scheduler that is known here; give torch's or ours"
        )
    if name == "CosineAnnealingWarmRestarts":
        epoch += state["T_cur"] - math.floor(state["T_cur"])
    form = _read(name, state, own, groups, beta1)
    _counted(form, bases, groups)
    _round(form, {k: state[k] for k in keys}, len(bases), epoch, beta1)
    if not form.anneals:
        return Found(form, rates, bases, epoch)
    if state["_step_count"] - 1 != max(epoch, 0):
        raise ValueError(
            f"{WHO}: SWALR at _step_count={state['_step_count']} and last_epoch={epoch} counts from another step "
            "than it shows; make it anew, without last_epoch"
        )
    if epoch <= 0:
        return Found(form, None, bases, epoch)
    return Found(form, [through(form, i, float(lr), epoch) for i, lr in enumerate(state["_last_lr"])], bases, epoch)


def _counted(form: Form, bases: Sequence[Any], groups: Any) -> None:
    """Refuse a state of more groups than there are, or of less where a group that is added has no schedule."""
    if len(bases) > len(groups) or (len(bases) < len(groups) and not form.grows):
        raise ValueError(
            f"{WHO}: the state holds schedules of {len(bases)} parameter groups, the optimizer has {len(groups)}"
        )


def _read(name: str, state: Mapping[str, Any], own: Form, groups: Any, beta1: bool) -> Named:
    """The name and the arguments that entries tell; our own where they are the same."""
    n = len(state["base_lrs"])
    if isinstance(own, Named) and own.name == name:
        gives = entries(own, n, epoch_of(state), beta1) | {"T_cur": state.get("T_cur"), "T_i": state.get("T_i")}
        bases = [own.base(i, float(rate)) for i, rate in enumerate(state["base_lrs"])]
        kept = all(_same(own.kept(i).get(k, v), v) for i in range(n) for k, v in groups[i].items() if k != "params")
        if (
            kept
            and bases == list(map(float, state["base_lrs"]))
            and all(
                k in state and type(state[k]) is type(v) and state[k] == v for k, v in gives.items() if v is not None
            )
        ):
            return own
    match name:
        case "CyclicLR":
            up = state["step_ratio"] * state["total_size"]
            given = {k: state[k] for k in ("mode", "gamma", "scale_mode", "cycle_momentum")} | {
                "base_lr": list(map(float, state["base_lrs"])), "max_lr": list(state["max_lrs"]), "scale_fn": None,
                "step_size_up": round(up), "step_size_down": round(state["total_size"] - up),
                "base_momentum": state.get("base_momentums", 0.8), "max_momentum": state.get("max_momentums", 0.9),
            }  # fmt: skip
        case "OneCycleLR":
            high, first, low = (_entry(name, groups[:n], k) for k in ("max_lr", "initial_lr", "min_lr"))
            phases, steps = state["_schedule_phases"], state["total_steps"]
            momenta = {
                k: _entry(name, groups[:n], k) for k in ("base_momentum", "max_momentum") if state["cycle_momentum"]
            }
            given = {
                "max_lr": high, "total_steps": steps, "epochs": None, "steps_per_epoch": None,
                "pct_start": (phases[0]["end_step"] + 1) / steps, "anneal_strategy": state["_anneal_func_type"],
                "cycle_momentum": state["cycle_momentum"], "base_momentum": 0.85, "max_momentum": 0.95, **momenta,
                "div_factor": _ratio("max_lr", high, "initial_lr", first),
                "final_div_factor": _ratio("initial_lr", first, "min_lr", low), "three_phase": len(phases) == 3,
            }  # fmt: skip
        case "SWALR":
            given = {
                "swa_lr": _entry(name, groups[:n], "swa_lr"), "anneal_epochs": state["anneal_epochs"],
                "anneal_strategy": state["_anneal_strategy"],
            }  # fmt: skip
        case "MultiStepLR":
            counted = Counter(state["milestones"])
            given = {"milestones": tuple(sorted(counted.elements())), "gamma": state["gamma"]}
        case _:
            given = {k: state[k] for k in KEYS[name] - {"T_cur", "T_i"}}
    return Named(name, given)


def _entry(name: str, groups: Any, key: str) -> list[float]:
    """The entries that torch's scheduler keeps in the groups, not in its state."""
    if any(key not in group for group in groups):
        raise ValueError(
            f"{WHO}: {name} keeps {key} in the optimizer's groups, which do not have it; load the optimizer's state "
            "first"
        )
    return [float(group[key]) for group in groups]


def _ratio(above: str, high: Sequence[float], below: str, low: Sequence[float]) -> float:
    """The one ratio of two entries of the groups."""
    found = [a / b if b else 1.0 for a, b in zip(high, low, strict=True)]
    if any(abs(ratio - found[0]) > 1e-9 * abs(found[0]) for ratio in found):
        raise ValueError(
            f"{WHO}: {above}={high!r} and {below}={low!r} of the groups have not one ratio; OneCycleLR has"
        )
    return found[0]


def _round(form: Named, state: Mapping[str, Any], n: int, epoch: float, beta1: bool) -> None:
    """Refuse entries that the form they were read as would not write: a cycle that another step began, say."""
    for key, value in entries(form, n, epoch, beta1).items():
        if not _same(value, state.get(key)):
            raise ValueError(
                f"{WHO}: {form.name} at last_epoch={math.floor(epoch)} with {key}={state.get(key)!r} is no schedule of "
                f"the step, which would have {key}={value!r}; take the state of a run without jumps"
            )


def _members(state: Mapping[str, Any], own: Sequence[Form], groups: Any, beta1: bool) -> list[Found]:
    """The parts of a composition, each beside our own where there are as many."""
    states = state["_schedulers"]
    owns = list(own) if len(own) == len(states) else [NOTHING] * len(states)
    owns = [
        NOTHING if "lr_lambdas" in each and isinstance(x, Named) else x for each, x in zip(states, owns, strict=True)
    ]
    return [_torchs(each, mine, groups, beta1) for each, mine in zip(states, owns, strict=True)]


def _chain(state: Mapping[str, Any], own: Form, groups: Any, beta1: bool) -> Found:
    found = _members(state, own.parts if isinstance(own, Chained) else (), groups, beta1)
    if len({part.epoch for part in found}) > 1:
        raise ValueError(f"{WHO}: the chained schedulers are at steps {[part.epoch for part in found]}, not at one")
    for part in found:
        if not (part.form.multiplies and part.form.factor):
            raise ValueError(f"{WHO}: {part.form!r} sets the rate and is no factor of it; leave the chain to torch")
    return Found(Chained(tuple(part.form for part in found)), found[0].rates, found[0].base_lrs, found[0].epoch)


def _sequence(state: Mapping[str, Any], own: Form, groups: Any, beta1: bool) -> Found:
    found = _members(state, own.parts if isinstance(own, Sequential) else (), groups, beta1)
    cycles = [part for part in found if isinstance(part.form, Named) and part.form.name == "OneCycleLR"]
    rates = (cycles or found)[-1 if cycles else 0].base_lrs  # a cycle has set what the others begin with
    epoch, own_rates = state["last_epoch"], tuple(tuple(map(float, part.base_lrs)) for part in found)
    form = Sequential(tuple(part.form for part in found), own_rates, tuple(state["_milestones"]))
    for k, part in enumerate(found):
        if part.epoch != form.local(k, epoch):
            raise ValueError(
                f"{WHO}: part {k} of the sequence is at step {part.epoch}, and from last_epoch={epoch} and "
                f"milestones={list(form.milestones)} would be at {form.local(k, epoch)}; take the state of a run "
                "without jumps"
            )
    return Found(form, list(map(float, rates)), list(rates), epoch)


def _fit(found: Found, last: Sequence[Any], groups: Any) -> None:
    """Refuse a state whose rates are not those of its schedule; and take those of groups that were added in torch."""
    form, rates = found.form, found.rates
    if rates is None:
        return
    if len(last) > len(groups):
        raise ValueError(
            f"{WHO}: the state holds rates of {len(last)} parameter groups, the optimizer has {len(groups)}"
        )
    for i, rate in enumerate(last):
        if i == len(rates):
            rates.append(through(form, i, float(rate), found.epoch))
            found.base_lrs.append(form.base(i, rates[i]))
        law = form.law(i, rates[i])["lr"]
        size = max(abs(law(0)), abs(law(found.epoch)), abs(float(rate)))
        drift = 4 * (found.epoch + 1) * torch.finfo(rate.dtype).eps if torch.is_tensor(rate) else 0.0
        if not abs(law(found.epoch) - float(rate)) <= max(SHORT, drift) * size:
            raise ValueError(
                f"{WHO}: the rate of group {i} in the state is {float(rate)!r} at step {found.epoch}, and its schedule "
                f"gives {law(found.epoch)!r}: {law!r}. It was edited by hand, or comes from other arguments than the "
                "optimizer's groups hold; load the optimizer's state first, or make another scheduler"
            )
