"""A leaf under a recipe: the numbers that hold for it alone, and the dtypes in which its arrays are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optcore.backends.base import COMPUTE, Backend
from optcore.backends.storage import storage
from optcore.backends.values import laid_out, numbers
from optcore.leaf import overlaid
from optcore.recipe import OF_LEAF, Recipe
from optcore.rule import EMPTY, Rule
from optcore.typing import Layout

__all__ = ["Marks", "check_state", "marks", "numbers_at", "wide"]


class Marks(NamedTuple):
    """A recipe's settings for one leaf, found by its path; hashable, so that leaves with equal ones share numbers."""

    own: tuple[tuple[str, Any], ...]  #: hyper-parameters of this leaf, in place of those of the whole tree
    decays: bool  #: True if the leaf has weight decay
    layout: Layout  #: the axis of a matrix that is the output


def marks(recipe: Recipe, path: str, native: Layout) -> Marks:
    """Return a recipe's settings for the leaf at a path, in a framework whose own layout is ``native``."""
    own = tuple(recipe.own(path).items()) if recipe.leaves or recipe.rule.names else ()
    return Marks(own, recipe.decays(path), recipe.layout_of(path, native))


def numbers_at(
    rule: Rule, values: Mapping[str, Any], mark: Marks, backend: Backend, step: Any, extra: Mapping[str, Any] = EMPTY
) -> dict[str, Any]:
    """Return the hyper-parameters of one leaf at a step; every way of running a recipe takes them from here.

    ``values`` holds those of the whole tree at that step, with the learning rate that an adapter has put there.
    ``extra`` holds those that a library's constructor gives this leaf; the recipe's own settings in ``mark`` win over
    them. Raises ValueError if a schedule has left the bounds of its hyper-parameter.
    """
    for own in (extra, dict(mark.own)):
        if own:
            values = overlaid(values, numbers(own, backend, step, {**rule.hypers, **OF_LEAF}))
    if not mark.decays:
        values = overlaid(values, {"weight_decay": 0.0})
    return laid_out(values, mark.layout)


def wide(dtype: str) -> str:
    """Return the dtype in which sums over steps (averages, gathered gradients) are stored for a leaf of this dtype.

    It is float32 for float16 and bfloat16: a summand below half the spacing of the sum's numbers would be lost.
    """
    return dtype if dtype.startswith("complex") else COMPUTE[dtype]


def check_state(who: str, recipe: Recipe, params: Sequence[Any], paths: Sequence[str], state: Any) -> None:
    """Raise for a state that was made for another recipe or for other parameters, before anything is written.

    It is a TypeError for an object that is no state or holds arrays of another library, and a ValueError for a wrong
    number of leaves or a wrong shape; the message names the place.
    """
    words = "give the state that init made for these parameters"
    if not hasattr(state, "_fields") or not {"leaves", "gathered", "average", "shared", "counts"} <= set(state._fields):
        raise TypeError(f"{who}: the state is of type {type(state).__name__}; {words}")
    shared = sum(f.shared for f in recipe.rule.fields)
    sizes = {
        "leaves": len(params),
        "counts": len(params),
        "gathered": len(params) if recipe.gathers else 0,
        "average": len(params) if recipe.average is not None else 0,
        "shared": shared if params else len(state.shared),
    }
    for name, size in sizes.items():
        if len(getattr(state, name)) != size:
            found = len(getattr(state, name))
            what = f"{found} leaves" if name == "leaves" else f"{found} entries in {name} for {size}"
            raise ValueError(f"{who}: the state has {what}, the parameters {len(params)}; {words}")
    for name in ("gathered", "average"):
        for p, path, x in zip(params, paths, getattr(state, name), strict=False):
            if x is None and name == "gathered":
                continue
            if p is not None and (not hasattr(x, "shape") or tuple(x.shape) != tuple(p.shape)):
                shape = tuple(x.shape) if hasattr(x, "shape") else type(x).__name__
                raise ValueError(
                    f"{who}: the state's {name} of {path!r} has shape {shape}, the parameter {tuple(p.shape)}; {words}"
                )
    rule, plain = recipe.rule, storage(recipe.state_dtype).plain
    for p, path, leaf in zip(params, paths, state.leaves, strict=True):
        if p is None:
            continue
        for f, x in zip(rule.fields, rule.unpack(leaf), strict=True):  # unpack raises for the state of another rule
            if plain and rule.kind == "elementwise" and x is not None and x.ndim and tuple(x.shape) != tuple(p.shape):
                raise ValueError(
                    f"{who}: the state's {f.name} has shape {tuple(x.shape)}, its parameter {path!r} "
                    f"{tuple(p.shape)}; {words}"
                )
