"""The report to a rule's author: every mistake is named in words, at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import optcore
from optcore import registry
from optcore.requests import Total
from optcore.rule import rule
from optcore.testing import check_rule, subjects
from optcore.testing.smoke import first_run
from optcore.typing import Array, Decay


class State(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]


def unknown_function(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return xp.tanh(g), s


def branch(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    if xp.sum(g) > 0:
        g = -g
    return g, s


def branch_on_a_method(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    m = 0.9 * s.m + 0.1 * g
    if m.sum() > 0:
        m = -m
    return m, State(m)


def branch_on_a_number(xp: Any, p: Any, g: Any, s: Any, t: Any, *, beta: Decay = 0.9) -> Any:
    return (g if beta > 0.5 else -g), s


def forgotten_state(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return 0.9 * s.m + g


def nothing_returned(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    pass


def bare_state(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return g, 0.9 * s.m + g


def another_state(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return g, (s.m, s.m)


def number_in_the_state(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return g, State(m=0.0)


def wrong_shape(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return xp.sum(g), s


def wrong_shape_of_the_state(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return g, State(m=xp.sum(g))


def raising(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    scales: dict[str, float] = {}
    return scales["adam"] * g, s


def in_place(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    g *= 2.0
    return g, s


def into_the_state(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    s.m[...] = g
    return g, s


def numpys_own(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return np.sign(g), s


def read_value(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return g * float(xp.sum(g)), s


def by_elements(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return sum(x for x in g), s


def positional_axis(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return g - xp.sum(g, 0), s


def scalar_function(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return g / xp.sqrt(2.0), s


def power_of_a_number(xp: Any, p: Any, g: Any, s: Any, t: Any, *, beta: Decay = 0.9) -> Any:
    return g / (1 - 0.9**t), s


def unsummed_total(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    n = yield g * g
    return g / n, s


def outside_an_opaque_step(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    return xp.linalg.qr(g)[0], s


MISTAKES: list[tuple[Callable[..., Any], list[str]]] = [
    (unknown_function, ["xp.tanh is not among the functions", "optcore.typing.Namespace", "abs, sign, sqrt, exp"]),
    (branch, ["`if xp.sum(g) > 0:`", "branches on the value", "xp.where(condition, a, b)"]),
    (branch_on_a_method, ["`if m.sum() > 0:`", "write xp.sum(x)", "xp.where(condition, a, b)"]),
    (branch_on_a_number, ["beta > 0.5", "branches on the value", "xp.where(condition, a, b)"]),
    (forgotten_state, ["returns an array of shape", "two things, the direction and the new state"]),
    (nothing_returned, ["returns None", "two things, the direction and the new state"]),
    (bare_state, ["gives an array of shape", "as the state; it must be State(m=...)"]),
    (another_state, ["gives a tuple of 2 as the state; it must be State(m=...)"]),
    (number_in_the_state, ["gives 0.0 as the state's m", "xp.zeros_like(p)"]),
    (wrong_shape, ["the direction is an array of shape () for a leaf of shape (2, 3, 2)", "the leaf's shape"]),
    (wrong_shape_of_the_state, ["the state's m starts with shape (2, 3, 2) and gets ()"]),
    (raising, ['`return scales["adam"] * g, s`', "KeyError: 'adam'"]),
    (in_place, ["`g *= 2.0`", "writes in place, into g", "x = g * ..."]),
    (into_the_state, ["`s.m[...] = g`", "writes in place, into s.m", "xp.where(condition, a, x)"]),
    (numpys_own, ["`return np.sign(g), s`", "NumPy's sign on g", "use xp.sign"]),
    (read_value, ["reads the value of an array as a Python number"]),
    (by_elements, ["goes through g element by element"]),
    (positional_axis, ["xp.sum does not take this", "it is xp.sum(x, /, *, axis=None, keepdims=False)"]),
    (scalar_function, ["xp.sqrt was given no array", "optcore.scalars"]),
    (power_of_a_number, ["bias_correction(xp, beta, t)", "0-d arrays"]),
    (unsummed_total, ["yields an array of shape", "yield xp.sum(g * g)"]),
    (outside_an_opaque_step, ["xp.linalg", "@optcore.matrix.opaque"]),
]


@pytest.mark.parametrize(("law", "words"), MISTAKES, ids=[law.__name__ for law, _ in MISTAKES])
def test_a_mistake_is_reported_at_once_in_words_that_name_it(law: Callable[..., Any], words: list[str]) -> None:
    begun = time.perf_counter()
    (report,) = check_rule(rule(State, kind="leafwise")(law))
    assert time.perf_counter() - begun < 5.0  # milliseconds; a whole proof takes longer than this
    assert list(report.failures) == ["first run"] and not report.holds and report.laws == ()
    (text,) = report.failures.values()
    assert text.startswith(f"{law.__name__}: ") and "\n" not in text and "watched" not in text.lower()
    for each in words:
        assert each in text, text


def test_the_line_of_the_law_is_named_with_its_file() -> None:
    (report,) = check_rule(rule(State)(raising))
    line = raising.__code__.co_firstlineno + 2
    assert report.failures["first run"].startswith(f"raising: line {line} of test_check_rule.py, `return scales")


def test_a_law_of_matrices_that_does_not_say_so_is_told_to() -> None:
    @rule(kind="leafwise", axes=True)
    def rows(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        m, n = g.shape
        return g / (m * n), s

    (report,) = check_rule(rows)
    assert "it runs on leaves of 2 axes" in report.failures["first run"]
    assert "ndim=2" in report.failures["first run"]


def test_a_mistake_of_an_inner_rule_is_reported_of_the_whole() -> None:
    whole = optcore.cautious(optcore.chain(optcore.clip_by_value(limit=1.0), rule(State)(forgotten_state)))
    (report,) = check_rule(whole)
    assert "forgotten_state: the law returns an array" in report.failures["first run"]


def test_no_rule_of_the_library_is_refused() -> None:
    assert {name: first_run(each) for name, each in subjects().items()} == dict.fromkeys(subjects())


def test_a_law_may_ask_for_sums_maxima_and_several_at_once() -> None:
    @rule(State, kind="leafwise")
    def asks(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        n, largest = yield xp.sum(xp.abs(g)), Total(xp.max(xp.abs(g)), "max")
        top = yield Total(n, "max")
        return g * (largest / top), State(m=s.m + g)

    assert first_run(asks) is None


def test_a_law_that_is_refused_by_a_backend_alone_is_a_report() -> None:
    """A law that passes the first run and that the bound cannot follow is reported, too, and not raised."""

    @rule(State, kind="leafwise")
    def ordered(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return xp.take(g, xp.argsort(g), axis=0), s

    (report,) = check_rule(ordered(), examples=5)
    assert not report.holds


def test_floor_cosine_and_broadcasting_have_bounds() -> None:
    """They are functions of the namespace, so a law that calls them is proven like any other."""

    @rule(kind="leafwise")
    def waves(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        low = xp.floor(xp.cos(g) * 4.0) * g
        return low + xp.broadcast_to(xp.sum(0.0 * g), g.shape) + xp.max(g), s

    (report,) = check_rule(waves, dtypes=["float64"], examples=10)
    assert not [law for law in report.failures if law.startswith("certified bound")]


def test_what_is_no_rule_is_refused() -> None:
    with pytest.raises(TypeError, match="is of type function; give a rule, made by "):
        check_rule(raising)  # type: ignore[arg-type]


def positional(xp: Any, p: Any, g: Any, s: Any, t: Any, beta: Decay = 0.9) -> Any:
    return beta * g, s


def too_few(xp: Any, p: Any, g: Any, s: Any) -> Any:
    return g, s


def any_keywords(xp: Any, p: Any, g: Any, s: Any, t: Any, **hyper: Any) -> Any:
    return g, s


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (
            positional,
            r"positional: beta is positional, and hyper-parameters are keyword-only; write a star before beta",
        ),
        (too_few, r"too_few: the law takes xp, p, g, s by position; a law begins as def too_few\(xp, p, g, s, t, \*"),
        (any_keywords, r"any_keywords: \*\*hyper: .* stands for no certain hyper-parameters; name each"),
    ],
)
def test_a_law_of_another_form_is_refused_where_it_is_made(law: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        rule(State)(law)
    assert law.__name__ not in registry.rules()
