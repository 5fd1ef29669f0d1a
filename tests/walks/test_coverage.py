"""Every optimizer, schedule and clipping function of the libraries is here by its name, or is listed with a reason."""

from __future__ import annotations

import inspect

import optax
import optax.contrib
import pytest
import torch

from optcore import registry
from optcore.adapters import native
from optcore.adapters import optax as ours_optax

VALUES = "needs the loss's value, an evaluation at another point or a line search"
LATER = {
    "torch": {"LBFGS": VALUES},
    "optax": {
        "lbfgs": VALUES, "polyak_sgd": VALUES, "momo": VALUES, "momo_adam": VALUES, "sam": VALUES,
        "lookahead": "takes a transformation of optax; here the combinator of that name takes a rule",
        "mechanize": "takes a transformation of optax; here the combinator of that name takes a rule",
        "schedule_free": "takes a transformation of optax; here the combinator of that name takes a rule",
    },
    "keras": {"LossScaleOptimizer": "wraps an optimizer", "MultiOptimizer": "wraps optimizers"},
}  # fmt: skip
"""Optimizers of the libraries that are no update rule of a gradient."""


def optimizers_of_torch() -> set[str]:
    found = {n: x for n, x in vars(torch.optim).items() if inspect.isclass(x)}
    return {n for n, x in found.items() if issubclass(x, torch.optim.Optimizer) and x is not torch.optim.Optimizer}


CORE = """adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage lamb lars lbfgs lion nadam
nadamw noisy_sgd novograd optimistic_adam optimistic_adam_v2 optimistic_gradient_descent polyak_sgd radam rmsprop rprop
sgd sign_sgd signum sm3 yogi""".split()
CONTRIB = set(
    """acprop ademamix simplified_ademamix adopt cocob dadapt_adamw dog dowg dpsgd galore madgrad mechanize momo
momo_adam muon prodigy sam schedule_free schedule_free_adamw schedule_free_sgd sophia""".split()
)


def test_every_optimizer_of_torch_is_here() -> None:
    assert optimizers_of_torch() - set(LATER["torch"]) <= set(native.names("torch"))


def test_every_optimizer_of_optax_is_here() -> None:
    assert all(hasattr(optax, n) for n in CORE) and all(hasattr(optax.contrib, n) for n in CONTRIB)
    assert {*CORE, *CONTRIB} - set(LATER["optax"]) <= {*native.names("optax"), *dir(ours_optax)}


def test_every_optimizer_of_keras_is_here() -> None:
    known = """Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion Muon Nadam RMSprop SGD
    ScheduleFreeAdamW""".split()
    assert set(known) <= set(native.names("keras"))


@pytest.mark.parametrize("library", native.LIBRARIES)
def test_native_names_are_the_librarys_own(library: str) -> None:
    """Every name in a library's folder is a name that the library has."""
    own = set(native._table(library))
    theirs = {"torch": vars(torch.optim), "optax": {**vars(optax), **vars(optax.contrib)}}.get(library)
    assert theirs is None or own <= set(theirs)


def test_the_catalogue_holds_what_was_promised() -> None:
    names = {*registry.rules(), *registry.combinators()}
    promised = """powersign addsign tiger accumulated_momentum accumulated_adam amos sgdw exponentiated_gradient
    exponentiated_simplex exponentiated_pair exponentiated_signed exponentiated_step_size hypergradient lora muon
    shampoo soap sophia galore adam_mini adopt mars adan ademamix schedule_free schedule_free_sgd schedule_free_adamw
    schedule_free_radam prodigy dadapt_sgd dadapt_adam dadapt_adagrad dadapt_lion stable_adamw cautious centralize
    lookahead ranger adabound adamod adamp sgdp qhm qhadam pid aggmo apollo laprop came grokfast kron scion lomo adalomo
    bsam""".split()
    assert set(promised) <= names and len(names) >= 85


def translations() -> list[tuple[str, str, str]]:
    """Every constructor that a library offers with the numbers of another one that has it too."""
    return [
        (library, name, like)
        for library in native.LIBRARIES
        for name in native.names(library)
        for like in native.LIBRARIES
        if like != library
        for other, declared in native._table(like).items()
        if fold(other) == fold(name) and any(m.names == ("lr",) for m in declared.meanings.values())
    ]


def fold(name: str) -> str:
    return name.replace("_", "").lower()


@pytest.mark.parametrize("rho", [0.9, 0.5])
def test_a_word_that_both_libraries_spell_alike_is_a_word_of_the_translation(rho: float) -> None:
    """torch, optax and Keras all say ``rho`` in Adadelta."""
    for library, name in (("torch", "Adadelta"), ("optax", "adadelta"), ("keras", "Adadelta")):
        for like in {*native.LIBRARIES} - {library}:
            found = native.constructor(library, name, like)
            rate = {} if library == "torch" else {"learning_rate": 0.1}
            assert found.build(**rate, rho=rho).recipe.values["beta"] == rho
            assert not {"decay", "alpha"} & set(found.defaults)


@pytest.mark.parametrize(("library", "name", "like"), translations())
def test_a_constructor_keeps_its_own_words_with_the_numbers_of_another_library(
    library: str, name: str, like: str
) -> None:
    """A number has the word that this library's constructor has for it, and no number has two words."""
    found, own = native.constructor(library, name, like), native.constructor(library, name)
    mine = {m.names: word for word, m in own.meanings.items() if m.of == "law" and m.factor == 1.0}
    for word, meaning in found.meanings.items():
        if meaning.of == "law" and meaning.factor == 1.0 and meaning.names in mine:
            assert word == mine[meaning.names]
    numbers = [n for m in found.meanings.values() if m.of == "law" for n in m.names]
    assert len(numbers) == len(set(numbers))
