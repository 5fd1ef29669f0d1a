"""The constructors of Keras' Muon and its relatives, which leave to Adam what is no matrix."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import optcore
from optcore.adapters.keras.constructors import declare
from optcore.adapters.native import Native
from optcore.recipe import Recipe
from optcore.rule import Rule

ADAM = """learning_rate=0.001, adam_beta_1: adam.beta1 = 0.9, adam_beta_2: adam.beta2 = 0.999, adam_weight_decay=0.004,
    epsilon: adam.epsilon_hat = 1e-7, weight_decay=0.004, exclude_layers=None, exclude_embeddings=True"""
"""The first parameters of all of them: Adam's numbers, and the variables that are left to it."""


def _split(matrix: Callable[..., Rule]) -> Callable[..., Native]:
    """A law for matrices, and Keras' Adam for all other variables, embeddings and excluded layers."""

    def law(
        adam_beta_1: Any, adam_beta_2: Any, adam_weight_decay: Any, epsilon: Any, weight_decay: Any,
        exclude_layers: Any, exclude_embeddings: bool, adam_lr_ratio: Any, **numbers: Any,
    ) -> Native:  # fmt: skip
        rule = matrix(**numbers)
        other: Rule = optcore.adam(like="keras", beta1=adam_beta_1, beta2=adam_beta_2, epsilon_hat=epsilon)
        if adam_lr_ratio != 1:
            other = optcore.chain(other, optcore.scale(factor=adam_lr_ratio))

        def of_leaf(path: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
            excluded = exclude_embeddings and "embedding" in path.lower()
            excluded |= any(re.search(keyword, path) is not None for keyword in exclude_layers or ())
            matrix = len(shape) == 2 and not excluded
            decay = weight_decay if matrix else adam_weight_decay
            return {"use": "shape" if matrix else "other", "weight_decay": 0.0 if decay is None else decay}

        names = {f"{rule.name}.m": "momentum", "adam.m": "momentum", "v": "velocity"}
        return Native(Recipe(optcore.matrices(rule, other)), names, of_leaf)

    return law


def _muon(rms: Any, **numbers: Any) -> Rule:
    scale = dict(scale="none") if rms is None else dict(scale="rms", rms=rms)
    return optcore.muon(momentum="sum", epsilon=1e-7, **numbers, **scale)


Muon = declare(f"""{ADAM}, muon_a: a = 3.4445, muon_b: b = -4.7750, muon_c: c = 2.0315, adam_lr_ratio=1,
    momentum: beta = 0.95, ns_steps: iterations = 5, nesterov=True, rms_rate: rms = 0.2""").of(
    _split(_muon), "Muon for matrices, AdamW for everything else, embeddings and excluded layers."
)

AdaMuon = declare(f"""{ADAM}, adam_lr_ratio=1, beta_1=0.95, beta_2=0.95, ns_steps: iterations = 5, sign=True,
    nesterov=False, rms_rate: rms = 0.2""").of(
    _split(optcore.adamuon),
    "AdaMuon for matrices, AdamW for everything else, in the words of Keras' Muon, which has no AdaMuon.",
)

AdaptiveMuon = declare(f"{ADAM}, adam_lr_ratio=1, momentum: beta = 0.95, ns_steps: iterations = 5, nesterov=True").of(
    _split(optcore.adaptive_muon),
    "Muon times its dual norm for matrices, AdamW for everything else, in the words of Keras' Muon.",
)
