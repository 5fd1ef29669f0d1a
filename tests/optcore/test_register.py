"""Laws of one's own are found by their names, wherever the library's are."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import optcore
from optcore import registry
from optcore.compose import Wrapped, combinator
from optcore.rule import rule
from optcore.schedule import Schedule, schedule
from optcore.typing import Array, Decay, NonNegative, Positive

ROOT = Path(__file__).parents[2]


class GlideState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]


@rule(GlideState)
def glide(xp: Any, p: Any, g: Any, s: GlideState, t: Any, *, beta: Decay = 0.5) -> Any:
    """The mean gradient. Source: no one."""
    m = beta * s.m + (1 - beta) * g
    return m, GlideState(m)


@rule(clips=True)
def cut_in_parts(xp: Any, p: Any, g: Any, s: Any, t: Any, *, by: Positive = 2.0) -> Any:
    """A part of the gradient. Source: no one."""
    return g / by, s


@combinator()
def doubled(inner: Any, xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
    """Twice the direction. Source: no one."""
    d, state = yield from inner(xp, p, g, s.inner, t)
    return 2.0 * d, Wrapped(state)


@schedule()
def harmonic(xp: Any, e: Any, *, peak: NonNegative) -> Any:
    """The peak over the count. Source: no one."""
    return peak / (1.0 + e)


LAWS = (glide, cut_in_parts, doubled, harmonic)


@pytest.fixture
def known() -> Iterator[None]:
    """The laws above, registered for one test."""
    before = registry.own()
    for law in LAWS:
        registry.register(law)
    yield
    for name in registry.own().keys() - before.keys():
        registry.forget(name)


def test_registering_gives_the_law_back_and_twice_is_no_error(known: None) -> None:
    for law in LAWS:
        assert optcore.register(law) is law
    assert {law.name for law in LAWS} <= registry.own().keys()


def test_a_registered_law_is_an_attribute_and_listed_beside_its_like(known: None) -> None:
    assert optcore.glide is glide and optcore.cut_in_parts is cut_in_parts and optcore.doubled is doubled
    assert optcore.clipping.cut_in_parts is cut_in_parts and optcore.schedules.harmonic is harmonic
    assert {"glide", "cut_in_parts", "doubled"} <= set(dir(optcore)) and "harmonic" not in dir(optcore)
    assert "cut_in_parts" in dir(optcore.clipping) and "glide" not in dir(optcore.clipping)
    assert "harmonic" in dir(optcore.schedules)
    assert registry.rules()["glide"] is glide and "cut_in_parts" not in registry.rules()
    assert registry.clipping()["cut_in_parts"] is cut_in_parts
    assert registry.combinators()["doubled"] is doubled and registry.schedules()["harmonic"] is harmonic
    for name in ("glide", "cut_in_parts", "doubled"):
        assert list(registry.rules()) == sorted(registry.rules()) and registry.find(name).name == name
    with pytest.raises(ValueError, match="no rule 'harmonic'"):
        registry.find("harmonic")
    with pytest.raises(AttributeError, match="no clipping law 'glide'"):
        optcore.clipping.glide  # noqa: B018 - the look-up is the test


def test_a_forgotten_law_is_nowhere() -> None:
    registry.register(glide)
    assert optcore.glide is glide
    registry.forget("glide")
    assert not hasattr(optcore, "glide") and "glide" not in registry.rules()
    with pytest.raises(ValueError, match=r"forget: no law of your own 'adam'"):
        registry.forget("adam")


def test_recipes_and_their_text_have_registered_laws_by_name(known: None) -> None:
    lr = optcore.schedules.harmonic(peak=1.0)
    recipe = optcore.Recipe(doubled(glide), lr=lr, clip="cut_in_parts", leaves={"b": {"beta": harmonic(peak=0.5)}})
    assert optcore.Recipe("glide", beta=0.25).rule == glide(beta=0.25)
    assert optcore.Recipe.from_json(recipe.to_json()) == recipe == pickle.loads(pickle.dumps(recipe))
    assert Schedule.from_json(lr.to_json()) == lr == pickle.loads(pickle.dumps(lr))
    moved, _ = optcore.backends.Optimizer(recipe).update(
        {"w": np.ones(2)}, {"w": np.ones(2)}, optcore.backends.Optimizer(recipe).init({"w": np.ones(2)})
    )
    np.testing.assert_array_equal(moved["w"], 1 - 2 * 0.5 * 0.5)


def test_without_registration_the_text_says_what_to_do() -> None:
    text = optcore.Recipe(glide).to_json()
    with pytest.raises(ValueError, match=r"no rule 'glide'"):
        optcore.Recipe.from_json(text)
    assert optcore.Recipe.from_json(text, rules={"glide": glide}) == optcore.Recipe(glide)
    law = harmonic(peak=1.0)
    with pytest.raises(ValueError, match=r"Schedule: no schedule 'harmonic'.*registered, with optcore\.register"):
        Schedule.from_json(law.to_json())
    assert Schedule.from_json(law.to_json(), rules={"harmonic": harmonic}) == law


def test_a_variant_of_ones_own_is_pickled_by_its_name() -> None:
    heavy = glide.variant("glide_heavy", "Heavy. Source: no one.", weight_decay=0.1)
    optcore.register(heavy)
    try:
        again = pickle.loads(pickle.dumps(optcore.glide_heavy(beta=0.25)))
        assert again == heavy(beta=0.25) and again.values()["weight_decay"] == 0.1
    finally:
        registry.forget("glide_heavy")


def named(name: str, title: str | None = None) -> Any:
    def law(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return g, s

    law.__name__ = name
    return rule(title=title)(law)


@pytest.mark.parametrize("name", ["adam", "clip_by_norm", "cautious", "cosine", "Recipe", "chain", "rules", "leaf"])
def test_a_name_of_the_library_is_taken(name: str) -> None:
    with pytest.raises(ValueError, match=rf"register: {name} is taken"):
        optcore.register(named(name))
    assert name not in registry.own()


def test_a_name_that_would_be_another_laws_class_is_taken(known: None) -> None:
    with pytest.raises(ValueError, match="register: ada_m is taken, by adam"):
        optcore.register(named("ada_m"))
    with pytest.raises(ValueError, match="register: AutoClip is taken, by clip_by_percentile"):
        optcore.register(named("something", title="AutoClip"))
    with pytest.raises(ValueError, match=rf"glide is the name of another law, of the module {__name__}.*forget"):
        optcore.register(named("glide"))
    assert optcore.glide is glide


@pytest.mark.parametrize(
    ("law", "error", "words"),
    [
        (len, TypeError, "of type builtin_function_or_method; give a rule"),
        ("adam", TypeError, "'adam' is of type str"),
        (optcore.chain(optcore.sgd, optcore.adam), TypeError, r"made of other rules; register those"),
        (optcore.cautious(optcore.adam), TypeError, r"made of other rules"),
        (glide(beta=0.1), ValueError, r"glide\(beta=0.1\) is bound; give glide itself"),
        (harmonic(peak=0.1), ValueError, r"is bound; give harmonic itself"),
        (named("_hidden"), ValueError, "'_hidden' is no public name"),
        (named("<lambda>"), ValueError, "'<lambda>' is no public name"),
    ],
    ids=str,
)
def test_what_cannot_be_registered_is_refused(law: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"optcore.register: .*{words}"):
        optcore.register(law)
    assert not registry.own().keys() & {"glide", "harmonic"}


def test_words_of_a_text_are_no_parameters() -> None:
    def law(xp: Any, p: Any, g: Any, s: Any, t: Any, *, of: float = 1.0) -> Any:
        return g, s

    with pytest.raises(TypeError, match="law: of is a word of recipes"):
        rule()(law)

    def course(xp: Any, e: Any, *, schedule: float = 1.0) -> Any:
        return schedule + e

    with pytest.raises(TypeError, match="course: schedule is a word of a schedule's text"):
        schedule()(course)

    def around(inner: Any, xp: Any, p: Any, g: Any, s: Any, t: Any, *, lead: float = 1.0) -> Any:
        return g, s

    with pytest.raises(TypeError, match="around: lead is a word of recipes"):
        combinator()(around)


def test_a_law_is_named_by_its_module_too(known: None) -> None:
    assert registry.named("adam") is optcore.adam and registry.named("glide") is glide
    assert registry.named("cosine") is optcore.schedules.cosine
    assert registry.named("optcore.rules.adam:adam") is optcore.adam
    assert registry.named(f"{__name__}:harmonic") is harmonic
    for text, words in (
        ("adamm", "optcore: no law 'adamm'; did you mean adam"),
        ("optcore.rules.nowhere:adam", "the module 'optcore.rules.nowhere' cannot be imported, ModuleNotFoundError"),
        (":adam", "the module '' cannot be imported"),
        ("optcore.rules.adam:adma", "no attribute 'adma'; did you mean adam"),
        ("optcore.rules.adam:AdamState", "is of type type; give a rule"),
    ):
        with pytest.raises(ValueError, match=words):
            registry.named(text)
    with pytest.raises(TypeError, match="3 is of type int; give the name"):
        registry.find(3)  # type: ignore[arg-type]


PACKAGE = '''
from typing import Any, NamedTuple
from optcore.compose import Wrapped, combinator
from optcore.rule import rule
from optcore.schedule import schedule
from optcore.typing import Array, Decay, NonNegative, Positive

class GlideState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]

@rule(GlideState)
def glide(xp, p, g, s, t, *, beta: Decay = 0.5):
    """The mean gradient. Source: no one."""
    m = beta * s.m + (1 - beta) * g
    return m, GlideState(m)

@rule(clips=True)
def cut_in_parts(xp, p, g, s, t, *, by: Positive = 2.0):
    """A part of the gradient. Source: no one."""
    return g / by, s

@combinator()
def doubled(inner, xp, p, g, s, t):
    """Twice the direction. Source: no one."""
    d, state = yield from inner(xp, p, g, s.inner, t)
    return 2.0 * d, Wrapped(state)

@schedule()
def harmonic(xp, e, *, peak: NonNegative):
    """The peak over the count. Source: no one."""
    return peak / (1.0 + e)
'''
NAMES = ("glide", "cut_in_parts", "doubled", "harmonic")


def installed(folder: Path, name: str, source: str, entries: str) -> None:
    """A package with entry points, as pip leaves one in site-packages."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[optcore.laws]\n{entries}\n")


def python(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    installed(tmp_path, "slopes", PACKAGE, "\n".join(f"{name} = slopes:{name}" for name in NAMES))
    return tmp_path


def test_an_installed_package_is_read_once_and_only_when_it_is_needed(package: Path) -> None:
    code = """
import importlib.metadata, sys
asked, own = [], importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **given: asked.append(given) or own(**given)
import torch  # which looks for entry points of its own
asked.clear()
import numpy as np, optcore
from optcore.adapters import torch as ot
optcore.adam, optcore.schedules.cosine, optcore.Recipe("lion", clip="centralize"), ot.Lion, ot.AdamW
optcore.Recipe.from_json(optcore.Recipe("adam", lr=optcore.schedules.cosine(peak=1.0, steps=2)).to_json())
assert not asked and "slopes" not in sys.modules
assert optcore.glide.name == "glide" and asked == [{"group": "optcore.laws"}]
import slopes
assert optcore.glide is slopes.glide and optcore.schedules.harmonic is slopes.harmonic
assert optcore.clipping.cut_in_parts is slopes.cut_in_parts and optcore.doubled is slopes.doubled
recipe = optcore.Recipe(slopes.doubled(slopes.glide), lr=slopes.harmonic(peak=1.0), clip="cut_in_parts")
assert optcore.Recipe.from_json(recipe.to_json()) == recipe
assert "glide" in dir(optcore) and "glide" in optcore.registry.rules() and not hasattr(optcore, "glade")
assert len(asked) == 1
"""
    python(package, "-c", code)


def test_an_installed_law_is_in_every_adapter_and_its_checkpoints(package: Path) -> None:
    write = """
import sys, jax.numpy as jnp, keras, numpy as np, torch, optcore
from optcore.adapters import keras as ok, optax as oo, torch as ot
lr = optcore.schedules.harmonic(peak=1.0)
p = torch.nn.Parameter(torch.ones(3))
optimizer = ot.Glide([p], lr=lr)
p.grad = torch.ones(3)
optimizer.step()
assert p.tolist() == [0.5] * 3
torch.save(optimizer.state_dict(), "glide.pt")
torch.save(ot.from_recipe(optcore.Recipe("glide", lr=lr), [p]).state_dict(), "recipe.pt")
tx = oo.glide(1.0)
updates, _ = tx.update({"w": jnp.ones(3)}, tx.init({"w": jnp.ones(3)}))
assert updates["w"].tolist() == [-0.5] * 3
model = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
model.compile(optimizer=ok.Glide(learning_rate=lr, beta=0.25), loss="mse")
model.fit(np.ones((4, 2)), np.zeros((4, 1)), verbose=0)
model.save("model.keras")
np.save("kernel.npy", model.layers[0].kernel.numpy())
assert type(ok.Glide.from_config(model.optimizer.get_config())) is ok.Glide
"""
    read = """
import keras, numpy as np, optcore, torch
from optcore.adapters import torch as ot
q = torch.nn.Parameter(torch.full([3], 0.5))
other = ot.Glide([q], lr=0.1)
other.load_state_dict(torch.load("glide.pt"))
q.grad = torch.ones(3)
other.step()
assert q.tolist() == [0.5 - 0.5 * 0.75] * 3, q
kept = torch.load("recipe.pt")
again = ot.from_recipe(optcore.Recipe("adam"), [q])
again.load_state_dict(kept)
text = again.param_groups[0]["recipe"]
assert text == kept["param_groups"][0]["recipe"] and "glide" in text
again.step()
import optcore.adapters.keras
model = keras.models.load_model("model.keras")
assert type(model.optimizer).__name__ == "Glide" and model.optimizer.beta == 0.25
assert float(model.optimizer.iterations) == 1.0
assert np.array_equal(model.layers[0].kernel.numpy(), np.load("kernel.npy"))
model.fit(np.ones((4, 2)), np.zeros((4, 1)), verbose=0)
assert model.optimizer.learning_rate == 1 / 3
"""
    python(package, "-c", write)
    python(package, "-c", read)


def test_an_installed_law_is_on_the_command_line(package: Path) -> None:
    rows = {row["name"]: row for row in json.loads(python(package, "-m", "optcore", "rules", "--json"))}
    assert {"glide", "cut_in_parts", "doubled"} <= rows.keys() and rows["glide"]["state"][0]["unit"] == "[g]"


def test_a_broken_entry_point_is_told_with_its_package_where_its_law_is_missed(tmp_path: Path) -> None:
    installed(tmp_path, "slopes", PACKAGE, "glide = slopes:glide")
    installed(tmp_path, "broken", "import nothing_of_the_kind", "slide = broken:slide")
    installed(tmp_path, "twice", "from optcore.rules.adam import adam", "adam = twice:adam")
    installed(tmp_path, "other", "from slopes import doubled", "halved = other:doubled")
    installed(tmp_path, "none", "slip = 3", "slip = none:slip")
    code = """
import optcore, warnings
from optcore import registry
assert optcore.adam.name == "adam" and optcore.glide.name == "glide"
try:
    registry.find("slide")
except ValueError as error:
    text = str(error)
for words in (
    "'broken:slide' of the package broken 1.5 cannot be read, ModuleNotFoundError: No module named 'nothing_of_the",
    "'other:doubled' of the package other 1.5 cannot be read, ValueError: the law's name is doubled; call the entry",
    "'none:slip' of the package none 1.5 cannot be read, TypeError: optcore.register: 3 is of type int",
    "no rule 'slide'",
):
    assert words in text, (words, text)
assert "twice" not in text or "adam" in text
assert not hasattr(optcore, "slide")
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    assert "glide" in registry.rules()
words = [str(each.message) for each in told]
assert any("the package broken 1.5" in each and "missing from the list" in each for each in words)
"""
    python(tmp_path, "-c", code)
