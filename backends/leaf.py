"""A leaf in a step: its arrays and numbers, its signature, and where the step brought it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from optcore.backends.base import COMPUTE, Backend
from optcore.rule import Rule

__all__ = ["Kind", "Leaf", "Moved", "Signature", "signature"]

Kind: TypeAlias = Literal["input", "own", "shared", "other"] | None
"""What a field of the state is on one leaf: an array of its shape ("input"), a number without axes of its own ("own")
or of the whole tree ("shared"), an array of another shape ("other"); None where the leaf has no such array."""


class Signature(NamedTuple):
    """The signature of a leaf: all that decides what may run it, and by which program."""

    shape: tuple[int, ...]
    dtype: str  #: of the parameter
    compute: str  #: the dtype that its law is computed in
    kinds: tuple[Kind, ...]  #: of the rule's fields, in their order
    dtypes: Mapping[str, str]  #: of p, g and the fields of the leaf's shape, by name
    addresses: tuple[int, ...]  #: of the same arrays, where ``order`` is not None
    order: Any  #: the order in memory that all of them have; None where one lies elsewhere, or in another order
    writable: bool  #: whether the parameter and its fields may be written

    def seen(self, rule: Rule) -> Any:
        """The part of the shape that the rule may look at: all of it, or the number of its axes."""
        return self.shape if rule.kind == "leafwise" else len(self.shape)

    @property
    def runner(self) -> Any:
        """The device that runs passes where the arrays lie; None for the processors of this machine."""
        return getattr(self.order, "runner", None)


def signature(rule: Rule, backend: Backend, p: Any, g: Any, arrays: Sequence[Any]) -> Signature:
    """The signature of a parameter, its gradient (None for one like the parameter) and its state's arrays."""
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
    """One array to be moved: its gradient, state (shared fields None), own counter and numbers."""

    p: Any
    g: Any
    state: Any
    t: Any
    values: Mapping[str, Any]
    chance: tuple[Any, Any] | None = None  #: the keys of stochastic rounding, None to round to nearest
    known: Signature | None = None

    def signature(self, rule: Rule, backend: Backend) -> Signature:
        """The signature of this leaf, worked out once."""
        if self.known is None:
            self.known = signature(rule, backend, self.p, self.g, rule.unpack(self.state))
        return self.known


class Moved(NamedTuple):
    """Where a step brought a leaf: the new parameter, and the displacement that leads there."""

    p: Any
    step: Any
