"""A group's options: those that follow a schedule are shown as the numbers they have now, and kept as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optcore.adapters.native.numbers import from_text, to_text
from optcore.backends.base import missing
from optcore.schedule import Schedule

try:
    import torch
except ImportError:
    raise missing("torch", "torch") from None

__all__ = ["COUNTERS", "RUN", "computed", "counter", "laws_of", "scalar", "shown", "stopped", "texts"]

RUN = ("foreach", "fused", "capturable", "differentiable")
"""Options that say how to run; they are accepted, kept in the groups and read where they matter."""
COUNTERS: dict[str, Any] = {"updates": 0, "micro": 0, "schedules": {}}
"""The entries of a group beside its options: updates made, gradients gathered, options that follow a schedule."""


def counter(value: float = 0.0, device: Any = "cpu") -> Any:
    """A count as torch keeps one, whatever dtype torch makes tensors of: bfloat16 would stop at 256."""
    return torch.tensor(float(value), dtype=torch.float32, device=device)


def stopped(group: Mapping[str, Any]) -> bool:
    """Tell whether a rate of 0 stands where a schedule of ours wrote another number, so that someone else means it.

    torch's distributed checkpoints make such a step to have a state, and nothing may move in it.
    """
    law, rate = laws_of(group).get("lr"), group["lr"]
    if law is None or (torch.is_tensor(rate) and rate.numel() != 1) or float(rate) != 0.0:
        return False
    return all(float(law(e)) != 0.0 for e in (group["updates"], max(group["updates"] - 1, 0)))


def texts(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are schedules, or lists with one, as text that a state dict can keep."""
    return {k: text for k, v in options.items() if k not in ("params", *COUNTERS) and (text := _text(v)) is not None}


def laws_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's options that follow a schedule, with the schedules in the places of the numbers shown."""
    return {name: _law(group[name], text) for name, text in group["schedules"].items()}


def shown(law: Any, updates: int) -> Any:
    """The numbers that an option has after so many updates."""
    if isinstance(law, tuple | list):
        return tuple(shown(member, updates) for member in law)
    return float(law(updates)) if isinstance(law, Schedule) else law


def computed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a constructor computes with; a tensor of one element is a 0-d one."""
    return {k: scalar(v) for k, v in options.items() if k not in (*RUN, *COUNTERS, "like")}


def scalar(value: Any) -> Any:
    """A tensor of one element as a 0-d one, anything else as it is."""
    return value.reshape(()) if torch.is_tensor(value) and value.numel() == 1 else value


def _text(value: Any) -> Any:
    """The text of a schedule; of a list, that of each member; None where there is none."""
    if isinstance(value, Schedule):
        return to_text(value)
    if isinstance(value, tuple | list):
        found = tuple(_text(member) for member in value)
        return found if any(text is not None for text in found) else None
    return None


def _law(value: Any, text: Any) -> Any:
    if isinstance(text, tuple | list):
        return tuple(_law(member, own) for member, own in zip(value, text, strict=True))
    return value if text is None else from_text(text)
