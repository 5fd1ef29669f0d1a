"""The way back from a checkpoint: arrays of a tree without types, put into a state by their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optcore.backends.base import missing

try:
    import jax
    import jax.numpy as jnp
    from jax.tree_util import GetAttrKey
except ImportError:
    raise missing("jax and optax", "jax") from None

__all__ = ["restore"]

WHO = "optcore.adapters.optax.restore"
SHOWN = 3
"""The most faults that one error lists."""


def restore(template: Any, tree: Any) -> Any:
    """The state of ``template``'s structure with the arrays of a tree that a checkpoint gave back.

    Checkpoints return tuples as lists or as dictionaries of "0", "1", ..., and NamedTuples and modules as dictionaries
    in another order. So an array is found by its path, never by its place: the key, attribute or index of every node
    from the root to it, compared as text. The fields of a NamedTuple may also be a list of the same length. What holds
    no array (None, an empty tuple) may be absent. Arrays of NumPy become arrays of JAX, on the devices of the template.

    Parameters
    ----------
    template
        A state as ``init`` makes it, also of ``jax.eval_shape(tx.init, params)``.
    tree
        What Orbax, flax.serialization, pickle or NumPy gave back.

    Raises
    ------
    ValueError
        For every array that is missing, unknown or of another shape or dtype, by its path.

    """
    faults: list[str] = []
    found = _match((), template, tree, faults)
    if faults:
        rest = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise ValueError(
            f"{WHO}: {'; '.join(faults[:SHOWN])}{rest}. Give the tree of a state that was made by the same "
            "transformation for the same parameters"
        )
    return jax.tree.unflatten(jax.tree.structure(template), found)


def _match(path: tuple[str, ...], template: Any, tree: Any, faults: list[str]) -> list[Any]:
    """The arrays of ``tree`` in the order of the template's leaves; what does not fit is added to ``faults``."""
    wanted, given = _children(template), _children(tree)
    if wanted is None:
        if given is None:
            return [_taken(path, template, tree, faults)]
        if not given:
            faults.append(f"{_text(path)} is missing")
            return []
        names = ", ".join(map(repr, sorted(_names(given)))) or "none"
        faults.append(f"{_text(path)} must be an array, not a {type(tree).__name__} with the children {names}")
        return []
    if not wanted and given is None:
        faults.append(f"{_text(path)} is an array in the tree, and the state holds none there")
        return []
    if given is None:
        if len(wanted) == 1 and wanted[0][0] == GetAttrKey("value"):  # a variable of flax, saved as its value
            return _match((*path, "value"), wanted[0][1], tree, faults)
        faults.append(f"{_text(path)} must be a {type(template).__name__}, not an array")
        return []
    names, theirs = _names(wanted), _names(given)
    if hasattr(template, "_fields") and type(tree) in (list, tuple) and len(names) == len(theirs):
        theirs = names  # a NamedTuple is a tuple, whose order its type fixes
    for twice in sorted({name for keys in (names, theirs) for name in keys if keys.count(name) > 1}):
        faults.append(f"{_text(path)} has two keys that read {twice!r}, which a checkpoint doesn't tell apart")
    children = dict(zip(theirs, (child for _, child in given), strict=True))
    found: list[Any] = []
    for name, (_, child) in zip(names, wanted, strict=True):
        if name in children:
            found += _match((*path, name), child, children.pop(name), faults)
        else:
            faults.extend(f"{_text(at)} is missing" for at in _arrays((*path, name), child))
    for name, child in children.items():
        faults.extend(f"{_text(at)} is unknown" for at in _arrays((*path, name), child))
    return found


def _taken(path: tuple[str, ...], template: Any, x: Any, faults: list[str]) -> Any:
    """An array of the checkpoint, after a look at its shape and dtype, where the template's is."""
    want = _dtype(template)
    if isinstance(x, bool | int | float) and jnp.result_type(x).kind == want.kind:
        x = jnp.asarray(x, want)  # some formats keep a count as a number
    if not hasattr(x, "shape"):
        faults.append(f"{_text(path)} must be an array of {want}, not {x!r}")
    elif tuple(x.shape) != jnp.shape(template):
        faults.append(f"{_text(path)} has shape {tuple(x.shape)} in the tree, and {jnp.shape(template)} in the state")
    elif x.dtype != want:
        faults.append(f"{_text(path)} is of {x.dtype} in the tree, and of {want} in the state")
    elif not isinstance(x, jax.Array):
        where = getattr(template, "sharding", None)
        return jax.device_put(x, where) if where is not None and len(where.device_set) > 1 else jnp.asarray(x)
    return x


def _dtype(x: Any) -> Any:
    """The dtype of an array, and the one JAX gives to a Python number."""
    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x)


def _children(node: Any) -> list[tuple[Any, Any]] | None:
    """The keys and children of one node, or None where it is a leaf."""
    pairs, _ = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)
    if len(pairs) == 1 and not pairs[0][0]:
        return None
    return [(path[0], child) for path, child in pairs]


def _names(children: Sequence[tuple[Any, Any]]) -> list[str]:
    return [jax.tree_util.keystr((key,), simple=True) for key, _ in children]


def _arrays(path: tuple[str, ...], tree: Any) -> list[tuple[str, ...]]:
    """The paths of all leaves below a node."""
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(*path, *(jax.tree_util.keystr((key,), simple=True) for key in keys)) for keys, _ in pairs]


def _text(path: tuple[str, ...]) -> str:
    return repr("/".join(path)) if path else "the root"
