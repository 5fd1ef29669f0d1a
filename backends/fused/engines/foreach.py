"""Leaves of torch on other devices than the processors: which of them run as lists of tensors, and a step of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from optcore.backends.base import Backend
from optcore.backends.fused.engines.engine import Engine, Results
from optcore.backends.fused.engines.lists import Lists, copied, together
from optcore.backends.fused.trace.graph import Unfusable
from optcore.backends.fused.trace.program import of_leaf
from optcore.backends.leaf import Leaf, Moved
from optcore.backends.torch import PLAIN
from optcore.rule import Rule
from optcore.scalars import is_host

__all__ = ["Foreach"]

ON_CPU = False
"""True if tensors on the CPU are taken too, which gains no time there; the tests set it to try this engine."""


class Foreach(Engine):
    """Leaves that run as lists of tensors, a launch for each operation of their law."""

    def __init__(self, rule: Rule, backend: Backend, shared: Sequence[Any], donate: bool) -> None:
        super().__init__(rule, backend, shared, donate)
        self.common = dict(zip([f.name for f in rule.fields if f.shared], shared, strict=True))
        self.groups: dict[Any, Lists] = {}
        self.traces: dict[Any, Any] = {}
        self.rounds = bool(self.common)

    @property
    def taken(self) -> set[int]:
        return {i for group in self.groups.values() for i in group.at}

    def take(self, leaves: Mapping[int, Leaf]) -> dict[int, Leaf]:
        if not ON_CPU and all(leaf.p.device.type == "cpu" for leaf in leaves.values()):
            return dict(leaves)
        return {i: leaf for i, leaf in leaves.items() if not self._add(i, leaf)}

    def _add(self, i: int, leaf: Leaf) -> bool:
        """Take leaf i, if its law can be run element by element and its tensors lie side by side on one device."""
        if leaf.chance or not is_host(leaf.t):
            return False  # rounding by chance is eager where there is no loop
        rule, known, p = self.rule, leaf.signature(self.rule, self.backend), leaf.p
        if known.dtype.startswith("complex") or "other" in known.kinds:
            return False
        arrays = {"p": p, "g": leaf.g}
        for f, x, kind in zip(rule.fields, rule.unpack(leaf.state), known.kinds, strict=True):
            if kind in ("input", "own"):
                arrays[f.name] = x
        dtypes = {getattr(torch, name) for name in (known.dtype, known.compute)}
        if not {x.dtype for x in arrays.values()} <= dtypes or not all(_plain(x, p) for x in arrays.values()):
            return False
        memo = tuple(leaf.values.items()), leaf.t, known.seen(rule), known.kinds
        try:
            found = self.traces.get(memo)
            if found is None:
                traced, made = of_leaf(rule, known.shape, known.kinds, leaf.t, leaf.values, divide=True)
                found = self.traces[memo] = made, traced.graph.constants
        except (Unfusable, TypeError):
            return False
        self.rounds = self.rounds or bool(found[0].rounds)
        key = id(found[0]), p.device, *((name, x.dtype) for name, x in arrays.items())
        if key not in self.groups:
            names = tuple(f.name for f in rule.fields)
            self.groups[key] = Lists(found[0], getattr(torch, known.compute), names)
        group = self.groups[key]
        group.at.append(i)
        group.constants.append(found[1])
        for name, x in arrays.items():
            group.arrays.setdefault(name, []).append(x)
        return True

    def compute(self) -> None:
        """Compute all new arrays; nothing is written before every engine has done so."""
        with torch.no_grad(), np.errstate(all="ignore"):
            self.made = together([group.run(self.common) for group in self.groups.values()])

    def run(self) -> Results:
        """Write what was computed into arrays that may be written, and give the results."""
        groups = list(self.groups.values())
        results: dict[int, tuple[Moved, list[Any]]] = {}
        common: list[Any] = []
        with torch.no_grad():
            donate = self.donate and _apart(
                x for group in groups for name, xs in group.arrays.items() if name != "g" for x in xs
            )
            for group, new in zip(groups, self.made, strict=True):
                common = common or [new[name][0] for name in self.common]
                for name in group.arrays.keys() - {"g"}:
                    given = group.arrays[name]
                    if donate:
                        if new[name] is not given:
                            torch._foreach_copy_(given, new[name])
                        new[name] = given
                    elif new[name] is given or (name == "p" and given[0].dtype is not group.compute):
                        new[name] = copied(new[name], given[0].dtype)
                for k, i in enumerate(group.at):
                    own = [new[n][0 if n in self.common else k] if n in new else None for n in group.fields]
                    results[i] = Moved(new["p"][k], None), own
        return results, common


def _apart(arrays: Iterable[Any]) -> bool:
    """Tell whether no two of these tensors share memory."""
    spans = []
    for x in arrays:
        if x.numel():
            last = sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True))
            spans.append((str(x.device), x.data_ptr(), x.data_ptr() + (last + 1) * x.itemsize))
    spans.sort()
    return all(a[0] != b[0] or a[2] <= b[1] for a, b in pairwise(spans))


def _plain(x: Any, p: Any) -> bool:
    """Tell whether a tensor has its own memory for each element, on the parameter's device."""
    return type(x) in PLAIN and x.layout is torch.strided and x.device == p.device and 0 not in x.stride()
