"""Trees of arrays: the containers that optree knows, and JAX's node types if the caller has imported JAX."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import optree

from optcore.backends.choice import of

__all__ = ["flatten", "flatten_like", "unnamed"]

Rebuild = Callable[[Sequence[Any]], Any]


def _is_array(x: Any) -> bool:
    return hasattr(x, "shape") and hasattr(x, "dtype")


def flatten(tree: Any) -> tuple[list[Any], list[str], Rebuild]:
    """Return the leaves of a tree, their paths such as ``"encoder/0/weight"``, and the function that rebuilds the tree.

    None counts as a leaf. Raises TypeError for a leaf that is no known array, with its path and type.
    """
    paths, leaves, spec = optree.tree_flatten_with_path(tree, none_is_leaf=True)
    names = ["/".join(map(str, path)) for path in paths]

    rebuild: Rebuild = partial(optree.tree_unflatten, spec)

    if any(x is not None and not _is_array(x) for x in leaves) and "jax" in sys.modules:
        leaves, names, rebuild = _jax(tree)
    for name, x in zip(names, leaves, strict=True):
        if x is not None and not _is_array(x):
            raise TypeError(
                f"optcore: the leaf at {name or 'the root'!r} is of type {type(x).__name__}; "
                "every leaf must be an array of NumPy, PyTorch, JAX or CuPy"
            )
        if x is not None:
            of(x)
    return leaves, names, rebuild


def unnamed(tree: Any) -> tuple[list[Any], Rebuild] | None:
    """Return the leaves of a tree of one library's arrays and the function that rebuilds it, without paths.

    It returns None for any other tree. It costs a tenth of :func:`flatten`, which serves all trees and names leaves in
    errors.
    """
    leaves, spec = optree.tree_flatten(tree, none_is_leaf=True)
    first = {type(x): x for x in leaves if x is not None}
    if not all(map(_is_array, first.values())) or len({of(x) for x in first.values()}) > 1:
        return None
    return leaves, partial(optree.tree_unflatten, spec)


def _jax(tree: Any) -> tuple[list[Any], list[str], Rebuild]:
    """Flatten a tree by JAX, which knows nodes that optree does not: flax, nnx and equinox modules."""
    jax = sys.modules["jax"]
    pairs, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is None)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in pairs]
    return [leaf for _, leaf in pairs], names, treedef.unflatten


def flatten_like(who: str, tree: Any, names: Sequence[str]) -> list[Any]:
    """Return the leaves of a tree that must have the given paths; raise ValueError naming the paths that differ."""
    leaves, found, _ = flatten(tree)
    if list(names) != found:
        extra, lacking = sorted(set(found) - set(names)), sorted(set(names) - set(found))
        what = [f"{name!r} is missing" for name in lacking[:1]] + [f"{name!r} is unknown" for name in extra[:1]]
        raise ValueError(
            f"{who}: {len(found)} gradients for {len(names)} parameters: {' and '.join(what) or 'another order'}; "
            "give the gradients as a tree of the parameters' structure, with None where there is none"
        )
    return leaves
