"""Wrong options, texts, states, counts and arrays are refused at once, in words that name them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest

import optcore
from optcore import Recipe
from optcore.recipe import OPTIONS
from optcore.schedule import Schedule

WRONG: list[Any] = [3, -1, 2.5, "no such", True, None, [], [3], {}, {"x": 3}, {3: "x"}, object(), np.ones(2), (None,)]
LEGAL = {
    ("accumulate", 3), ("seed", 3), ("average", None), ("layout", None), ("leaves", None), ("clip", None),
    ("no_decay", "no such"), ("freeze", "no such"),
}  # fmt: skip
EMPTY = {("no_decay", "[]"), ("freeze", "[]"), ("clip", "[]"), ("leaves", "{}"), ("layout", "{}")}


@pytest.mark.parametrize("option", [*OPTIONS, "clip"])
@pytest.mark.parametrize(
    "value", WRONG, ids=lambda x: repr(x).partition(" at ")[0]
)  # no address, which each worker has its own
def test_every_option_of_a_recipe_refuses_every_kind_of_value_that_is_not_its_own(option: str, value: Any) -> None:
    legal = (option, repr(value)) in EMPTY or any(option == o and value is v for o, v in LEGAL)
    if legal:
        Recipe("adam", **{option: value})
        return
    with pytest.raises((TypeError, ValueError)) as found:
        Recipe("adam", **{option: value})
    if option == "clip" and value is WRONG[3]:  # a name that is looked up
        assert "no rule 'no such'" in str(found.value)
    else:
        assert str(found.value).startswith("Recipe:") and option in str(found.value)


def test_the_refusal_names_the_value_and_what_is_right() -> None:
    for options, words in (
        ({"leaves": 3}, 'leaves=3 is of type int; give a mapping, as {"bias$"'),
        ({"leaves": []}, "leaves=[] is of type list; give a mapping"),
        ({"leaves": {"b": 3}}, "leaves['b'] is 3 of type int; give a mapping of numbers"),
        ({"no_decay": 3}, "no_decay=3 is of type int; give a regular expression or a list"),
        ({"freeze": ["a", 3]}, "freeze holds 3 of type int; give regular expressions as strings"),
        ({"layout": 3}, "layout=3 is no choice; give 'out_in' or 'in_out'"),
        ({"layout": {"a": {"b": "in_out"}}}, "layout={'b': 'in_out'} is no choice"),
        ({"clip": 3}, "clip holds 3 of type int; give clipping laws or names"),
    ):
        with pytest.raises((TypeError, ValueError), match=re.escape(f"Recipe: {words}")):
            Recipe("adam", **options)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"name": {"name": "adam"}}, "\"name\": {'name': 'adam'} is of type dict; give the name of a rule"),
        ({"name": 3}, '"name": 3 is of type int'),
        ({"name": None}, '"name": None is of type NoneType'),
        ({"name": ["adam"]}, "\"name\": ['adam'] is of type list"),
        ({"rule": {"name": "adam"}}, "is no rule; give"),
        ({"name": "cautious", "of": 3}, '"of": 3 is no list of rules; give "of": [...]'),
        ({"name": "cautious", "of": "adam"}, "\"of\": 'adam' is no list of rules"),
        ({"name": "cautious", "of": {"name": "adam"}}, "is no list of rules"),
        ({"name": "cautious", "of": [3]}, "3 is no rule"),
        ({"name": "adam", "of": ["sgd"]}, "adam takes no rules; leave \"of\": ['sgd'] out"),
        ({"chain": 3}, '"chain": 3 is no list of rules'),
        ({"chain": "adam"}, "\"chain\": 'adam' is no list of rules"),
        ({"chain": []}, '"chain": [] is no list of rules'),
        ({"name": "adam", "lr": {"schedule": 3}}, "{'schedule': 3} is no number and no schedule"),
        ({"name": "adam", "lr": {"schedule": ["cosine"]}}, "is no number and no schedule"),
        ({"name": "adam", "lr": {}}, "{} is no number and no schedule"),
        ([["adam"]], "[['adam']] is no rule"),
    ],
    ids=str,
)
def test_a_rule_of_a_wrong_form_is_refused(rule: Any, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as found:
        Recipe.from_json(json.dumps({"optcore": 1, "rule": rule}))
    assert str(found.value).startswith("Recipe: ")


DEEP = 20_000


@pytest.mark.parametrize(
    "inner",
    [
        "[" * DEEP + "]" * DEEP,
        '{"chain": [' * DEEP + '"adam"' + "]}" * DEEP,
        '{"name": "cautious", "of": [' * DEEP + '"adam"' + "]}" * DEEP,
        '{"name": "cautious", "of": [' * 900 + '"adam"' + "]}" * 900,
        '{"name": "adam", "lr": ' + '{"schedule": "warmup", "steps": 3, "then": ' * 900 + "1.0" + "}" * 901,
    ],
    ids=["lists", "chains", "combinators", "as deep as JSON takes", "schedules"],
)
def test_a_text_that_is_nested_too_deeply_is_refused(inner: str) -> None:
    with pytest.raises(ValueError, match="Recipe: the text is nested too deeply") as found:
        Recipe.from_json(f'{{"optcore": 1, "rule": {inner}}}')
    assert len(str(found.value)) < 200


def test_what_stands_twice_in_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match="Recipe: 'name' stands twice in one object"):
        Recipe.from_json('{"optcore": 1, "rule": {"name": "adam", "name": "sgd"}}')
    with pytest.raises(ValueError, match="Recipe: 'rule' stands twice"):
        Recipe.from_json('{"optcore": 1, "rule": "adam", "rule": "sgd"}')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the text is no JSON"),
        ("[]", 'must hold "optcore": 1 and "schedule"'),
        ('{"optcore": 2, "schedule": {"schedule": "cosine"}}', "no schedule of format 1"),
        ('{"optcore": 1, "rule": "adam"}', 'must hold "optcore": 1 and "schedule"'),
        ('{"optcore": 1, "schedule": "cosine"}', "is no schedule; give"),
        ('{"optcore": 1, "schedule": {"peak": 1.0}}', "is no number and no schedule"),
        ('{"optcore": 1, "schedule": {"schedule": "cosin"}}', "no schedule 'cosin'; did you mean cosine"),
        ('{"optcore": 1, "schedule": {"schedule": "cosine"}, "lr": 3}', "is no schedule; give"),
        ('{"optcore": 1, "schedule": ' + "[" * DEEP + "]" * DEEP + "}", "nested too deeply"),
    ],
)
def test_a_text_that_is_no_schedule_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)) as found:
        Schedule.from_json(text)
    assert str(found.value).startswith("Schedule: ")
    with pytest.raises(TypeError, match="Schedule: 3 is of type int; give the text"):
        Schedule.from_json(3)  # type: ignore[arg-type]


P, G = np.ones(3), np.ones(3)
STATE = optcore.adam.init(P)
CLIPPED = optcore.chain(optcore.clip_by_norm(max_norm=1.0), optcore.adam)
STATES = {
    "of another length": (optcore.adam, (1, 2, 3, 4, 5), "a state of type tuple with 5 entries was made by"),
    "of another rule": (optcore.adam, optcore.lion.init(P), "a state of type LionState with 1 entries was made"),
    "of a rule without state": (optcore.adam, optcore.sgd.init(P), "a state of type NoState with 0 entries was made"),
    "of numbers": (optcore.adam, (1, 2), "the state's m is 1 of type int, no array"),
    "one of its arrays": (optcore.adam, STATE.m, "a state of type ndarray was given, and one of adam has 2 entries"),
    "a number": (optcore.adam, 3, "a state of type int was given"),
    "a mapping": (optcore.adam, STATE._asdict(), "a state of type dict was given"),
    "nothing": (optcore.adam, None, "a state of type NoneType was given"),
    "of a link": (CLIPPED, STATE, "for clip_by_norm, a state of type ndarray was given"),
    "of too few links": (CLIPPED, (STATE,), "a state of type tuple with 1 entries was made"),
    "of the rule within": (optcore.lookahead(optcore.adam), STATE, "a state of type AdamState with 2 entries was made"),
    "of another within": (
        optcore.lookahead(optcore.adam), optcore.lookahead(optcore.lion).init(P),
        "for adam, a state of type LionState with 1 entries was made",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", STATES)
def test_a_state_that_is_not_the_rules_is_refused(kind: str) -> None:
    rule, state, words = STATES[kind]
    with pytest.raises(TypeError, match=re.escape(f"{rule.name}: {words}")) as found:
        rule(P, G, state, t=1)
    assert ".init(p)" in str(found.value)


def test_states_that_fit_are_taken() -> None:
    for rule in (optcore.adam, CLIPPED, optcore.lookahead(optcore.adam), optcore.matrices(optcore.muon, optcore.adam)):
        rule(P, G, rule.init(P), t=1)
    moved, _ = optcore.adam(P, G, tuple(STATE), t=1)
    np.testing.assert_array_equal(moved, optcore.adam(P, G, STATE, t=1)[0])


@pytest.mark.parametrize(
    ("t", "error"),
    [
        (math.nan, ValueError), (np.float64("nan"), ValueError), (math.inf, ValueError), (0, ValueError),
        (-3, ValueError), (np.int64(0), ValueError), (np.array(0.0), ValueError), ("1", TypeError), (True, TypeError),
        ([1], TypeError), (np.ones(2), TypeError),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_count_of_updates_is_refused(t: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=re.escape(f"adam: t={t!r} is ") + ".*t=1"):
        optcore.adam(P, G, STATE, t=t)


def test_counts_of_every_kind_are_taken() -> None:
    import jax.numpy as jnp

    want = optcore.adam(P, G, STATE, t=2)[0]
    for t in (2.0, np.int64(2), np.float32(2), np.array(2)):
        np.testing.assert_allclose(optcore.adam(P, G, STATE, t=t)[0], want, rtol=1e-6)
    x = jnp.ones(3)
    np.testing.assert_allclose(optcore.adam(x, x, optcore.adam.init(x), t=jnp.asarray(2.0))[0], want, rtol=1e-6)


SQUARE = np.ones((2, 2))
ARRAYS = {
    "matrix": (SQUARE.view(np.matrix), "is a matrix of NumPy, whose product is another one; give numpy.asarray"),
    "swapped": (SQUARE.astype(np.dtype("float64").newbyteorder()), "in another byte order than this machine's; give x"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_another_arithmetic_or_byte_order_are_refused(kind: str) -> None:
    x, words = ARRAYS[kind]
    state = optcore.adam.init(SQUARE)
    optimizer = optcore.backends.Optimizer(Recipe("adam"))
    for call, what in (
        (lambda: optcore.adam.init(x), "the parameter"),
        (lambda: optcore.adam(x, SQUARE, state, t=1), "the parameter 'adam'"),
        (lambda: optcore.adam(SQUARE, x, state, t=1), "the gradient 'adam'"),
        (lambda: optimizer.init({"w": x}), "the parameter"),
        (lambda: optimizer.update({"w": SQUARE}, {"w": x}, optimizer.init({"w": SQUARE})), "the gradient 'w'"),
    ):
        with pytest.raises(TypeError, match=re.escape(what) + ".*" + re.escape(words)):
            call()
    native = np.asarray(x).astype(np.asarray(x).dtype.newbyteorder("="))
    np.testing.assert_array_equal(
        optcore.adam(native, SQUARE, state, t=1)[0], optcore.adam(SQUARE, SQUARE, state, t=1)[0]
    )
