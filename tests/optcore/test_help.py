"""What ``help`` and ``inspect`` show of a law is the law's own declaration."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import optcore
from optcore import registry
from optcore.compose import Chain, Combinator, Combined
from optcore.hyper import REQUIRED
from optcore.rule import TEMPLATE, Primitive, Rule
from optcore.schedule import Schedule

EVERY = {
    **registry.rules(),
    **registry.clipping(),
    **registry.combinators(),
    **registry.schedules(),
    "a chain": optcore.chain(optcore.centralize, optcore.adam),
    "a combined rule": optcore.matrices(optcore.muon, optcore.adam),
}


def shown(law: Any) -> str:
    return pydoc.render_doc(law, renderer=pydoc.plaintext)


def test_the_signature_of_adam_is_adams() -> None:
    assert str(inspect.signature(optcore.adam)) == (
        "(p, g, s, /, *, t, beta1: Decay = 0.9, beta2: Decay = 0.999, epsilon: Epsilon = 1e-08, "
        "epsilon_root: EpsilonRoot = 0.0, epsilon_hat: Epsilon = 0.0, lr: NonNegative = 0.001, "
        "weight_decay: NonNegative = 0.0, decay: DecayPlace = 'with', maximize: bool = False, like: str | None = None)"
    )
    assert inspect.signature(optcore.adam(beta1=0.5)).parameters["beta1"].default == 0.5
    assert str(inspect.signature(optcore.schedules.linear)) == (
        "(step, /, *, start: NonNegative, end: NonNegative, steps: Count, begin: Whole = 0)"
    )
    assert str(inspect.signature(optcore.lookahead)) == "(inner, /, *, interval: Count = 5, alpha: UnitInterval = 0.5)"


def test_help_of_adam_has_its_meaning_source_equations_bounds_units_defaults_and_state() -> None:
    text = shown(optcore.adam)
    for words in (
        "The mean gradient over the root of its mean square",
        "Source: Kingma & Ba 2015, alg. 1",
        "m, v = ema(beta1, s.m, g), ema(beta2, s.v, g * g)",
        "adam(p, g, s, /, *, t, beta1: Decay = 0.9",
        "beta1: Decay, default 0.9\n        In [0, 1), unit [1].",
        "epsilon_root: EpsilonRoot, default 0.0\n        In [0, inf), unit [g^2].",
        "lr: NonNegative, default 0.001\n        The learning rate",
        "decay: DecayPlace, default 'with'",
        "One of 'coupled' | 'with'",
        'like="keras"\n        epsilon=0.0, epsilon_hat=1e-07',
        "v: Array\n        EMA of the squared gradient, zero at the start; unit [g^2]",
    ):
        assert words in text, words
    assert "_abc_impl" not in text and "Methods defined here" not in text


def test_help_of_a_required_parameter_says_so() -> None:
    assert "steps: Count, required\n        A whole number in [1, inf)." in shown(optcore.schedules.cosine)
    assert "limit: Limit, required\n        In [0, inf), unit [g]." in shown(optcore.clipping.clip_by_value)
    assert "nesterov: bool, default True\n        True | False." in shown(optcore.muon)


@pytest.mark.parametrize("name", EVERY)
def test_every_law_shows_what_it_declares(name: str) -> None:
    law = EVERY[name]
    text, parameters = shown(law), inspect.signature(law).parameters
    assert inspect.getdoc(law) == law.__doc__
    assert law.doc.splitlines()[0] in text and "Methods defined here" not in text
    for hyper in law.hypers.values():
        lines = text.splitlines()
        at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{hyper_name(law, hyper)}: "))
        assert hyper.range.lower() in lines[at + 1].lower()
        assert hyper.static or isinstance(law, Schedule) or str(hyper.unit) in lines[at + 1]
    values = law.values() if hasattr(law, "values") else {k: h.default for k, h in law.hypers.items()}
    for key, value in values.items():
        if key in parameters:
            default = parameters[key].default
            assert (value is REQUIRED and default is inspect.Parameter.empty) or default == value, key
        else:
            assert "." in key and "hyper" in parameters
    if isinstance(law, Rule):
        assert [*parameters][:4] == ["p", "g", "s", "t"]
        assert list(TEMPLATE) == [k for k in parameters if k in TEMPLATE], "the template's come last"
    for f in getattr(law, "fields", ()):
        assert f.name in text and f.doc in text
    if isinstance(law, Primitive | Combinator | Schedule):
        assert "Equations\n" in text


def hyper_name(law: Any, hyper: Any) -> str:
    return next(name for name, each in law.hypers.items() if each is hyper)


@pytest.mark.parametrize("cls", [Rule, Primitive, Chain, Combined, Combinator, Schedule])
def test_the_classes_keep_their_own_documentation_and_signature(cls: type) -> None:
    assert isinstance(cls.__doc__, str) and "Parameters" not in cls.__doc__
    assert not hasattr(cls, "__signature__")
    assert "t" not in inspect.signature(cls).parameters
    assert cls.__doc__.splitlines()[0] in shown(cls)


def test_laws_are_pickled_and_compared_as_before() -> None:
    for law in EVERY.values():
        again = pickle.loads(pickle.dumps(law))
        assert again == law or isinstance(law, Combinator)
        assert type(again) is type(law) and again.__doc__ == law.__doc__


def test_a_law_without_a_source_file_has_help_all_the_same() -> None:
    space: dict[str, Any] = {"__name__": "nowhere"}
    exec(
        "from optcore.rule import rule\n@rule()\ndef still(xp, p, g, s, t):\n    'Stays.'\n    return 0.0 * g, s", space
    )
    text = shown(space["still"])
    assert "Stays." in text and "Equations" not in text and "still(p, g, s, /, *, t, lr" in text


def test_a_bare_import_makes_no_help() -> None:
    code = "import sys, optcore; print('ast' in sys.modules and 'optcore.rules' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "False", done.stderr
