"""Laws of rows, columns and matrices: what they do element by element is run in passes, the rest eagerly.

The law runs on arrays that put off arithmetic until a matrix operation, a slice or an axis needs a value. What
was put off is then one graph of one shape, and one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from optcore import leaf as template
from optcore.backends.base import Backend
from optcore.backends.fused.running.table import Batch, together
from optcore.backends.fused.trace.graph import TRUTH, Graph, Symbol, Trace, Unfusable, namespace
from optcore.backends.fused.trace.program import program
from optcore.matrix import Interpreter
from optcore.requests import Law, through
from optcore.rule import Rule

__all__ = ["LARGE", "update", "worthwhile"]

LARGE = 1 << 18
"""Elements from which a pass costs less than the library's own operations on a small array."""
ELEMENTS = frozenset({
    "abs", "sign", "sqrt", "exp", "log", "expm1", "cos", "floor", "maximum", "minimum", "where", "isfinite",
})  # fmt: skip
REDUCE = frozenset({"sum", "max", "mean"})


def worthwhile(rule: Rule, backend: Backend, p: Any) -> bool:
    """Tell whether a leaf of such a rule is large enough, and lies where a pass can read it."""
    place = backend.address(p) if rule.axes and _large(p.shape) else None
    return place is not None and place[1] == "C"


class Lazy:
    """An array that is there (``value``), or an expression over those that are (``symbol``)."""

    __slots__ = ("shape", "space", "symbol", "value")
    __array_ufunc__ = None

    def __init__(self, space: Space, shape: tuple[int, ...], value: Any = None, symbol: Symbol | None = None) -> None:
        self.space, self.shape, self.value, self.symbol = space, shape, value, symbol

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Any) -> Any:
        return self.space.wrap(self.space.force(self)[key])

    def __matmul__(self, other: Lazy) -> Any:
        return self.space.wrap(self.space.force(self) @ self.space.force(other))

    def __bool__(self) -> bool:
        raise Unfusable("a law must not branch on the value of an array")

    __hash__ = object.__hash__


def _operator(name: str) -> Callable[..., Any]:
    return lambda self, *others: self.space.apply(lambda x, *rest: getattr(x, name)(*rest), self, *others)


for _name in "add radd sub rsub mul rmul truediv rtruediv pow neg lt le gt ge eq ne and or invert".split():
    setattr(Lazy, f"__{_name}__", _operator(f"__{_name}__"))


class Space(Interpreter):
    """The namespace of one leaf's law: a graph for each shape, and the arrays that its inputs are."""

    def opaque(self, step: Callable[..., Any], *arrays: Any) -> Any:
        """A step that is all matrix products is the library's business."""
        values = (self.force(x) if isinstance(x, Lazy) else x for x in arrays)
        return self.wrap(step(self.backend.xp, *values))

    def __init__(self, backend: Backend, threads: int) -> None:
        self.backend, self.threads = backend, threads
        self.graphs: dict[tuple[int, ...], Graph] = {}
        self.arrays: dict[int, tuple[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "linalg":
            return _Eager(self, self.backend.xp.linalg)
        if name in ELEMENTS:
            symbolic, eager = getattr(namespace, name), getattr(self.backend.xp, name)
            return lambda *xs: self.apply(symbolic, *xs, eager=eager)
        if name in REDUCE:
            return lambda x, **how: self.reduce(name, x, how)
        return getattr(_Eager(self, self.backend.xp), name)

    def wrap(self, value: Any) -> Any:
        """Return the result of an eager operation as lazy arrays."""
        if isinstance(value, tuple):
            return tuple(self.wrap(x) for x in value)
        return Lazy(self, tuple(value.shape), self.backend.whole(value))

    def zeros_like(self, x: Lazy) -> Any:
        return self._filled("zeros_like", x)

    def ones_like(self, x: Lazy) -> Any:
        return self._filled("ones_like", x)

    def _filled(self, name: str, x: Lazy) -> Any:
        """A graph of numbers alone has no pass to be run in."""
        if x.symbol is None and not _large(x.shape):
            return self.wrap(getattr(self.backend.xp, name)(x.value))
        return self._pending(getattr(namespace, name)(self._symbol(x)), x.shape)

    def apply(self, operation: Callable[..., Any], *xs: Any, eager: Callable[..., Any] | None = None) -> Any:
        """One elementwise operation: put off where all arrays are of one shape, or 0-d."""
        shapes = {x.shape for x in xs if isinstance(x, Lazy) and x.shape}
        home = next(iter(shapes)) if len(shapes) == 1 else self._home(xs) if not shapes else None
        if home is not None and _large(home):
            try:
                symbols = [self._symbol(x, home) if isinstance(x, Lazy) else x for x in xs]
                return self._pending(operation(*symbols), home if shapes else ())
            except Unfusable:  # a truth value that has been settled is an array of a dtype that no pass reads
                pass
        values = [self.force(x) if isinstance(x, Lazy) else x for x in xs]
        return self.wrap((eager or operation)(*values))

    def _home(self, xs: Sequence[Any]) -> tuple[int, ...] | None:
        """The shape of the graph that 0-d expressions belong to, None where all of them have values."""
        for x in xs:
            if isinstance(x, Lazy) and x.symbol is not None:
                return next(shape for shape, graph in self.graphs.items() if graph is x.symbol.graph)
        return None

    def reduce(self, name: str, x: Lazy, how: Mapping[str, Any]) -> Any:
        """A sum, mean or maximum: over the whole array put off, along an axis eager."""
        if how.get("axis") is None and not how.get("keepdims") and _large(x.shape):
            return self._pending(getattr(namespace, name)(self._symbol(x)), ())
        return self.wrap(getattr(self.backend.xp, name)(self.force(x), **how))

    def _pending(self, symbol: Symbol, shape: tuple[int, ...]) -> Lazy:
        return Lazy(self, shape, symbol=symbol)

    def _symbol(self, x: Lazy, home: tuple[int, ...] | None = None) -> Symbol:
        """A node for this array in the graph of its shape, or of ``home`` for a 0-d one."""
        graph = self.graphs.setdefault(home or x.shape, Graph())
        if x.symbol is not None and x.symbol.graph is graph:
            return x.symbol
        value = self.force(x)
        place = self.backend.address(value)
        if x.shape and (place is None or place[1] != "C"):  # a transposed or sliced result
            reshape = self.backend.xp.reshape  # row by row, where a copy keeps the order that it finds
            value = x.value = reshape(reshape(value, (-1,)), x.shape)
        name, _ = self.arrays.setdefault(id(value), (f"x{len(self.arrays)}", value))
        scalar = not x.shape
        return Symbol(graph, graph.add("own" if scalar else "input", (), name, scalar), x.shape, scalar)

    def force(self, x: Any) -> Any:
        """The value of an array; what it is an expression of is run in one pass."""
        if x.value is None:
            self.settle([x])
        return x.value

    def settle(self, xs: Sequence[Lazy]) -> None:
        """Give all these expressions of one graph a value, in one pass."""
        graph: Graph = xs[0].symbol.graph  # type: ignore[union-attr]
        size = _size(next(shape for shape, each in self.graphs.items() if each is graph))
        truths = [graph.nodes[x.symbol.id][0] in TRUTH for x in xs]  # type: ignore[union-attr]
        symbols: list[Any] = [
            namespace.where(x.symbol, 1.0, 0.0) if t else x.symbol for x, t in zip(xs, truths, strict=True)
        ]
        ids = tuple(s.id for s in symbols)
        names = [(f"y{k}", bool(x.shape)) for k, x in enumerate(xs)]
        nodes = tuple(graph.nodes)
        found = program(Trace(graph, None, ids, (), (nodes, None, ids, ())), names)
        read = {n[2] for n in nodes if n[0] in ("input", "own")}
        given = {name: a for name, a in self.arrays.values() if name in read}
        used = {name: a for name, a in given.items() if a.shape}
        own = {name: [float(self.backend.numpy(a))] for name, a in given.items() if not a.shape}
        like = next(iter((used or {n: a for n, a in self.arrays.values() if a.shape}).values()))
        compute = self.backend.dtype(like)
        new = {name: self.backend.empty_like(like) for name, whole in names if whole}
        places = {n: self.backend.address(a) for n, a in {**used, **new}.items()}
        pointers = {n: np.array([at[0]], dtype=np.uint64) for n, at in places.items() if at is not None}
        constants = np.array([graph.constants], dtype=np.float64).reshape(1, -1)
        batch = Batch(
            found, compute, dict.fromkeys(pointers, compute), pointers, pointers, (size,), constants,
            np.zeros(1, np.int64), {}, own, self.threads,
        )  # fmt: skip
        with np.errstate(all="ignore"):
            (env,) = together([batch])
        for k, (x, truth) in enumerate(zip(xs, truths, strict=True)):
            value = new[names[k][0]] if x.shape else self.backend.array(env[ids[k]][0], compute)
            x.value, x.symbol = (value != 0.0 if truth else value), None


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _large(shape: tuple[int, ...]) -> bool:
    return _size(shape) >= LARGE


class _Eager:
    """Functions of a namespace on lazy arrays, called with their values."""

    def __init__(self, space: Space, module: Any) -> None:
        self._space, self._module = space, module

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function, space = getattr(self._module, name), self._space

        def value(x: Any) -> Any:
            if isinstance(x, list | tuple):
                return type(x)(value(y) for y in x)
            return space.force(x) if isinstance(x, Lazy) else x

        return lambda *xs, **how: space.wrap(function(*map(value, xs), **how))


def update(
    rule: Rule, backend: Backend, p: Any, g: Any, state: Sequence[Any], t: Any, values: Mapping[str, Any]
) -> Law:
    """:func:`optcore.leaf.update` on one leaf, in passes where it can be; forms no displacement.

    Writes into arrays of its own: a law of matrices may raise on its last line.
    """
    space = Space(backend, backend.threads())
    fields = [None if x is None else space.wrap(x) for x in state]
    law = template.update(rule, space, space.wrap(p), space.wrap(g), rule.pack(fields), t, values)
    (new, _), after = yield from through(law, lambda total: space.force(total.value), space.wrap)
    outputs = [new, *rule.unpack(after)]
    pending: dict[int, dict[int, Lazy]] = {}
    for x in outputs:
        if x is not None and x.symbol is not None:
            pending.setdefault(id(x.symbol.graph), {})[id(x)] = x
    for group in pending.values():
        space.settle(list(group.values()))
    arrays = [None if x is None else x.value for x in outputs]
    return (arrays[0], None), rule.pack(arrays[1:])
