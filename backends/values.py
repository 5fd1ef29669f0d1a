"""The hyper-parameters of a rule at a step, with schedules evaluated and layouts filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optcore.backends.base import Backend
from optcore.hyper import Hyper
from optcore.rule import Rule
from optcore.scalars import is_host
from optcore.schedule import Schedule, resolve

__all__ = ["is_static", "laid_out", "numbers", "usual"]


def laid_out(values: Mapping[str, Any], layout: str) -> dict[str, Any]:
    """Return the values with this layout for every ``layout`` that is None: rules that distinguish axes have one."""
    return {k: layout if v is None and k.rpartition(".")[2] == "layout" else v for k, v in values.items()}


def numbers(
    values: Mapping[str, Any], backend: Backend, step: Any, hypers: Mapping[str, Hyper] | None = None
) -> dict[str, Any]:
    """Return the hyper-parameters at a step of the driver (0 for the first update), with schedules evaluated.

    With ``hypers`` a schedule's value must lie in the bounds of its hyper-parameter, else ValueError is raised.
    """
    e = step if is_host(step) else backend.floating(step)
    found = {name: resolve(value, backend.xp, e) for name, value in values.items()}
    for name, value in values.items():
        if hypers and isinstance(value, Schedule) and is_host(found[name]):
            hypers[name].check(f"{value.name} at step {step}", found[name])
    return found


def usual(rule: Rule, backend: Backend, step: int = 0) -> dict[str, Any]:
    """Return the hyper-parameters that a rule has by itself at a step, with the native layout of the library."""
    return laid_out(numbers(rule.complete(), backend, step), backend.native_layout)


def is_static(value: Any) -> bool:
    """Tell whether a hyper-parameter is a Python number or switch, and no array."""
    return value is None or isinstance(value, bool | int | float | str)
