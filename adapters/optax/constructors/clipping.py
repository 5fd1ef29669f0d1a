"""The transformations of gradients on their way to a rule: clipping, normalization, repair."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.native.numbers import first, times
from optcore.adapters.optax.constructors import recipe, seed_of
from optcore.rule import Rule

__all__ = [
    "adaptive_grad_clip", "add_noise", "centralize", "clip", "clip_by_block_rms", "clip_by_global_norm", "normalize",
    "normalize_by_update_norm", "zero_nans",
]  # fmt: skip


def _link(rule: Rule, lr: Any = 1.0, **options: Any) -> Native:
    return Native(recipe(rule, lr=lr, **options), link=True)


def clip(max_delta: Any) -> Native:
    """Each element cut to [-max_delta, max_delta]."""
    return _link(optcore.clip_by_value(limit=max_delta))


def clip_by_block_rms(threshold: Any) -> Native:
    """Each leaf's root mean square held at the threshold."""
    return _link(optcore.clip_by_block_rms(threshold=threshold))


def clip_by_global_norm(max_norm: Any) -> Native:
    """The norm over all leaves held at max_norm."""
    return _link(optcore.clip_by_global_norm(max_norm=max_norm, like="optax"))


def adaptive_grad_clip(clipping: Any, eps: Any = 1e-3, axis: Any | None = None) -> Native:
    """The norm of each unit held at clipping times its parameter's."""
    rule = optcore.adaptive_gradient_clip(clipping=clipping, epsilon=eps, like="optax")
    given = (axis,) if isinstance(axis, int) else axis
    if given is not None and not (isinstance(given, tuple | list) and all(isinstance(i, int) for i in given)):
        raise TypeError(f"optcore.adapters.optax.adaptive_grad_clip: axis={axis!r} is no axis; give one or a tuple")

    def of_leaf(path: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        del dtype
        if given is not None:
            return _unit(path, len(shape), tuple(given))
        return {"unit": "leaf"} if sum(n > 1 for n in shape) < 2 else {}  # what has one long axis is a vector

    return Native(recipe(rule, lr=1.0), of_leaf=of_leaf, link=True)


def _unit(path: str, ndim: int, axes: tuple[int, ...]) -> dict[str, Any]:
    """The unit whose norm is over these axes."""
    who = f"optcore.adapters.optax.adaptive_grad_clip: axis={axes!r}"
    if any(not -ndim <= axis < ndim for axis in axes):
        raise ValueError(f"{who} is out of range for {path!r}, which has {ndim} axes")
    over = tuple(sorted({axis % ndim for axis in axes}))
    known: dict[tuple[int, ...], dict[str, Any]] = {
        tuple(i for i in range(ndim) if i != axis % ndim): {"axis": axis} for axis in (0, 1, -1, -2) if ndim > 1
    }
    known[tuple(range(ndim))] = {"unit": "leaf"}
    if ndim == 3:
        known |= {(0,): {"unit": "last", "heads": True}, (1,): {"unit": "first", "heads": True}}
    if over not in known:
        raise NotImplementedError(f"{who} of {path!r}, which has {ndim}; give all but one of the first or last two")
    return known[over]


def zero_nans() -> Native:
    """Zero for each element that is NaN."""
    return _link(optcore.zero_nans)


def normalize() -> Native:
    """The gradient over the norm of all leaves; a zero gradient stays zero."""
    return _link(optcore.normalize_by_global_norm)


def normalize_by_update_norm(scale_factor: Any = 1.0, eps: Any = 1e-6) -> Native:
    """The gradient over the norm of all leaves, times scale_factor; a negative one descends."""
    rule = optcore.normalize_by_global_norm(epsilon=eps)
    if isinstance(first(scale_factor), int | float) and first(scale_factor) < 0:
        return Native(recipe(rule, lr=times(-1.0, scale_factor)))
    return _link(rule, lr=scale_factor)


def centralize() -> Native:
    """The gradient less its mean over all axes but the first."""
    return _link(optcore.centralize(like="optax"))


def add_noise(eta: Any, gamma: Any, key: Any = None, *, seed: int | None = None) -> Native:
    """Normal noise of variance ``eta / t^gamma``; a whole number for ``key`` seeds it, with other draws than optax'."""
    return _link(optcore.noisy_sgd(eta=eta, gamma=gamma), seed=seed_of("add_noise", key, seed))
