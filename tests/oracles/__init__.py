"""Oracles that the rules are compared with: the libraries' own optimizers, and papers in plain arithmetic.

A module of this folder holds the rows of one family; it is found because it is in the folder:

- ``TORCH``, ``OPTAX``, ``KERAS``: :class:`Row`, a native constructor with options, run against the library's own;
- ``PEERS``: :class:`Peer`, a rule against an optimizer of pytorch_optimizer;
- ``PAPERS``: :class:`Paper`, a rule against a literal transcription;
- ``DIFFERENCES``: :class:`Difference`, a row of docs/differences.md with the function that measures its size.

An option may be a Hypothesis strategy; a value is then drawn for each example.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

import optcore
from optcore import registry
from optcore.rule import Rule

SHAPES = ((7,), (4, 3), (2, 3, 2, 2))
MATRICES = ((4, 3), (3, 5))
STEPS = 15

rates = st.floats(1e-3, 0.1)
decays = st.floats(0.0, 0.3)
betas = st.tuples(st.floats(0.5, 0.95), st.floats(0.8, 0.999))
beta = st.floats(0.1, 0.99)
epsilons = st.floats(-8.0, -1.0).map(lambda e: 10.0**e)
seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Row:
    """A native constructor, which is called with the same name and options in the library and in our adapter.

    ``why`` gives the reason of a ``tolerance`` above 1e-12.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    args: tuple[Any, ...] = ()
    tolerance: float = 1e-12
    why: str = ""
    shapes: tuple[tuple[int, ...], ...] = SHAPES

    def __post_init__(self) -> None:
        assert self.tolerance <= 1e-12 or self.why, f"{self.name}: a tolerance of {self.tolerance} without a reason"

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(self.options)})"


@dataclass(frozen=True)
class Peer:
    """An optimizer of pytorch_optimizer, and the rule that equals it with the same options."""

    name: str
    options: Mapping[str, Any]
    rule: Callable[[Mapping[str, Any]], Rule]
    tolerance: float = 1e-12
    why: str = ""
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    steps: int = STEPS

    def __post_init__(self) -> None:
        assert self.tolerance <= 1e-12 or self.why, f"{self.name}: a tolerance of {self.tolerance} without a reason"

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(self.options)})"


@dataclass(frozen=True)
class Paper:
    """A rule and its source's equations: ``law(p, grads, **numbers)`` returns the last parameter of one leaf.

    With ``tree``, p is a list of leaves, and so is each of grads. ``rule(**numbers)`` is the rule with these numbers.
    """

    rule: Callable[..., Rule]
    law: Callable[..., Any]
    numbers: Mapping[str, Any] = field(default_factory=dict)
    tree: bool = False
    tolerance: float = 1e-11
    why: str = ""
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    positive: bool = False  #: whether parameters are drawn positive
    steps: int = STEPS

    def __post_init__(self) -> None:
        assert self.tolerance <= 1e-11 or self.why, f"{self!r}: a tolerance of {self.tolerance} without a reason"

    def __repr__(self) -> str:
        return f"{getattr(self.law, '__name__', 'law')}({', '.join(self.numbers)})"


@dataclass(frozen=True)
class Rounding:
    """A library's rounding: it computes in a narrower ``dtype`` than its input's; ``unit`` is half its spacing at 1.

    ``way()`` is the largest distance of a parameter from its start, after the steps of the rule without that rounding.
    """

    dtype: str
    unit: float
    way: Callable[[], float]

    def range(self) -> tuple[float, float]:
        """Return the powers of ten around a tenth and ten times ``unit`` times the way.

        A step is off by some units of itself. The direction of each rounding depends on the processor and its BLAS, so
        that of the sum over 15 steps no more than this order of magnitude is known.
        """
        size = self.unit * self.way()
        return 10.0 ** math.floor(math.log10(size / 10)), 10.0 ** math.ceil(math.log10(size * 10))


@dataclass(frozen=True)
class Difference:
    """A row of docs/differences.md: ``size()`` measures the largest difference of a parameter after 15 steps.

    A difference of two laws has the same size on every processor; a difference from a library's ``rounding`` has not.
    """

    law: str
    who: str
    what: str
    here: str
    size: Callable[[], float]
    rounding: Rounding | None = None

    def __repr__(self) -> str:
        return f"{self.law}, {self.who}: {self.what[:24]}"


def gather(table: str) -> list[Any]:
    """Return the rows of this table from every module of the folder."""
    found: list[Any] = []
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        found += getattr(importlib.import_module(f"{__name__}.{info.name}"), table, [])
    return found


def clipping_names(library: str) -> set[str]:
    """Return the names of a library's classes for clipping laws, which are links of a recipe and no optimizers."""
    laws = registry.clipping().values()
    return {law.name if library == "optax" else law.title for law in laws}


def draw(data: st.DataObject, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with a value drawn for each strategy."""
    return {k: data.draw(v, k) if isinstance(v, st.SearchStrategy) else v for k, v in options.items()}


NUDGE = 2.0**-16
"""Far above float32's unit, and large enough beside bfloat16's that some roundings fall otherwise in 15 steps."""

_nudges: list[np.random.Generator] = []


@contextmanager
def nudged(seed: int) -> Iterator[None]:
    """Return a context in which every number of a problem is changed by up to NUDGE of itself."""
    _nudges.append(np.random.default_rng(seed))
    try:
        yield
    finally:
        _nudges.pop()


def problem(seed: int, shapes: Sequence[tuple[int, ...]] = SHAPES, steps: int = STEPS) -> tuple[list[Any], list[Any]]:
    """Return parameters of order one, and the gradients of each step, whose size spans three decades."""
    rng = np.random.default_rng(seed)
    params = [rng.standard_normal(s) for s in shapes]
    grads = [[rng.standard_normal(s) * 10 ** rng.uniform(-2, 1) for s in shapes] for _ in range(steps)]
    for nudge in _nudges:
        params, *grads = ([x * (1 + NUDGE * nudge.uniform(-1, 1, x.shape)) for x in part] for part in (params, *grads))
    return params, grads


def ours(rule: Any, params: Sequence[Any], grads: Sequence[Any], **options: Any) -> list[Any]:
    """Return the parameters after all steps of a rule on a tree of NumPy arrays."""
    optimizer = optcore.backends.Optimizer(optcore.Recipe(rule, **options))
    tree, state = list(params), None
    state = optimizer.init(tree)
    for g in grads:
        tree, state = optimizer.update(tree, list(g), state)
    return tree


def peers(name: str, options: Mapping[str, Any], params: Sequence[Any], grads: Sequence[Any]) -> list[Any]:
    """Return the parameters after all steps of an optimizer of pytorch_optimizer."""
    import pytorch_optimizer
    import torch

    leaves = [torch.nn.Parameter(torch.tensor(p)) for p in params]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the peer's own
        optimizer = getattr(pytorch_optimizer, name)(leaves, **options)
        for step in grads:
            for p, g in zip(leaves, step, strict=True):
                p.grad = torch.tensor(g)
            optimizer.step()
    return [p.detach().numpy() for p in leaves]


def gap(
    first: Any, second: Any, shapes: Sequence[tuple[int, ...]] = SHAPES, scale: float = 1.0, **options: Any
) -> float:
    """Return the largest difference that two rules make to a parameter in 15 steps, with the same options."""
    params, grads = problem(0, shapes)
    grads = [[scale * x for x in g] for g in grads]
    return largest(ours(first, params, grads, **options), ours(second, params, grads, **options))


def walked(rule: Any, shapes: Sequence[tuple[int, ...]] = SHAPES) -> float:
    """Return the largest distance of a parameter from its start, after 15 steps of a rule."""
    params, grads = problem(0, shapes)
    return largest(params, ours(rule, params, grads))


def largest(first: Sequence[Any], second: Sequence[Any]) -> float:
    """Return the largest difference of two lists of arrays."""
    return max(float(np.abs(x - y).max()) for x, y in zip(first, second, strict=True))
