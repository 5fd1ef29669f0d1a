"""The constructors of Keras' Muon and its relatives, which leave to Adam what is no matrix."""

from __future__ import annotations

import re
from typing import Any

import optcore
from optcore.adapters.keras.constructors import recipe
from optcore.adapters.native import Native
from optcore.rule import Rule

__all__ = ["AdaMuon", "AdaptiveMuon", "Muon"]


def _split(
    matrix: Rule, adam: dict[str, Any], adam_lr_ratio: float, learning_rate: Any, weight_decay: Any,
    adam_weight_decay: Any, exclude_layers: Any, exclude_embeddings: bool,
) -> Native:  # fmt: skip
    """A rule for matrices, and Keras' Adam for all other variables, embeddings and excluded layers."""
    other: Rule = optcore.adam(like="keras", **adam)
    if adam_lr_ratio != 1:
        other = optcore.chain(other, optcore.scale(factor=adam_lr_ratio))

    def of_leaf(path: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        excluded = exclude_embeddings and "embedding" in path.lower()
        excluded |= any(re.search(keyword, path) is not None for keyword in exclude_layers or ())
        matrix = len(shape) == 2 and not excluded
        decay = weight_decay if matrix else adam_weight_decay
        return {"use": "shape" if matrix else "other", "weight_decay": 0.0 if decay is None else decay}

    rule = optcore.matrices(matrix, other)
    names = {f"{matrix.name}.m": "momentum", "adam.m": "momentum", "v": "velocity"}
    return Native(recipe(rule, learning_rate, weight_decay), names, of_leaf)


def Muon(
    learning_rate: Any = 0.001, adam_beta_1: float = 0.9, adam_beta_2: float = 0.999, adam_weight_decay: Any = 0.004,
    epsilon: float = 1e-7, weight_decay: Any = 0.004, exclude_layers: Any = None, exclude_embeddings: bool = True,
    muon_a: float = 3.4445, muon_b: float = -4.7750, muon_c: float = 2.0315, adam_lr_ratio: float = 1,
    momentum: float = 0.95, ns_steps: int = 5, nesterov: bool = True, rms_rate: float | None = 0.2,
) -> Native:  # fmt: skip
    """Muon for matrices, AdamW for everything else, embeddings and excluded layers."""
    scale = dict(scale="none") if rms_rate is None else dict(scale="rms", rms=rms_rate)
    newton = dict(a=muon_a, b=muon_b, c=muon_c, iterations=ns_steps)
    matrix = optcore.muon(momentum="sum", beta=momentum, nesterov=nesterov, epsilon=1e-7, **newton, **scale)
    adam = dict(beta1=adam_beta_1, beta2=adam_beta_2, epsilon_hat=epsilon)
    places = adam_weight_decay, exclude_layers, exclude_embeddings
    return _split(matrix, adam, adam_lr_ratio, learning_rate, weight_decay, *places)


def AdaMuon(
    learning_rate: Any = 0.001, adam_beta_1: float = 0.9, adam_beta_2: float = 0.999, adam_weight_decay: Any = 0.004,
    epsilon: float = 1e-7, weight_decay: Any = 0.004, exclude_layers: Any = None, exclude_embeddings: bool = True,
    adam_lr_ratio: float = 1, beta_1: float = 0.95, beta_2: float = 0.95, ns_steps: int = 5, sign: bool = True,
    nesterov: bool = False, rms_rate: float = 0.2,
) -> Native:  # fmt: skip
    """AdaMuon for matrices, AdamW for everything else, in the words of Keras' Muon, which has no AdaMuon."""
    numbers = dict(beta1=beta_1, beta2=beta_2, iterations=ns_steps, rms=rms_rate, sign=sign, nesterov=nesterov)
    adam = dict(beta1=adam_beta_1, beta2=adam_beta_2, epsilon_hat=epsilon)
    places = adam_weight_decay, exclude_layers, exclude_embeddings
    return _split(optcore.adamuon(**numbers), adam, adam_lr_ratio, learning_rate, weight_decay, *places)


def AdaptiveMuon(
    learning_rate: Any = 0.001, adam_beta_1: float = 0.9, adam_beta_2: float = 0.999, adam_weight_decay: Any = 0.004,
    epsilon: float = 1e-7, weight_decay: Any = 0.004, exclude_layers: Any = None, exclude_embeddings: bool = True,
    adam_lr_ratio: float = 1, momentum: float = 0.95, ns_steps: int = 5, nesterov: bool = True,
) -> Native:  # fmt: skip
    """Muon times its dual norm for matrices, AdamW for everything else, in the words of Keras' Muon."""
    matrix = optcore.adaptive_muon(beta=momentum, iterations=ns_steps, nesterov=nesterov)
    adam = dict(beta1=adam_beta_1, beta2=adam_beta_2, epsilon_hat=epsilon)
    places = adam_weight_decay, exclude_layers, exclude_embeddings
    return _split(matrix, adam, adam_lr_ratio, learning_rate, weight_decay, *places)
