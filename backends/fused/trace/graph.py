"""The expression graph of a law: its arithmetic on one element, recorded by running the law once on symbols.

A law is run as it is written, with symbols for arrays and Python numbers for scalars, so that it may do everything
with a number that it does elsewhere. Only arithmetic on arrays is recorded. A Python number that is combined with an
array becomes a constant of the graph: the graph records its place, and each step gives its value as an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from optcore import leaf as template
from optcore.norms import Recorder
from optcore.requests import Due, Handler, How, Total, interpret
from optcore.rule import Rule

__all__ = ["Graph", "Node", "Symbol", "Trace", "Unfusable", "of_gradient", "trace"]


class Unfusable(TypeError):  # noqa: N818 - the name says what is the matter
    """The error for a law that no loop over elements can run: it works on rows, columns, matrices or slices."""


Node = tuple[str, tuple[int, ...], Any]
"""An operation, the numbers of the nodes it takes, and its attribute: the name of an input, the place of a constant."""

LOGIC = frozenset({"and", "or", "not"})
TRUTH = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "isfinite"})
"""The operations whose results are truth values."""


class Graph:
    """The nodes of a law in the order of their creation; equal nodes are one, constants are known by place alone."""

    __slots__ = ("constants", "index", "nodes", "ranked", "scalar", "shaped")

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.scalar: list[bool] = []  #: True for a node that is 0-d: the same for every element of a leaf
        self.index: dict[Node, int] = {}
        self.constants: list[float] = []
        self.shaped = False  #: True once the law has read the shape of an array
        self.ranked = False  #: True once the law has read the number of axes of an array

    def add(self, op: str, args: tuple[int, ...], attribute: Any, scalar: bool) -> int:
        node = (op, args, attribute)
        found = self.index.get(node)
        if found is None:
            found = self.index[node] = len(self.nodes)
            self.nodes.append(node)
            self.scalar.append(scalar)
        return found

    def constant(self, value: float) -> int:
        self.constants.append(value)
        return self.add("constant", (), len(self.constants) - 1, True)


def _binary(op: str, *, swapped: bool = False) -> Any:
    def forward(self: Symbol, other: Any) -> Symbol:
        return _apply(op, self, other)

    def backward(self: Symbol, other: Any) -> Symbol:
        return _apply(op, other, self)

    return backward if swapped else forward


class Symbol:
    """The stand-in for an array in a traced law; ``shape`` is the leaf's, or ``()`` for a 0-d value."""

    __slots__ = ("graph", "id", "scalar", "size")
    __array_ufunc__ = None  # NumPy then leaves an operation with a NumPy number on the left to the methods here

    def __init__(self, graph: Graph, id: int, shape: tuple[int, ...], scalar: bool) -> None:
        self.graph, self.id, self.size, self.scalar = graph, id, shape, scalar

    @property
    def ndim(self) -> int:
        self.graph.ranked = True
        return len(self.size)

    @property
    def shape(self) -> tuple[int, ...]:
        self.graph.shaped = True
        return self.size

    def __bool__(self) -> bool:
        raise Unfusable("a law must not branch on the value of an array")

    def __getitem__(self, key: Any) -> Symbol:
        raise Unfusable("a slice of a leaf")

    def __matmul__(self, other: Any) -> Symbol:
        raise Unfusable("a matrix product")

    def __neg__(self) -> Symbol:
        return _apply("neg", self)

    __hash__ = object.__hash__

    __add__, __radd__ = _binary("add"), _binary("add", swapped=True)
    __sub__, __rsub__ = _binary("sub"), _binary("sub", swapped=True)
    __mul__, __rmul__ = _binary("mul"), _binary("mul", swapped=True)
    __truediv__, __rtruediv__ = _binary("div"), _binary("div", swapped=True)
    __lt__, __le__, __gt__, __ge__ = _binary("lt"), _binary("le"), _binary("gt"), _binary("ge")
    __eq__, __ne__ = _binary("eq"), _binary("ne")
    __and__, __or__ = _binary("and"), _binary("or")

    def __invert__(self) -> Symbol:
        return _apply("not", self)

    def __pow__(self, exponent: Any) -> Symbol:
        if isinstance(exponent, int) and 1 <= exponent <= 4:
            found = self
            for _ in range(exponent - 1):
                found = found * self
            return found
        return _apply("pow", self, exponent)


def _lift(graph: Graph, x: Any) -> tuple[int, bool, tuple[int, ...]]:
    if isinstance(x, Symbol):
        return x.id, x.scalar, x.size
    if isinstance(x, int | float):
        return graph.constant(float(x)), True, ()
    raise Unfusable(f"a value of type {type(x).__name__} among traced arrays")


def _apply(op: str, *values: Any) -> Symbol:
    graph = next(x.graph for x in values if isinstance(x, Symbol))
    ids: list[int] = []
    scalar = True
    shape: tuple[int, ...] = ()
    for x in values:
        at, alone, mine = _lift(graph, x)
        ids.append(at)
        if not alone:
            scalar, shape = False, mine
    _typed(op, [graph.nodes[i][0] in TRUTH for i in ids])
    return Symbol(graph, graph.add(op, tuple(ids), None, scalar), shape, scalar)


def _typed(op: str, truth: Sequence[bool]) -> None:
    """Raise Unfusable for an operation that mixes truth values and numbers.

    Libraries disagree on such operations, as on ``(g > 0) * g``; eager execution leaves them to the library.
    """
    wanted = [True] * len(truth) if op in LOGIC else [op == "where", *[False] * (len(truth) - 1)]
    if list(truth) != wanted:
        raise Unfusable(f"{op} of truth values and numbers")


class SymbolicNamespace(Recorder):
    """The functions of :class:`optcore.typing.Namespace` on symbols.

    A function that no loop over elements can run raises Unfusable.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Unfusable(f"xp.{name}")

    @staticmethod
    def zeros_like(x: Symbol) -> Symbol:
        return Symbol(x.graph, x.graph.add("literal", (), (0.0, x.scalar), x.scalar), x.size, x.scalar)

    @staticmethod
    def ones_like(x: Symbol) -> Symbol:
        return Symbol(x.graph, x.graph.add("literal", (), (1.0, x.scalar), x.scalar), x.size, x.scalar)

    def squares(self, x: Symbol, sums: Any) -> Any:
        """Mark the nodes of three sums of squares as belonging together.

        A reading pass may then take the squares in one sum of a wider dtype instead.
        """
        if x.scalar:
            return sums
        args = [x.graph.nodes[each.id][1] for each in sums]
        return tuple(Symbol(x.graph, x.graph.add("sum", a, (k, x.id), True), (), True) for k, a in enumerate(args))

    def sum(self, x: Symbol, *, axis: Any = None, keepdims: bool = False) -> Symbol:
        return _reduce("sum", x, axis, keepdims)

    def max(self, x: Symbol, *, axis: Any = None, keepdims: bool = False) -> Symbol:
        return _reduce("reduce_max", x, axis, keepdims)

    def mean(self, x: Symbol, *, axis: Any = None, keepdims: bool = False) -> Symbol:
        size = 1
        for n in x.shape:
            size *= n
        total: Symbol = _reduce("sum", x, axis, keepdims) / float(size)
        return total


def _reduce(op: str, x: Symbol, axis: Any, keepdims: bool) -> Symbol:
    if axis is not None or keepdims:
        raise Unfusable("a reduction along an axis")
    if x.scalar:
        return x
    return Symbol(x.graph, x.graph.add(op, (x.id,), None, True), (), True)


for _name in ("abs", "sign", "sqrt", "exp", "log", "expm1", "cos", "floor", "maximum", "minimum", "where", "isfinite"):
    setattr(SymbolicNamespace, _name, staticmethod(lambda *values, _op=_name: _apply(_op, *values)))

namespace: Any = SymbolicNamespace()


@dataclass(frozen=True)
class Trace:
    """The result of tracing a law: its graph, with the nodes of its results and of its totals.

    ``parameter`` and ``state`` are the nodes of the new parameter and of each field, None if there is no such array.
    ``rounds`` holds, for each request of totals, pairs (local node, how it is combined); the answers are the nodes
    ``("total", (), (round, position))``. ``key`` is equal for equal graphs, and contains no numbers of the law.
    """

    graph: Graph
    parameter: int | None
    state: tuple[int | None, ...]
    rounds: tuple[tuple[tuple[int, How], ...], ...]
    key: Any


def trace(rule: Rule, shape: tuple[int, ...], t: Any, values: Any, kinds: Sequence[str | None]) -> Trace:
    """Trace one step of a rule on a leaf of this shape.

    ``kinds`` has for each field "input" (an array of the leaf's shape), "own" (a 0-d array of the leaf),
    "shared", or None if the leaf has no such array. Raises Unfusable for a law that no loop over elements can run.
    """
    graph = Graph()

    def array(kind: str, name: str) -> Symbol:
        scalar = kind != "input"
        return Symbol(graph, graph.add(kind, (), name, scalar), () if scalar else shape, scalar)

    p, g = array("input", "p"), array("input", "g")
    fields = [kind and array(kind, f.name) for f, kind in zip(rule.fields, kinds, strict=True)]
    law = template.update(rule, namespace, p, g, rule.pack(fields), t, values)
    ((new, _), state), rounds = _recorded(graph, law)
    if graph.shaped and rule.kind == "elementwise":
        raise Unfusable("the law reads an array's shape, which a law declared elementwise must not do")
    return _settled(graph, new, rule.unpack(state), rounds)


def of_gradient(law: Any, shape: tuple[int, ...], given: int) -> Trace:
    """Trace ``law(xp, p, g, *given)``, which returns a new gradient and a number of the whole tree, or None for either.

    The trace holds the two results as its ``state``. The arguments ``given`` are 0-d values named "given0", "given1",
    ...; the parameter ``given`` here is their number.
    """
    graph = Graph()
    p, g = (Symbol(graph, graph.add("input", (), name, False), shape, False) for name in "pg")
    numbers = [Symbol(graph, graph.add("shared", (), f"given{k}", True), (), True) for k in range(given)]
    made, rounds = _recorded(graph, law(namespace, p, g, *numbers))
    return _settled(graph, None, made, rounds)


Rounds: TypeAlias = list[tuple[tuple[int, How], ...]]


class _Recording(Handler):
    """A handler that records each request of totals and answers it with symbols."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rounds: Rounds = []

    def due(self, request: Due) -> Any:
        if not isinstance(request.condition, bool):
            raise Unfusable("work that is due by an array's value")
        return super().due(request)

    def round(self, asked: Sequence[tuple[Total, ...]]) -> Sequence[Sequence[Any]]:
        (parts,) = asked
        if not all(isinstance(part.value, Symbol) and part.value.scalar for part in parts):
            raise Unfusable("a total of a value that is neither a sum nor a maximum over the leaf")
        graph, n = self.graph, len(self.rounds)
        self.rounds.append(tuple((part.value.id, part.how) for part in parts))
        return [[Symbol(graph, graph.add("total", (), (n, k), True), (), True) for k in range(len(parts))]]


def _recorded(graph: Graph, law: Any) -> tuple[Any, Rounds]:
    """Run a law on symbols; return its results and its rounds of totals."""
    recording = _Recording(graph)
    try:
        return interpret([law], recording)[0], recording.rounds
    except (TypeError, AttributeError, NotImplementedError) as error:  # the eager engine may still be able to run it
        raise Unfusable(str(error)) from error


def _settled(graph: Graph, new: Any, state: Sequence[Any], rounds: Sequence[tuple[tuple[int, How], ...]]) -> Trace:
    """Return the trace of a law that has ended with these results."""

    def at(x: Any) -> int | None:
        return None if x is None else _lift(graph, x)[0]

    parameter, nodes = at(new), tuple(at(x) for x in state)
    key = (tuple(graph.nodes), parameter, nodes, tuple(rounds))
    return Trace(graph, parameter, nodes, tuple(rounds), key)
