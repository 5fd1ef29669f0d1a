"""A leaf of a recipe: the numbers that it has for itself, and the dtype in which each of its arrays is kept."""

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
    """The marks of a recipe on one leaf, by its path; hashable, so that leaves with equal marks share their numbers."""

    own: tuple[tuple[str, Any], ...]  #: numbers, switches and schedules in place of the whole's
    decays: bool
    layout: Layout


def marks(recipe: Recipe, path: str, native: Layout) -> Marks:
    """The marks of the leaf at a path, where the framework's own layout is ``native``."""
    own = tuple(recipe.own(path).items()) if recipe.leaves or recipe.rule.names else ()
    return Marks(own, recipe.decays(path), recipe.layout_of(path, native))


def numbers_at(
    rule: Rule, values: Mapping[str, Any], mark: Marks, backend: Backend, step: Any, extra: Mapping[str, Any] = EMPTY
) -> dict[str, Any]:
    """The numbers of one leaf at a step, which every route takes from here.

    ``values`` are the whole's at that step, with an adapter's rate in them; ``extra`` are what a library's constructor
    gives the leaf, over which the recipe's marks go. Raises ValueError where a schedule has left its bounds.
    """
    for own in (extra, dict(mark.own)):
        if own:
            values = overlaid(values, numbers(own, backend, step, {**rule.hypers, **OF_LEAF}))
    if not mark.decays:
        values = overlaid(values, {"weight_decay": 0.0})
    return laid_out(values, mark.layout)


def wide(dtype: str) -> str:
    """The dtype in which sums over steps are kept for a leaf: what is below half a spacing of the sum is lost."""
    return dtype if dtype.startswith("complex") else COMPUTE[dtype]


def check_state(who: str, recipe: Recipe, params: Sequence[Any], paths: Sequence[str], state: Any) -> None:
    """Refuse a state that was made for another recipe or for other parameters, before anything is written.

    Raises TypeError for what is no state or holds arrays of another library, ValueError for other numbers of leaves
    and other shapes; each says where.
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
        for f, x in zip(rule.fields, rule.unpack(leaf), strict=True):  # which names a state of another rule
            if plain and rule.kind == "elementwise" and x is not None and x.ndim and tuple(x.shape) != tuple(p.shape):
                raise ValueError(
                    f"{who}: the state's {f.name} has shape {tuple(x.shape)}, its parameter {path!r} "
                    f"{tuple(p.shape)}; {words}"
                )
