"""Tensors that no loop can reach, whole lists at a time: the graph of a law interpreted with torch's foreach.

A node is one operation on the tensors of all leaves, so that a step costs about as many launches as its law has
nodes, however many tensors there are. Nothing waits for the device: sums stay there, as do the scalars made of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from optcore.backends.fused.trace.program import REDUCTIONS, WEAK, Program, evaluate
from optcore.requests import Handler, Total, interpret

__all__ = ["Lists", "copied", "together"]

GIVEN = ("input", "own", "shared", "literal", *WEAK)
COMMUTE = ("add", "mul", "maximum", "minimum")
ONE_FOR_ALL = ("add", "mul", "div")
"""Operations that take a single 0-d tensor for a whole list."""
SINGLE: dict[str, Callable[..., Any]] = {
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
    "and": operator.and_, "or": operator.or_, "not": torch.logical_not, "isfinite": torch.isfinite,
    "where": torch.where,
}  # fmt: skip
"""The operations without a foreach form, which are called once for each tensor."""


@dataclass
class Lists:
    """Leaves of one program, dtype and device.

    ``arrays`` holds, by name, the tensors of p, g and the fields of the state; ``constants`` the numbers of each leaf.
    While it runs, a node is a list: numbers or tensors, one for each leaf or a single one that serves them all.
    """

    program: Program
    compute: Any  #: the dtype of computation
    fields: tuple[str, ...]  #: the state's
    at: list[int] = field(default_factory=list)
    arrays: dict[str, list[Any]] = field(default_factory=dict)
    constants: list[Sequence[float]] = field(default_factory=list)

    def run(self, shared: Mapping[str, Any]) -> Generator[Any, Any, dict[str, list[Any]]]:
        """Compute without writing: yields the local values of each round, returns what each array becomes."""
        nodes, rounds = self.program.nodes, self.program.rounds
        self.device = self.arrays["p"][0].device
        self.full: set[int] = set()  #: nodes that are of their leaf's shape, in fact and not only in the graph
        self.fresh: set[int] = set()  #: nodes whose memory is nobody else's
        self.env: dict[int, list[Any]] = {}
        every = [("p", self.program.parameter), *zip(self.fields, self.program.state, strict=True)]
        named = {name: x for name, x in every if x is not None}
        uses = [0] * len(nodes)
        for x in [*named.values(), *(x for each in rounds for x, _ in each)]:
            uses[x] += 1
        for i in reversed(range(len(nodes))):
            for x in nodes[i][1] if uses[i] else ():
                uses[x] += 1
        answered: list[Any] = []
        for i, (op, args, attribute) in enumerate(nodes):
            if op == "total" and attribute[0] == len(answered):
                answered.append((yield tuple(Total(self._each(self.env[x]), how) for x, how in rounds[len(answered)])))
            if not uses[i]:
                continue
            for x in args:
                uses[x] -= 1
            if op == "total":
                self.env[i] = [answered[attribute[0]][attribute[1]].to(self.device, self.compute)]
            elif op in GIVEN:
                self.env[i] = self._leaf(i, op, attribute, shared)
            else:
                self.env[i] = self._node(i, op, args, [x in self.fresh and not uses[x] for x in args])
            for x in args:
                if not uses[x]:
                    self.env.pop(x, None)
        return {name: self._result(name, x) for name, x in named.items()}

    def _leaf(self, i: int, op: str, attribute: Any, shared: Mapping[str, Any]) -> list[Any]:
        """A node that takes no other."""
        if op == "literal":
            return [attribute[0]]
        if op in WEAK:
            values = [c[attribute] if op == "constant" else 1.0 / c[attribute] for c in self.constants]
            return values[:1] if len(set(values)) == 1 else values
        if op == "shared":
            return [shared[attribute].to(self.device, self.compute)]
        if op == "input":
            self.full.add(i)
        given = self.arrays[attribute]
        if given[0].dtype is self.compute:
            return given
        self.fresh.add(i)
        return copied(given, self.compute)

    def _node(self, i: int, op: str, args: Sequence[int], spare: Sequence[bool]) -> list[Any]:
        """One operation; ``spare`` tells whose memory may be used for the result."""
        values = [self.env[x] for x in args]
        if op in REDUCTIONS:
            self.fresh.add(i)
            return [_reduced(op, x) for x in self._shaped(values[0], self.arrays["p"])]
        if not any(map(_on_device, values)):
            found: list[Any] = np.atleast_1d(evaluate(op, [np.asarray(x) for x in values])).tolist()
            return found
        size = max(map(len, values))
        if any(x in self.full for x in args):
            self.full.add(i)
        self.fresh.add(i)
        if op in SINGLE:
            values = [self._tensors(x) if op == "where" else self._rounded(x) for x in values]
            return [SINGLE[op](*each) for each in zip(*(x * (size // len(x)) for x in values), strict=True)]
        into = [
            ok and len(value) == size and (x in self.full) == (i in self.full)
            for ok, value, x in zip(spare, values, args, strict=True)
        ]
        if op == "sign":  # torch makes 0 of a NaN; what lies between x, s and s is s, or NaN
            signs = _call("sign", values[0])
            return _call("maximum", _call("minimum", values[0], signs, into=into[0]), signs, into=True)
        if len(values) == 1:
            return _call(op, values[0], into=into[0])
        return self._binary(op, self._rounded(values[0]), self._rounded(values[1]), into)

    def _binary(self, op: str, a: list[Any], b: list[Any], into: Sequence[bool]) -> list[Any]:
        first, second = into
        if op == "sub" and (not _on_device(a) or len(a) < len(b)):
            return _call("add", _call("neg", b, into=second), a, into=len(b) >= len(a))
        if not _on_device(a) and op == "div" and set(a) == {1.0}:
            return _call("reciprocal", b, into=second)
        if not _on_device(a) and op in ("div", "pow"):
            filled = [torch.empty_like(x) for x in b * (len(a) if len(b) == 1 else 1)]
            torch._foreach_zero_(filled)
            return _call(op, _call("add", filled, a, into=True), b, into=True)
        if op in COMMUTE and (not _on_device(a) or (_on_device(b) and len(a) < len(b)) or (second and not first)):
            a, b, first = b, a, second
        if op == "sub" and _on_device(b) and len(b) < len(a):
            op, b = "add", [-b[0]]
        return _call(op, a, b, into=first)

    def _rounded(self, x: list[Any]) -> list[Any]:
        """Numbers as the tensors they meet would hold them: some devices refuse one that overflows."""
        return x if _on_device(x) or self.compute is torch.float64 else np.asarray(x, np.float32).tolist()

    def _tensors(self, x: list[Any]) -> list[Any]:
        """A list of tensors, numbers as 0-d ones; filled on the device, since a copy would wait for it."""
        if _on_device(x):
            return x
        return [
            torch.full((), v, dtype=torch.bool if isinstance(v, bool) else self.compute, device=self.device) for v in x
        ]

    def _each(self, x: list[Any]) -> list[Any]:
        """One tensor for every leaf."""
        return self._tensors(x) * (len(self.at) // len(x))

    def _shaped(self, x: list[Any], like: Sequence[Any]) -> list[Any]:
        """Tensors of the shapes of others."""
        return [a if a.shape == b.shape else a.expand(b.shape) for a, b in zip(self._each(x), like, strict=True)]

    def _result(self, name: str, i: int) -> list[Any]:
        """Return an array's new value: itself, or memory that no other has, so that given arrays may be written."""
        found = self.env[i]
        if name not in self.arrays:  # a shared field: one 0-d tensor, never written in place
            return self._tensors(found[:1])
        given = self.arrays[name]
        if found is given:
            return given
        whole = self._shaped(found, given)
        if i in self.fresh and all(map(operator.is_, whole, found)) and len(found) == len(given):
            self.fresh.discard(i)
            return whole
        return copied(whole, self.compute)


def _on_device(x: Sequence[Any]) -> bool:
    return isinstance(x[0], torch.Tensor)


def _call(op: str, a: list[Any], *others: list[Any], into: bool = False) -> list[Any]:
    """A foreach operation, in the memory of its first operand where ``into`` says so."""
    size = max(map(len, (a, *others)))
    given: list[Any] = []
    for b in others:
        single = len(b) == 1 and (not _on_device(b) or (op in ONE_FOR_ALL and b[0].ndim == 0))
        given.append(b[0] if single else b * (size // len(b)))
    a = a * (size // len(a))
    run = getattr(torch, f"_foreach_{op}{'_' * into}")
    if op == "add" and torch.is_tensor(given[0]):  # without alpha torch takes a 0-d tensor for a number, and reads it
        run = partial(run, alpha=1)
    found = run(a, *given)
    return a if into else list(found)


def copied(arrays: Sequence[Any], dtype: Any) -> list[Any]:
    made = [torch.empty_like(x, dtype=dtype) for x in arrays]
    torch._foreach_copy_(made, list(arrays))
    return made


def _reduced(op: str, x: Any) -> Any:
    if op == "sum":
        return torch.sum(x)
    return torch.max(x) if x.numel() else torch.full((), -torch.inf, dtype=x.dtype, device=x.device)


class _Totals(Handler):
    """Totals on the first device, in float64 where every such device has it."""

    def total(self, parts: Sequence[Total]) -> Sequence[Any]:
        local = [x for part in parts for x in part.value]
        whole = torch.stack([x.to(local[0].device) for x in local])
        whole = whole.double() if whole.device.type in ("cpu", "cuda") else whole
        return [torch.max(whole) if parts[0].how == "max" else torch.sum(whole)] * len(parts)


def together(running: Sequence[Generator[Any, Any, dict[str, list[Any]]]]) -> list[dict[str, list[Any]]]:
    """Run lists side by side, with totals over all of them."""
    return interpret(running, _Totals())
