"""A leaf in a step: its arrays and numbers, its signature, and the result of its step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from optcore.backends.base import COMPUTE, Backend
from optcore.rule import Rule

__all__ = ["Kind", "Leaf", "Moved", "Signature", "signature"]

Kind: TypeAlias = Literal["input", "own", "shared", "other"] | None
"""The kind of a state's field on one leaf: "input" for an array of the leaf's shape, "own" for a 0-d array of the leaf,
"shared" for one value of the whole tree, "other" for an array of another shape, None where the leaf has no array."""


class Signature(NamedTuple):
    """The signature of a leaf: the facts that decide which engine may run it, and by which program."""

    shape: tuple[int, ...]
    dtype: str  #: the dtype of the parameter
    compute: str  #: the dtype in which the leaf's law is computed
    kinds: tuple[Kind, ...]  #: the kinds of the rule's fields, in their order
    dtypes: Mapping[str, str]  #: the dtypes of p, g and the fields of the leaf's shape, by name
    addresses: tuple[int, ...]  #: the addresses of the same arrays; they count only if ``order`` is not None
    order: Any  #: the memory order that all these arrays have; None if one has another, or lies outside this memory
    writable: bool  #: True if the parameter and its fields may be written to

    def seen(self, rule: Rule) -> Any:
        """Return the part of the shape that the rule may depend on: all of it, or the number of axes alone."""
        return self.shape if rule.kind == "leafwise" else len(self.shape)

    @property
    def runner(self) -> Any:
        """The CUDA device on which the arrays lie and passes over them run; None for the processors of this machine."""
        return getattr(self.order, "runner", None)


def signature(rule: Rule, backend: Backend, p: Any, g: Any, arrays: Sequence[Any]) -> Signature:
    """Return the signature of a parameter, its gradient (None for one like the parameter) and its state's arrays."""
    shape, dtype, place = tuple(p.shape), backend.dtype(p), backend.address(p)
    order = place[1] if place else None
    kinds: list[Kind] = []
    dtypes, addresses, writable = {"p": dtype}, [place[0] if place else 0], bool(place and place[2])
    if g is None:
        dtypes["g"] = dtype
    state = [(f.name, x, f.shared) for f, x in zip(rule.fields, arrays, strict=True)]
    for name, x, shared in [("g", g, False), *state]:
        kind: Kind = "shared" if shared else None if x is None else "input"
        if kind == "input" and tuple(x.shape) != shape:
            kind = "own" if not x.shape else "other"
        if name != "g":
            kinds.append(kind)
        if kind == "input":
            at = backend.address(x) if order is not None else None
            if at is None or at[1] != order:
                order = None
            else:
                addresses.append(at[0])
                writable = writable and (at[2] or name == "g")
            dtypes[name] = backend.dtype(x)
    return Signature(shape, dtype, COMPUTE[dtype], tuple(kinds), dtypes, tuple(addresses), order, writable)


@dataclass(slots=True)
class Leaf:
    """A leaf before its step: parameter, gradient, state (its shared fields None), own counter t, and numbers."""

    p: Any
    g: Any
    state: Any
    t: Any
    values: Mapping[str, Any]
    chance: tuple[Any, Any] | None = None  #: the two keys of stochastic rounding; None rounds to nearest
    known: Signature | None = None

    def signature(self, rule: Rule, backend: Backend) -> Signature:
        """Return the signature of this leaf, which is worked out at the first call and kept."""
        if self.known is None:
            self.known = signature(rule, backend, self.p, self.g, rule.unpack(self.state))
        return self.known


class Moved(NamedTuple):
    """The result of a leaf's step: the new parameter, and the displacement that was added to the old one."""

    p: Any
    step: Any
