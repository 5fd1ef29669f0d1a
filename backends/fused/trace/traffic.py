"""The memory traffic of a fused step in bytes, counted from the passes of its program and not measured."""

from __future__ import annotations

from collections.abc import Mapping

from optcore.backends.base import COMPUTE
from optcore.backends.fused.printers.emitter import SIZES
from optcore.backends.fused.trace.graph import Unfusable
from optcore.backends.fused.trace.program import Program, of_leaf
from optcore.backends.leaf import signature
from optcore.backends.numpy import backend
from optcore.backends.probe import sample
from optcore.backends.values import usual
from optcore.rule import Rule

__all__ = ["bytes_moved", "kept", "passes", "traffic"]


def bytes_moved(program: Program, dtypes: Mapping[str, str]) -> int:
    """Return the bytes moved for one element of a parameter: every pass reads each input and writes each output once.

    ``dtypes`` maps the parameter ``p``, its gradient ``g`` and the state's fields to their dtypes.
    """
    return sum(
        SIZES[dtypes[name]] for one in program.passes for name in (*one.inputs, *(name for name, _ in one.write))
    )


def traffic(rule: Rule, dtype: str = "float32") -> int | None:
    """Return the bytes that a step moves for each element of a parameter; None if no loop over elements can run it."""
    found = _program(rule)
    held = {f.name: COMPUTE[dtype] for f in rule.fields}
    return None if found is None else bytes_moved(found, {"p": dtype, "g": dtype, **held})


def passes(rule: Rule) -> int | None:
    """Return the number of passes over memory in one step; None if no loop over elements can run it."""
    found = _program(rule)
    return None if found is None else len(found.passes)


def kept(rule: Rule, elements: int = 64 * 64) -> float:
    """Return the size of the state over the size of the parameter, for a leaf of about so many elements."""
    p = sample(rule, elements)
    state = rule.unpack(rule.start(backend.xp, p, usual(rule, backend)))
    held = [x for f, x in zip(rule.fields, state, strict=True) if x is not None and not f.shared and not f.noise]
    return sum(x.size for x in held) / float(p.size)


def _program(rule: Rule) -> Program | None:
    p, values = sample(rule), usual(rule, backend)
    state = rule.unpack(rule.start(backend.xp, p, values))
    kinds = signature(rule, backend, p, p, state).kinds
    try:
        if "other" in kinds:
            raise Unfusable("a state of another shape")
        return of_leaf(rule, p.shape, kinds, 2, values)[1]  # t = 2 is an ordinary step, without a first step's extras
    except Unfusable:
        return None
