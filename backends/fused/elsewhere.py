"""Leaves on other devices: which of them can be run as lists of tensors, and a step of these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from optcore.backends.base import COMPUTE
from optcore.backends.fused.foreach import Lists, copied, together
from optcore.backends.fused.graph import Unfusable, trace
from optcore.backends.fused.program import program
from optcore.backends.torch import PLAIN, backend
from optcore.rule import Rule
from optcore.scalars import is_host

__all__ = ["Foreach", "beside"]

ON_CPU = False
"""Whether tensors on the CPU are taken as well: there it gains nothing, and is how this route is tested."""


class Foreach:
    """Leaves that are ready to run as lists; nothing has been computed or written yet."""

    def __init__(self, rule: Rule, leaves: Sequence[Any], shared: Sequence[Any], donate: bool) -> None:
        self.rule, self.leaves, self.donate = rule, leaves, donate
        names = [f.name for f in rule.fields if f.shared]
        self.shared = dict(zip(names, shared, strict=True))
        self.groups: dict[Any, Lists] = {}
        self.traces: dict[Any, Any] = {}
        self.rounds = bool(names)
        self.loop: Any = None  #: what runs the leaves that are not taken here

    @property
    def taken(self) -> set[int]:
        """The positions of the leaves that will be run."""
        mine = {i for group in self.groups.values() for i in group.at}
        return mine | self.loop.taken if self.loop else mine

    def add(self, i: int) -> bool:
        """Take leaf i, if its law can be run element by element and its tensors lie side by side on one device."""
        if self.leaves[i].chance:
            return False  # rounding by chance is eager where there is no loop
        rule, leaf = self.rule, self.leaves[i]
        p, dtype = leaf.p, backend.dtype(leaf.p)
        if dtype.startswith("complex") or not is_host(leaf.t):
            return False
        known = p.dtype, getattr(torch, COMPUTE[dtype])
        arrays, kinds = {"p": p, "g": leaf.g}, []
        for f, x in zip(rule.fields, rule.unpack(leaf.state), strict=True):
            kinds.append("shared" if f.shared else None if x is None else "input" if x.ndim or not p.ndim else "own")
            if kinds[-1] in ("input", "own"):
                arrays[f.name] = x
                if x.dtype not in known or (x.shape != p.shape and kinds[-1] == "input"):
                    return False
        if leaf.g.dtype not in known or leaf.g.shape != p.shape or not all(_plain(x, p) for x in arrays.values()):
            return False
        shape = tuple(p.shape)
        memo = tuple(leaf.values.items()), leaf.t, shape if rule.kind == "leafwise" else len(shape), tuple(kinds)
        try:
            found = self.traces.get(memo)
            if found is None:
                traced = trace(rule, shape, leaf.t, leaf.values, kinds)
                fields = [(f.name, kind == "input") for f, kind in zip(rule.fields, kinds, strict=True)]
                found = self.traces[memo] = program(traced, fields, divide=True), traced.graph.constants
        except (Unfusable, TypeError):
            return False
        self.rounds = self.rounds or bool(found[0].rounds)
        key = id(found[0]), p.device, *((name, x.dtype) for name, x in arrays.items())
        if key not in self.groups:
            names = tuple(f.name for f in rule.fields)
            self.groups[key] = Lists(found[0], getattr(torch, COMPUTE[dtype]), names)
        group = self.groups[key]
        group.at.append(i)
        group.constants.append(found[1])
        for name, x in arrays.items():
            group.arrays.setdefault(name, []).append(x)
        return True

    def run(self, threads: int) -> tuple[dict[int, tuple[Any, list[Any]]], list[Any]]:
        """Run what was taken: for each position the new parameter and the state's arrays, and the shared fields.

        Nothing is written before everything was computed.
        """
        groups = list(self.groups.values())
        with torch.no_grad(), np.errstate(all="ignore"):
            made = together([group.run(self.shared) for group in groups])
            results, common = self.loop.run(threads) if self.loop else ({}, [])
            donate = self.donate and _apart(
                x for group in groups for name, xs in group.arrays.items() if name != "g" for x in xs
            )
            for group, new in zip(groups, made, strict=True):
                common = common or [new[name][0] for name in self.shared]
                for name in group.arrays.keys() - {"g"}:
                    given = group.arrays[name]
                    if donate:
                        if new[name] is not given:
                            torch._foreach_copy_(given, new[name])
                        new[name] = given
                    elif new[name] is given or (name == "p" and given[0].dtype is not group.compute):
                        new[name] = copied(new[name], given[0].dtype)
                for k, i in enumerate(group.at):
                    own = [new[n][0 if n in self.shared else k] if n in new else None for n in group.fields]
                    results[i] = new["p"][k], own
        return results, common


def _apart(arrays: Iterable[Any]) -> bool:
    """Whether no two of these tensors share memory."""
    spans = []
    for x in arrays:
        if x.numel():
            last = sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True))
            spans.append((str(x.device), x.data_ptr(), x.data_ptr() + (last + 1) * x.itemsize))
    spans.sort()
    return all(a[0] != b[0] or a[2] <= b[1] for a, b in pairwise(spans))


def _plain(x: Any, p: Any) -> bool:
    """Whether a tensor has a place of its own for each element, on the parameter's device."""
    return type(x) in PLAIN and x.layout is torch.strided and x.device == p.device and 0 not in x.stride()


def beside(loop: Any, rule: Rule, leaves: Sequence[Any], shared: Sequence[Any], donate: bool) -> Any:
    """What a loop does not take, and the loop; the loop alone where no tensor here is on another device."""
    found = Foreach(rule, leaves, shared, donate)
    done = loop.taken if loop else ()
    rest = [i for i in range(len(leaves)) if i not in done]
    if not ON_CPU and all(leaves[i].p.device.type == "cpu" for i in rest):
        return loop
    every = all([found.add(i) for i in rest])
    if not found.groups or (found.rounds and (loop or not every)):
        return loop  # a total is over all leaves
    found.loop = loop
    return found
