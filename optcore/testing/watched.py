"""Arrays and functions that allow a law what every backend has, and explain what they refuse.

A law may use the operators of :class:`optcore.typing.Array` and the functions of :class:`optcore.typing.Namespace`.
NumPy's own arrays have much more, and a law that leans on it would fail on another backend in that backend's words.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any, NoReturn

from optcore.backends.numpy import np
from optcore.matrix import Interpreter
from optcore.typing import Namespace

__all__ = ["FUNCTIONS", "Functions", "IllegalError", "UnknownError", "Watched", "raw"]

FUNCTIONS = {name: inspect.signature(f) for name, f in vars(Namespace).items() if inspect.isfunction(f)}
FUNCTIONS = {name: found for name, found in FUNCTIONS.items() if not name.startswith("_")}
"""The functions that a law may call, with the arguments they take."""
ARRAYS_HAVE = "an array in a law has operators, .shape, .ndim and slices, nothing else"
INSTEAD = {
    "T": "xp.matrix_transpose({x})",
    "mT": "xp.matrix_transpose({x})",
    "size": "math.prod({x}.shape)",
    "astype": "no cast: the driver chooses the dtype",
    "dtype": "no dtype: the driver chooses it",
    "item": "xp.where, or the array itself",
    "copy": "{x} itself: nothing is ever written into it",
}


class IllegalError(TypeError):
    """A law did what it may not do; the message tells its author what to write instead."""


class UnknownError(IllegalError, AttributeError):
    """A law asked for a function or attribute that not every array library has."""


class Watched:
    """A NumPy array behind the protocol of a law's arrays; ``name`` is what the law calls it, if it was given."""

    __slots__ = ("name", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any, name: str = "") -> None:
        self.value, self.name = np.asarray(value), name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return int(self.value.ndim)

    def __repr__(self) -> str:
        return self.name or "an array"

    def __getitem__(self, key: Any) -> Watched:
        return Watched(self.value[key])

    def __neg__(self) -> Watched:
        return Watched(-self.value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        x = self.name or "x"
        instead = f"xp.{name}({x})" if name in FUNCTIONS else INSTEAD.get(name, "").format(x=x)
        raise UnknownError(
            f"{x}.{name} is not there on every backend; {ARRAYS_HAVE}" + (instead and f"; write {instead}")
        )

    def _read(self, *_: Any) -> NoReturn:
        raise IllegalError(
            f"the law reads the value of {self!r} as a Python number; an array may be traced and have no value yet, so "
            "go on with the array itself"
        )

    __float__ = __int__ = __index__ = __complex__ = __round__ = _read

    def __bool__(self) -> NoReturn:
        raise IllegalError(
            f"the law branches on the value of {self!r}; an array may be traced and have no value yet. Write "
            "xp.where(condition, a, b) in place of if, and, or, not, min, max and chained comparisons"
        )

    def _through(self, *_: Any) -> NoReturn:
        raise IllegalError(
            f"the law goes through {self!r} element by element; work on the whole array, or on slices of it"
        )

    __iter__ = __len__ = __contains__ = _through

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise IllegalError(
            f"the law writes in place, into {self!r}; not every library can. Make a new array, as in "
            "x = xp.where(condition, a, x)"
        )

    def _own(self, ufunc: Any, *_: Any, **__: Any) -> NoReturn:
        name = getattr(ufunc, "__name__", "a function")
        instead = f"xp.{name}" if name in FUNCTIONS else "the functions of xp"
        raise IllegalError(f"the law calls NumPy's {name} on {self!r}; use {instead}, and numbers of Python's own")

    __array_ufunc__ = __array_function__ = _own

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise IllegalError(f"the law turns {self!r} into a NumPy array; use the functions of xp")

    def __invert__(self) -> NoReturn:
        raise IllegalError("~ is not there for conditions on every backend; exchange the branches of xp.where instead")

    def __ne__(self, other: object) -> Any:
        raise IllegalError("!= is not among a law's operators; write == and exchange the branches of xp.where")


Watched.__name__ = Watched.__qualname__ = "array"  # as it is called where Python itself complains


def raw(x: Any) -> Any:
    """Return the array within a watched array; anything else is returned as it is."""
    return x.value if isinstance(x, Watched) else x


def _operator(name: str, *, reflected: bool) -> None:
    base: Callable[[Any, Any], Any] = getattr(operator, f"__{name}__")

    def forward(self: Watched, other: Any) -> Watched:
        return Watched(base(self.value, raw(other)))

    def backward(self: Watched, other: Any) -> Watched:
        return Watched(base(raw(other), self.value))

    def in_place(self: Watched, _: Any) -> Any:
        if not self.name:
            return NotImplemented  # an array of the law's own: Python makes a new one
        symbol = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "pow": "**", "matmul": "@", "mod": "%"}[name]
        raise IllegalError(
            f"the law writes in place, into {self.name}, which it was given; write x = {self.name} {symbol} ..."
        )

    setattr(Watched, f"__{name}__", forward)
    if reflected:
        setattr(Watched, f"__r{name}__", backward)
    if name in ("add", "sub", "mul", "truediv", "pow", "matmul", "mod"):
        setattr(Watched, f"__i{name}__", in_place)


for _name in ("add", "sub", "mul", "truediv"):
    _operator(_name, reflected=True)
for _name in ("pow", "mod", "matmul", "lt", "le", "gt", "ge", "eq", "and_", "or_"):
    _operator(_name.rstrip("_"), reflected=False)


class Functions(Interpreter):
    """The namespace of watched arrays: the functions that every backend has, on NumPy."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "linalg":
            raise UnknownError(
                "xp.linalg may be used in a function marked @optcore.matrix.opaque alone; mark a step so"
            )
        if name not in FUNCTIONS:
            raise UnknownError(
                f"xp.{name} is not among the functions that a law may use, which are those of "
                f"optcore.typing.Namespace: {', '.join(FUNCTIONS)}"
            )

        def call(*args: Any, **options: Any) -> Any:
            try:
                FUNCTIONS[name].bind(self, *args, **options)
            except TypeError as error:
                takes = f"xp.{name}{_shown(FUNCTIONS[name])}"
                raise IllegalError(f"xp.{name} does not take this: {error}; it is {takes}") from None
            if not any(isinstance(x, Watched) for x in args):
                raise IllegalError(
                    f"xp.{name} was given no array; numbers are worked out by optcore.scalars, as in "
                    f"on(xp, x).{name}(x)"
                )
            return Watched(getattr(np, name)(*map(raw, args), **options))

        return call

    def opaque(self, step: Callable[..., Any], *arrays: Any) -> Any:
        return Watched(step(np, *map(raw, arrays)))


def _shown(signature: inspect.Signature) -> str:
    """The arguments of a function of the namespace, without self and annotations."""
    own = [p.replace(annotation=p.empty) for p in list(signature.parameters.values())[1:]]
    return str(inspect.Signature(own))
