"""The signature and documentation of a law that ``help`` and editors show, made from its declaration when asked.

A rule is an object that is called, and so are a combinator and a schedule. Without more, Python would show the class
and ``__call__(*arrays, t, **hyper)``, which say nothing of the law.
"""

from __future__ import annotations

import ast
import inspect
import keyword
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from optcore.hyper import REQUIRED, Hyper

if TYPE_CHECKING:
    from optcore.parts import Field

__all__ = ["Described", "Species"]

Species: TypeAlias = Literal["rule", "combinator", "schedule"]
"""The kinds of laws; a clipping law is a rule."""

MEANINGS = {
    "lr": "The learning rate, by which the direction is multiplied.",
    "weight_decay": "The share of the parameter that is taken off it.",
    "decay": "The place where that share is taken off.",
    "maximize": "Whether the gradient is followed upwards, as that of a gain.",
}
"""The parameters that the leaf template gives to every rule; all others are explained by the law that takes them."""


class _Documentation(str):
    """The ``__doc__`` of a class, which Python reads as a string, and of its objects, each of which has its own."""

    __slots__ = ()

    def __get__(self, law: Any, owner: type) -> str:
        return self if law is None else documentation(law)


class _Signature:
    """The ``__signature__`` of a law; its class has the one of its constructor."""

    def __get__(self, law: Any, owner: type) -> Signature:
        if law is None:
            raise AttributeError("__signature__")
        return signature(law.arrays(), law.shown(), like=bool(getattr(law, "conventions", {})))


class Described:
    """The base of rules, combinators and schedules: each object has a signature and a documentation of its own."""

    name: str
    doc: str
    hypers: Mapping[str, Hyper]
    bound: Mapping[str, Any]
    species: ClassVar[Species]
    call: ClassVar[str] = ""  #: what a call gives
    __signature__ = _Signature()

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the class keep its documentation beside those of its objects."""
        super().__init_subclass__(**options)
        cls.__doc__ = _Documentation(cls.__dict__.get("__doc__") or "")

    def arrays(self) -> Sequence[Parameter]:
        """The parameters that are arrays or rules, in front of the hyper-parameters."""
        return ()

    def written(self) -> Callable[..., Any] | None:
        """The function that the law was written as; None where it is made of several."""
        law = getattr(self, "law", None)
        return None if law is None else law.fn

    def shown(self) -> dict[str, tuple[Hyper, Any]]:
        """Every hyper-parameter with the value that it has now: those of the law, then those of the leaf template."""
        values: Mapping[str, Any] = getattr(self, "values", dict)()
        found = {name: (hyper, values.get(name, hyper.default)) for name, hyper in self.hypers.items()}
        return {name: found[name] for name in [*(n for n in found if n not in MEANINGS), *MEANINGS] if name in found}


class _Words(str):
    """The words of an annotation, shown without quotation marks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def positional(*names: str) -> list[Parameter]:
    """Parameters that are given by their place alone."""
    return [Parameter(name, Parameter.POSITIONAL_ONLY) for name in names]


def signature(arrays: Iterable[Parameter], shown: Mapping[str, tuple[Hyper, Any]], *, like: bool) -> Signature:
    """The parameters in front, then the hyper-parameters as keywords; ``**hyper`` for those with a dot."""
    found, more = list(arrays), []
    for name, (hyper, value) in shown.items():
        if name.isidentifier() and not keyword.iskeyword(name):
            said = _Words(hyper.said) if isinstance(hyper.said, str) else hyper.said
            found.append(Parameter(name, Parameter.KEYWORD_ONLY, default=value, annotation=said))
        else:
            more = [Parameter("hyper", Parameter.VAR_KEYWORD)]
    if like:
        found.append(Parameter("like", Parameter.KEYWORD_ONLY, default=None, annotation=_Words("str | None")))
    return Signature([*found, *more])


def documentation(law: Any) -> str:
    """The law's own words and equations, then how it is called, its parameters, conventions and state."""
    shown, given = law.shown(), getattr(law, "conventions", {})
    likes = [
        (f'like="{k}"', ", ".join(f"{n}={v!r}" for n, v in each.items()) or "The defaults.")
        for k, each in given.items()
    ]
    sections = (
        ("Equations", [(equations(law.written()), "")]),
        ("Call", [(f"{law.name if hasattr(law, 'law') else repr(law)}{law.__signature__}", law.call)]),
        ("Parameters", [(_head(name, *pair), _bounds(name, pair[0])) for name, pair in shown.items()]),
        ("Conventions", likes),
        ("State", [(f"{f.name}: {_kind(f)}", f.doc) for f in getattr(law, "fields", ())]),
    )
    return "\n\n".join([law.doc, *(text for title, entries in sections if (text := _section(title, entries)))]).strip()


def equations(law: Callable[..., Any] | None) -> str:
    """The body of a law without its documentation, which is the equations of its source; empty where no file has it."""
    if law is None:
        return ""
    try:
        text = textwrap.dedent(inspect.getsource(law))
        body = ast.parse(text).body[0].body  # type: ignore[attr-defined]
    except (OSError, SyntaxError, AttributeError):
        return ""
    body = body[1:] if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) else body
    lines = text.splitlines()[body[0].lineno - 1 : body[-1].end_lineno] if body else []
    return textwrap.dedent("\n".join(lines))


def _section(title: str, entries: Iterable[tuple[str, str]]) -> str:
    lines = [line for head, text in entries for line in (head, text and f"    {text}") if line]
    return "\n".join([title, "-" * len(title), *lines]) if lines else ""


def _head(name: str, hyper: Hyper, value: Any) -> str:
    said = hyper.said if isinstance(hyper.said, str) else inspect.formatannotation(hyper.said)
    return f"{name}: {said}" + (", required" if value is REQUIRED else f", default {value!r}")


def _bounds(name: str, hyper: Hyper) -> str:
    """Return the template's words for a hyper-parameter, and its range, with the unit of a number."""
    text = hyper.range
    if hyper.choices:
        text = f"one of {text}"
    elif text.startswith(("[", "(")):
        text = f"in {text}, unit {hyper.unit}"
    return f"{MEANINGS.get(name.rpartition('.')[2], '')} {text[0].upper()}{text[1:]}.".strip()


def _kind(f: Field) -> str:
    marks = (("Shared", f.shared), ("Noise", f.noise), ("Drawn", f.drawn))
    return next((name for name, holds in marks if holds), "Array")
