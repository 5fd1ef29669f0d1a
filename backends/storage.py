"""Storage: how the arrays of a state are kept between steps. Each kind is a codec, and a new one is one class.

Laws and engines meet decoded arrays only. A kind whose kept arrays hold the law's own numbers is ``plain``: every
engine reads and writes them as they are. Any other is decoded before a step and encoded behind it.
"""

from __future__ import annotations

from typing import Any

from optcore.backends.base import COMPUTE, Backend
from optcore.parts import Field
from optcore.typing import Unit

__all__ = ["Compute", "Param", "Storage", "kinds", "register", "storage"]

FIRST_POWERS = {Unit(g=1), Unit(p=1), Unit(d=1)}
"""The units of what has about the size of a gradient or a parameter, which float16 holds where it holds those."""


class Storage:
    """A kind of storage, named in a recipe's ``state_dtype``; by default arrays are kept as they are."""

    name: str
    plain = True  #: whether a kept array is what the law computes with, but for its dtype

    def first(self, backend: Backend, field: Field, x: Any, p: Any) -> Any:
        """The array of a new state as it is kept; ``x`` is as the rule's start has made it for parameter ``p``."""
        del backend, field, p
        return x

    def kept(self, backend: Backend, field: Field, x: Any, old: Any) -> Any:
        """An array after a step as it is kept, in the place of ``old``; by default in the dtype that was kept."""
        del field
        return backend.cast(x, backend.dtype(old))

    def given(self, backend: Backend, field: Field, x: Any, p: Any) -> Any:
        """A kept array as laws and engines take it."""
        del backend, field, p
        return x


class Compute(Storage):
    """Arrays in the dtype of computation: float32 for float16 and bfloat16 leaves."""

    name = "compute"


class Param(Storage):
    """Arrays in the leaf's dtype, but for what would be lost there.

    Numbers without axes are sums and counts, which stop in a narrow dtype; and float16 has no room for anything but
    first powers: its smallest number is the square of 2^-12.
    """

    name = "param"

    def first(self, backend: Backend, field: Field, x: Any, p: Any) -> Any:
        dtype = backend.dtype(p)
        if dtype.startswith("complex") or COMPUTE[dtype] == dtype or not tuple(x.shape):
            return x
        return backend.cast(x, dtype) if dtype != "float16" or field.unit in FIRST_POWERS else x


_KINDS: dict[str, Storage] = {}


def register(kind: Storage) -> Storage:
    """Make a kind of storage known by its name; ValueError where another kind has that name."""
    if type(_KINDS.get(kind.name, kind)) is not type(kind):
        raise ValueError(f"optcore.backends.storage: {kind.name!r} is another kind of storage; choose another name")
    return _KINDS.setdefault(kind.name, kind)


def kinds() -> tuple[str, ...]:
    """The names of all kinds."""
    return tuple(_KINDS)


def storage(name: str) -> Storage:
    """The kind of this name."""
    return _KINDS[name]


register(Compute())
register(Param())
