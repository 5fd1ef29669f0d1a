"""The program of a traced law: its passes over memory, and the arithmetic of its scalars between them.

A pass is one loop over all elements of all leaves. Every sum over a leaf needs a reading pass before the operations
that depend on it. A reading pass recomputes the values it needs from the law's inputs and writes no array; the last
pass writes. Scalars, which are the same for all elements of a leaf, are computed on the host between the passes, as
vectors with one entry for each leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from optcore.backends.fused.trace.graph import TRUTH, Node, Trace, trace
from optcore.requests import How, Total
from optcore.rule import Rule

__all__ = ["Pass", "Program", "of_leaf", "program"]

REDUCTIONS = {"sum": np.add, "reduce_max": np.maximum}
WEAK = ("constant", "reciprocal")


@dataclass(frozen=True)
class Pass:
    """One pass over all leaves: the element nodes that it computes, in order, and those that it sums or writes."""

    body: tuple[int, ...]  #: the element nodes, inputs included
    inputs: tuple[str, ...]  #: the arrays that the pass reads
    row: tuple[int, ...]  #: the scalar nodes that the pass takes as arguments
    reduce: tuple[tuple[int, str, int], ...]  #: (result, operation, element node) for each sum or maximum
    write: tuple[tuple[str, int], ...]  #: (array, element node) for each array that the pass writes
    squares: tuple[tuple[int, int, int], ...]  #: (place in reduce, part, element node) of an array's three sums


class Key:
    """A key that distinguishes programs; it keeps its hash, since hashing a graph of many nodes takes time."""

    __slots__ = ("hash", "value")

    def __init__(self, value: Any) -> None:
        self.value, self.hash = value, hash(value)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and (self.value is other.value or self.value == other.value)


@dataclass(frozen=True)
class Program:
    """The passes over memory that run one graph, with the nodes of its scalars and results."""

    key: Key
    nodes: tuple[Node, ...]
    scalar: tuple[bool, ...]
    passes: tuple[Pass, ...]
    level: tuple[int, ...]  #: for each node, the number of reading passes that must come before it
    parameter: int | None
    state: tuple[int | None, ...]
    rounds: tuple[tuple[tuple[int, How], ...], ...]
    divisors: tuple[int, ...]  #: the places of the constants by which elements are divided

    @cached_property
    def leafwise(self) -> bool:
        """True if scalars may differ from leaf to leaf, since one is a sum over a leaf or a 0-d field of it."""
        return any(op in REDUCTIONS or op == "own" for op, _, _ in self.nodes)

    @cached_property
    def plan(self) -> list[list[int]]:
        """The scalar nodes to compute before each pass, in order; sums are not among them, passes compute those."""
        plan: list[list[int]] = [[] for _ in self.passes]
        for i, (op, _, _) in enumerate(self.nodes):
            if self.scalar[i] and op not in REDUCTIONS and self.level[i] < len(self.passes):
                plan[self.level[i]].append(i)
        return plan

    def scalars(
        self,
        constants: Any,
        shared: Mapping[str, Any],
        own: Mapping[str, Any],
        compute: Any,
        read: Callable[[Pass, dict[int, Any]], Sequence[Any]],
    ) -> Generator[Any, Any, dict[int, Any]]:
        """Compute every scalar node, with the reading passes in between; return their values by node.

        ``constants`` is a float64 array of shape (rows, constants); every other scalar is an array with one entry for
        each row, in the dtype ``compute``. ``read`` runs a reading pass and returns its sums. Yields the requests of
        each round of totals, and receives the totals.
        """
        env: dict[int, Any] = {}
        answered: list[Any] = []
        rows = len(constants)
        for stage in range(len(self.passes)):
            for i in self.plan[stage]:
                op, args, attribute = self.nodes[i]
                if op == "constant":
                    env[i] = constants[:, attribute]
                elif op == "reciprocal":
                    env[i] = 1.0 / constants[:, attribute]
                elif op in ("shared", "own"):
                    env[i] = np.broadcast_to(
                        np.asarray((shared if op == "shared" else own)[attribute], dtype=compute), rows
                    )
                elif op == "literal":
                    env[i] = np.full(rows, attribute[0], compute)
                elif op == "total":
                    n, k = attribute
                    if n == len(answered):
                        answered.append((yield tuple(Total(env[x], how) for x, how in self.rounds[n])))
                    env[i] = np.full(rows, answered[n][k], compute)
                else:
                    env[i] = evaluate(op, [self._strong(env, x, compute) for x in args])
            if stage < len(self.passes) - 1:
                one = self.passes[stage]
                for (result, _, _), value in zip(one.reduce, read(one, env), strict=True):
                    env[result] = value.astype(compute)
        return env

    def _strong(self, env: Mapping[int, Any], i: int, compute: Any) -> Any:
        """Return the value of a node in the dtype of computation, which a Python number takes among arrays."""
        return env[i].astype(compute) if self.nodes[i][0] in WEAK else env[i]


def _sign(x: Any) -> Any:
    return np.where(x == 0, np.zeros_like(x), np.sign(x))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power, "neg": np.negative,
    "abs": np.abs, "sign": _sign, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "expm1": np.expm1, "cos": np.cos,
    "floor": np.floor, "maximum": np.maximum, "minimum": np.minimum, "where": np.where, "isfinite": np.isfinite,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
    "ne": np.not_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
}  # fmt: skip


def evaluate(op: str, args: Sequence[Any]) -> Any:
    """Compute one node on NumPy arrays."""
    return FUNCTIONS[op](*args)


def boolean(node: Node) -> bool:
    """Tell whether the value of a node is a truth value."""
    return node[0] in TRUTH


def _without_divisions(nodes: list[Node], scalar: list[bool]) -> tuple[int, ...]:
    """Turn each quotient of an element by a constant into a product with its reciprocal; return the constants' places.

    A division takes as much time as all the other arithmetic of a typical law.
    """
    divisors: dict[int, int] = {}
    for i, (op, args, _) in enumerate(nodes):
        if op == "div" and not scalar[i] and nodes[args[1]][0] == "constant":
            place = nodes[args[1]][2]
            if place not in divisors:
                divisors[place] = len(nodes)
                nodes.append(("reciprocal", (), place))
                scalar.append(True)
            nodes[i] = ("mul", (args[0], divisors[place]), None)
    return tuple(divisors)


@lru_cache(maxsize=512)
def _of_key(key: Any, names: tuple[tuple[str, bool], ...], divide: bool) -> Program:
    (given, parameter, state, rounds), alone = key
    nodes, scalar = list(given), list(alone)
    divisors = () if divide else _without_divisions(nodes, scalar)
    level = [0] * len(nodes)
    reached = [0] * len(rounds)
    for i, (op, args, attribute) in enumerate(nodes):
        level[i] = max((level[x] for x in args), default=0) + (op in REDUCTIONS)
        if op == "total":
            n = attribute[0]
            reached[n] = max([level[x] for x, _ in rounds[n]] + reached[:n])
            level[i] = reached[n]
    outputs = [
        *([] if parameter is None else [("p", parameter)]),
        *((name, x) for (name, leaf), x in zip(names, state, strict=True) if leaf),
    ]
    needed = _reachable(nodes, [x for _, x in outputs if x is not None])
    live = _reachable(nodes, [x for x in (parameter, *state) if x is not None] + [x for r in rounds for x, _ in r])
    passes = []
    last = max((level[i] for i in live), default=0)
    for stage in range(last):
        sums = tuple(
            (i, op, args[0])
            for i, (op, args, _) in enumerate(nodes)
            if i in live and op in REDUCTIONS and level[i] == stage + 1
        )
        passes.append(_pass(nodes, scalar, _reachable(nodes, [x for _, _, x in sums]), sums, ()))
    writes = tuple((name, x) for name, x in outputs if x is not None)
    passes.append(_pass(nodes, scalar, needed, (), writes))
    level = [n if i in live else len(passes) for i, n in enumerate(level)]  # a node that no result needs is left out
    settled = Key((tuple(nodes), tuple(scalar), parameter, state, rounds))
    return Program(
        settled, tuple(nodes), tuple(scalar), tuple(passes), tuple(level), parameter, state, rounds, divisors
    )


def _reachable(nodes: Sequence[Node], roots: Sequence[int]) -> set[int]:
    seen: set[int] = set()
    todo = list(roots)
    while todo:
        i = todo.pop()
        if i not in seen:
            seen.add(i)
            todo.extend(nodes[i][1])
    return seen


def _pass(
    nodes: Sequence[Node],
    scalar: Sequence[bool],
    needed: set[int],
    reduce: tuple[tuple[int, str, int], ...],
    write: tuple[tuple[str, int], ...],
) -> Pass:
    """Return the pass that computes these sums and writes; it takes the scalar nodes it meets as arguments."""
    used: set[int] = set()
    todo = [x for _, _, x in reduce] + [x for _, x in write]
    row: set[int] = set()
    while todo:
        i = todo.pop()
        if scalar[i]:
            row.add(i)
        elif i not in used and i in needed:
            used.add(i)
            todo.extend(nodes[i][1])
    body = tuple(sorted(used))
    inputs = tuple(nodes[i][2] for i in body if nodes[i][0] == "input")
    squares = tuple((k, *nodes[i][2]) for k, (i, _, _) in enumerate(reduce) if nodes[i][2])
    return Pass(body, inputs, tuple(sorted(row)), reduce, write, squares)


def program(found: Trace, names: Sequence[tuple[str, bool]], *, divide: bool = False) -> Program:
    """Return the program of a trace.

    ``names`` has, for each field of the state, its name and True if it is an array of the leaf's shape. With ``divide``
    quotients by constants stay divisions.
    """
    key = (found.key, tuple(found.graph.scalar))
    fast = _of_key(key, tuple(names), divide)
    numbers = found.graph.constants
    if all(2.0**-100 < abs(numbers[k]) < 2.0**100 for k in fast.divisors):
        return fast
    return _of_key(key, tuple(names), True)  # a reciprocal could overflow or underflow where the quotient does not


def of_leaf(
    rule: Rule, shape: tuple[int, ...], kinds: Sequence[Any], t: Any, values: Mapping[str, Any], *, divide: bool = False
) -> tuple[Trace, Program]:
    """Return the trace and the program of a rule's step on a leaf whose fields are of these kinds.

    Raises Unfusable for a law that no loop over elements can run.
    """
    found = trace(rule, shape, t, values, kinds)
    names = [(f.name, kind == "input") for f, kind in zip(rule.fields, kinds, strict=True)]
    return found, program(found, names, divide=divide)
