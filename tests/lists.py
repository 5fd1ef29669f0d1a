"""Leaves and laws for the tests of the engine for lists of tensors, which is compared with eager execution."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from optcore.backends import fused
from optcore.backends.drive import start
from optcore.backends.eager import eager
from optcore.backends.fused.engines import foreach
from optcore.backends.leaf import Leaf
from optcore.backends.torch import backend
from optcore.backends.values import laid_out, numbers
from optcore.rule import rule
from optcore.testing import subjects
from optcore.testing.laws import ready

SHAPES = ((), (1,), (7,), (4, 3), (0,))
DTYPES = ("float32", "float64", "bfloat16")


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine for lists take tensors on the CPU, as it takes those on other devices."""
    monkeypatch.setattr(foreach, "ON_CPU", True)
    monkeypatch.setattr(fused, "usable", lambda: False)


def job(law: Any, dtype: str, shapes: Any = SHAPES, device: str = "cpu", odd: Any = None) -> tuple[Any, Any]:
    """Return leaves of two groups, with different rates and counts of steps, and the shared fields."""
    draw = torch.Generator().manual_seed(1)
    leaves = []
    for k, shape in enumerate(shapes):
        values = laid_out(numbers(law.bind(lr=0.01 * (1 + k % 2)).complete(), backend, 0), "out_in")
        p, g = (torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2))
        for x, shift in ((p, 0), (g, 2)) if odd is not None else ():
            x.view(-1)[:] = odd.roll(shift * k)[: x.numel()]
        p, g = (x.to(getattr(torch, dtype)).to(device) for x in (p, g))
        leaves.append(Leaf(p, g, start(law, backend, p, values), 1 + k % 3, values))
    return leaves, common(law, leaves[0].state)


def common(law: Any, state: Any) -> list[Any]:
    return [x for x, f in zip(law.unpack(state), law.fields, strict=True) if f.shared]


def by_lists(law: Any, leaves: Any, shared: Any, *, donate: bool = False) -> tuple[list[Any], list[Any]]:
    """Return each leaf's new parameter and state's arrays, and the shared fields."""
    found = foreach.Foreach(law, backend, shared, donate)
    assert not found.take(dict(enumerate(leaves)))
    found.compute()
    results, new = found.run()
    return [(results[i][0].p, *results[i][1]) for i in range(len(leaves))], new


def by_operations(law: Any, leaves: Any, shared: Any) -> tuple[list[Any], list[Any]]:
    done, new = eager(law, backend, leaves, shared)
    return [(moved.p, *arrays) for moved, arrays in done], new


def after(law: Any, leaves: Any, arrays: Any) -> list[Leaf]:
    """Return the leaves of the next step."""
    draw = torch.Generator().manual_seed(int(leaves[0].t))
    return [
        Leaf(x[0], torch.randn(old.p.shape, generator=draw).to(old.g), law.pack(list(x[1:])), old.t + 1, old.values)
        for old, x in zip(leaves, arrays, strict=True)
    ]


def taken(law: Any) -> bool:
    try:
        leaves, shared = job(law, "float32", ((4, 3),))
    except ValueError:  # a rule of matrices alone
        return False
    return _engine(law, leaves, shared).taken == {0}


def _engine(law: Any, leaves: Any, shared: Any) -> foreach.Foreach:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreach, "ON_CPU", True)
        found = foreach.Foreach(law, backend, shared, False)
        found.take({0: leaves[0]})
    return found


def rounds_alike(law: Any) -> bool:
    """Tell whether every node of a law is rounded once and in the same way by every library.

    These are not: library functions, sums in another order (totals), and a number divided by an array, for which
    torch's operator multiplies by a reciprocal.
    """
    leaves, shared = job(law, "float32", ((4, 3),))
    ((_, group),) = _engine(law, leaves, shared).groups.items()
    nodes, numbers = group.program.nodes, group.constants[0]
    divides = [nodes[args[0]] for op, args, _ in nodes if op == "div"]
    if any(op == "constant" and numbers[at] != 1.0 for op, _, at in divides):
        return False
    return not {"exp", "expm1", "log", "cos", "pow", "total"} & {op for op, _, _ in nodes}


RULES = {name: law for name, law in ((n, ready(r)) for n, r in subjects().items()) if taken(law)}
ALIKE = [name for name, law in RULES.items() if rounds_alike(law)]


def equal(first: Any, second: Any) -> None:
    """Assert that arrays have the same dtype, shape and bits, except for the sign of a zero and the bits of a NaN."""
    for x, y in zip(first, second, strict=True):
        if x is None or y is None:
            assert x is y
        else:
            torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


UNARY = ("abs", "sign", "sqrt", "exp", "log", "expm1", "cos", "floor")
LAWS: dict[str, Any] = {
    **{name: lambda xp, p, g, name=name: getattr(xp, name)(g) for name in UNARY},
    "a number less an array": lambda xp, p, g: 2.5 - g,
    "a number over an array": lambda xp, p, g: 2.5 / (1.0 + g * g),
    "one over an array": lambda xp, p, g: 1.0 / g,
    "a power": lambda xp, p, g: xp.abs(g) ** 0.7,
    "largest": lambda xp, p, g: xp.maximum(g, p) + xp.maximum(g, xp.zeros_like(g)),
    "smallest": lambda xp, p, g: xp.minimum(g, p) + xp.minimum(g, xp.ones_like(g)),
    "choice": lambda xp, p, g: xp.where((g > 0.5) & ~(p <= g) | (g == 0), xp.ones_like(g), xp.zeros_like(g)),
    "choice of arrays": lambda xp, p, g: xp.where(xp.isfinite(g), p, g),
    "choice of a choice": lambda xp, p, g: xp.where((g < p) | (g >= 1) | (g != g), p * g, xp.sign(p)),
    "an array and a sum": lambda xp, p, g: (g - xp.sum(g)) / xp.sum(p * p) + xp.sum(p),
    "a sum and an array": lambda xp, p, g: xp.sum(g) - g + xp.maximum(xp.sum(p), p) + xp.sum(p) / (p * p + 1),
    "a sum of ones": lambda xp, p, g: g / (xp.sum(xp.ones_like(g)) + 1.0),
    "largest of all": lambda xp, p, g: g / xp.max(xp.abs(g)) - xp.max(g),
    "nothing": lambda xp, p, g: xp.zeros_like(g),
    "itself": lambda xp, p, g: g,
}


def lawful(name: str) -> Any:
    """Return a rule whose new parameter is the expression given."""

    @rule(owns="p", kind="leafwise")
    def law(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return LAWS[name](xp, p, g), s

    return law
