"""The transformations of gradients on their way to a rule: clipping, normalization, repair."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.native.numbers import first, times
from optcore.adapters.optax.constructors import declare, seed_of
from optcore.recipe import Recipe

clip = declare("max_delta: limit").of(optcore.clip_by_value, "Each element cut to [-max_delta, max_delta].", link=True)

clip_by_block_rms = declare("threshold").of(
    optcore.clip_by_block_rms, "Each leaf's root mean square held at the threshold.", link=True
)

clip_by_global_norm = declare("max_norm").of(
    optcore.clip_by_global_norm(like="optax"), "The norm over all leaves held at max_norm.", link=True
)


@declare("clipping, eps=1e-3, axis=None").law()
def adaptive_grad_clip(axis: Any, **numbers: Any) -> Native:
    """The norm of each unit held at clipping times its parameter's."""
    rule = optcore.adaptive_gradient_clip(like="optax", **numbers)
    given = (axis,) if isinstance(axis, int) else axis
    if given is not None and not (isinstance(given, tuple | list) and all(isinstance(i, int) for i in given)):
        raise TypeError(f"optcore.adapters.optax.adaptive_grad_clip: axis={axis!r} is no axis; give one or a tuple")

    def of_leaf(path: str, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
        del dtype
        if given is not None:
            return _unit(path, len(shape), tuple(given))
        return {"unit": "leaf"} if sum(n > 1 for n in shape) < 2 else {}  # what has one long axis is a vector

    return Native(Recipe(rule, lr=1.0), of_leaf=of_leaf, link=True)


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


zero_nans = declare("").of(optcore.zero_nans, "Zero for each element that is NaN.", link=True)

normalize = declare("").of(
    optcore.normalize_by_global_norm, "The gradient over the norm of all leaves; a zero gradient stays zero.", link=True
)


@declare("scale_factor=1.0, eps=1e-6").law()
def normalize_by_update_norm(scale_factor: Any, **numbers: Any) -> Native:
    """The gradient over the norm of all leaves, times scale_factor; a negative one descends."""
    rule = optcore.normalize_by_global_norm(**numbers)
    if isinstance(first(scale_factor), int | float) and first(scale_factor) < 0:
        return Native(Recipe(rule, lr=times(-1.0, scale_factor)))
    return Native(Recipe(rule, lr=scale_factor), link=True)


centralize = declare("").of(
    optcore.centralize(like="optax"), "The gradient less its mean over all axes but the first.", link=True
)


@declare("eta, gamma, key=None, *, seed=None").law()
def add_noise(key: Any, seed: int | None, **numbers: Any) -> Native:
    """Normal noise of variance ``eta / t^gamma``; a whole number for ``key`` seeds it, with other draws than optax'."""
    return Native(Recipe(optcore.noisy_sgd(**numbers), lr=1.0, seed=seed_of("add_noise", key, seed)), link=True)
