"""The driver: runs a rule on all leaves in lock-step and answers what the laws ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from optcore import leaf as template
from optcore.backends import fused, of
from optcore.backends.base import COMPUTE, Backend
from optcore.backends.lockstep import lockstep
from optcore.backends.rounding import keys, normal, stochastic
from optcore.backends.shards import asks_totals, check_gradient, over_all, refuse_piece
from optcore.effects import Due, Max
from optcore.hyper import REQUIRED, Hyper
from optcore.rule import Law, Rule
from optcore.scalars import is_host
from optcore.schedule import Schedule, resolve

if TYPE_CHECKING:
    from optcore.backends.shards import Shards

__all__ = ["Leaf", "Moved", "advance", "check", "fits", "into", "laid_out", "numbers", "start", "written"]


@dataclass(slots=True)
class Leaf:
    """One array to be moved: its gradient, state (shared fields None), own counter and numbers."""

    p: Any
    g: Any
    state: Any
    t: Any
    values: Mapping[str, Any]
    chance: tuple[Any, Any] | None = None  #: the keys of stochastic rounding, None to round to nearest


class Moved(NamedTuple):
    """Where a step brought a leaf: the new parameter, and the displacement that leads there."""

    p: Any
    step: Any


def check(who: str, params: Sequence[Any], grads: Sequence[Any], paths: Sequence[str]) -> Backend:
    """Check parameters against gradients before anything moves, and return their backend.

    Raises TypeError for integer parameters, mismatched dtypes and arrays of two libraries, ValueError
    for mismatched shapes; each names the leaf.
    """
    first: Backend | None = None
    for p, g, path in zip(params, grads, paths, strict=True):
        backend = of(p)
        first = first or backend
        for x, what in ((p, "parameter"), (g, "gradient")):
            if x is not None and of(x) is not first:
                raise TypeError(
                    f"{who}: the {what} {path!r} is an array of {of(x).package}, others are of {first.package}; "
                    "give arrays of one library"
                )
        kind = backend.dtype(p)
        if kind not in COMPUTE:
            raise TypeError(f"{who}: parameter {path!r} is of dtype {kind}; only floating-point arrays can be trained")
        if g is not None:
            check_gradient(who, backend, p, g, path)
        if g is not None and backend.dtype(g) != kind:
            raise TypeError(
                f"{who}: the gradient of {path!r} is of dtype {backend.dtype(g)}, the parameter of {kind}; cast one"
            )
        if g is not None and tuple(g.shape) != tuple(p.shape):
            raise ValueError(
                f"{who}: the gradient of {path!r} has shape {tuple(g.shape)}, the parameter {tuple(p.shape)}; "
                "they must be equal"
            )
    if first is None:
        raise ValueError(f"{who}: there is no parameter; give at least one array")
    return first


def laid_out(values: Mapping[str, Any], layout: str) -> dict[str, Any]:
    """The values with this layout for every rule that tells axes apart and was not given one."""
    return {k: layout if v is None and k.rpartition(".")[2] == "layout" else v for k, v in values.items()}


def numbers(
    values: Mapping[str, Any], backend: Backend, step: Any, hypers: Mapping[str, Hyper] | None = None
) -> dict[str, Any]:
    """The hyper-parameters at a step of the driver, schedules evaluated and, with ``hypers``, checked again."""
    e = step if is_host(step) else backend.floating(step)
    found = {name: resolve(value, backend.xp, e) for name, value in values.items()}
    for name, value in values.items():
        if hypers and isinstance(value, Schedule) and is_host(found[name]):
            hypers[name].check(f"{value.name} at step {step}", found[name])
    return found


def fits(rule: Rule, backend: Backend, p: Any, path: str) -> None:
    """Raise for a leaf that the rule does not take: ValueError for one that is cut from another, or has another number
    of axes, TypeError for one that is a sum yet to be taken.

    A rule with shared fields asks all its leaves for totals, so that it cannot be one of two.
    """
    backend.shards(p)
    cut = backend.piece(p)
    if cut:
        refuse_piece(rule, cut, path)
    if rule.ndim is not None and p.ndim != rule.ndim:
        other = f"another rule, as in optcore.matrices({written(rule)}, optcore.adam)"
        if any(f.shared for f in rule.fields):
            other = "an optimizer of their own"
        raise ValueError(
            f"{rule.name}: the parameter {path!r} has shape {tuple(p.shape)}; the rule takes arrays of {rule.ndim} "
            f"axes. Give other leaves to {other}"
        )


def written(rule: Rule) -> str:
    """The call that makes a rule, as ``optcore.lora(optcore.sgd, optcore.adam)``, with what has no default."""
    parts = [written(part) for part in getattr(rule, "parts", ())]
    own = getattr(rule, "law", None) or getattr(getattr(rule, "combinator", None), "law", None)
    ours = own is None or own.fn.__module__.partition(".")[0] == "optcore"
    bound = getattr(rule, "bound", {})
    parts += [f"{k}={v!r}" for k, v in bound.items() if rule.hypers[k].default is REQUIRED]
    return f"{'optcore.' if ours else ''}{rule.name}" + (f"({', '.join(parts)})" if parts else "")


def into(rule: Rule, backend: Backend, x: Any, dtype: str) -> Any:
    """An array as its law sees it: real, in the dtype of computation."""
    if not dtype.startswith("complex"):
        return backend.cast(x, COMPUTE[dtype])
    if rule.axes:
        raise TypeError(f"{rule.name}: a parameter is complex; rules of rows, columns and matrices take real ones")
    return backend.pair(x)


def _outward(backend: Backend, arrays: Sequence[Any], p: Any, dtype: str) -> list[Any]:
    """State as it is kept: complex where the parameter is and the array has a number for each of its parts."""
    if not dtype.startswith("complex"):
        return list(arrays)
    pair = (*p.shape, 2)
    return [x if x is None or tuple(x.shape) != pair else backend.unpair(x, dtype) for x in arrays]


def _inward(backend: Backend, x: Any, dtype: str) -> Any:
    """An array of a state as its law sees it."""
    if x is None:
        return None
    return backend.pair(x) if backend.dtype(x).startswith("complex") else backend.cast(x, COMPUTE[dtype])


def start(rule: Rule, backend: Backend, p: Any, values: Mapping[str, Any], *, seed: int = 0, path: str = "") -> Any:
    """The state of one leaf before its first step; what is drawn hangs on the seed and the leaf's path."""
    fits(rule, backend, p, path)
    dtype = backend.dtype(p)
    if dtype not in COMPUTE:
        raise TypeError(f"{rule.name}: the parameter is of dtype {dtype}; only floating-point arrays can be trained")
    shards, by_parts = backend.shards(p), rule.kind == "elementwise"
    here = p if shards is None else shards.given(p, by_parts)
    seen = into(rule, backend, here, dtype)
    state = rule.start(backend.xp, seen, numbers(values, backend, 0))
    arrays: list[Any] = []
    for f, x in zip(rule.fields, rule.unpack(state), strict=True):
        if f.drawn and x is not None:
            x = x * normal(backend, x, backend.dtype(x), keys(backend, seed, f"{path}/{f.name}", 0))
        # each its own: one that stood twice could be neither donated nor written in place
        twice = x is not None and (x is seen or any(x is y for y in arrays))
        arrays.append(backend.copy(x) if twice else x)
    arrays = _outward(backend, arrays, here, dtype)
    if shards is not None:
        arrays = [x if f.shared else shards.kept(x, by_parts) for f, x in zip(rule.fields, arrays, strict=True)]
    return rule.pack(arrays)


Done: TypeAlias = list[tuple[Moved, list[Any]]]


def advance(
    rule: Rule,
    backend: Backend,
    leaves: Sequence[Leaf],
    shared: Sequence[Any],
    *,
    fuse: bool = False,
    donate: bool = False,
) -> tuple[Done, list[Any]]:
    """Move every leaf by one step: where each came to with its state's arrays, and the new shared fields.

    With ``fuse`` what can be is run in one pass over memory, which forms no displacement; with ``donate`` that
    pass writes into the parameters and states given. What cannot be fused is run by :func:`eager`.
    """
    shards = [backend.shards(leaf.p) for leaf in leaves]
    if any(shards) and rule.kind == "elementwise" and not (asks_totals(rule) or any(leaf.chance for leaf in leaves)):
        parts_here = [_here(rule, *pair, True) for pair in zip(leaves, shards, strict=True)]
        how = {"fuse": fuse, "donate": donate}
        done, new = advance(rule, backend, parts_here, shared, **how)
        return [_back(rule, *each) for each in zip(leaves, parts_here, shards, done, strict=True)], new
    ready = None
    if fuse or backend.fuses:
        ready = fused.prepare(rule, backend, leaves, shared, donate=donate)
    parts = (fuse or backend.fuses) and fused.usable()
    if ready is None:
        return eager(rule, backend, leaves, shared, parts=parts)
    taken = ready.taken
    rest = [i for i in range(len(leaves)) if i not in taken]
    others, common = (
        eager(rule, backend, [leaves[i] for i in rest], shared, parts=parts) if rest else ([], list(shared))
    )
    results, new = ready.run(backend.threads())
    found = {i: (Moved(p, None), arrays) for i, (p, arrays) in results.items()}
    found.update(zip(rest, others, strict=True))
    return [found[i] for i in range(len(leaves))], new or common


def eager(
    rule: Rule, backend: Backend, leaves: Sequence[Leaf], shared: Sequence[Any], *, parts: bool = False
) -> tuple[Done, list[Any]]:
    """:func:`advance`, operation by operation in the library's own namespace: the reference.

    With ``parts`` a law of rows, columns and matrices has what it does element by element run in passes.
    """
    laws = [_moved(rule, backend, leaf, shared, parts) for leaf in leaves]
    done: Done = solve(laws, backend)
    for leaf, (moved, arrays) in zip(leaves, done, strict=True):
        _check_shapes(rule, leaf, moved.p, arrays)
    if done:
        widest = next((i for i, leaf in enumerate(leaves) if COMPUTE[backend.dtype(leaf.p)] == "float64"), 0)
        new = [x for f, x in zip(rule.fields, done[widest][1], strict=True) if f.shared]
        shared = [backend.scalar(x, old) for x, old in zip(new, shared, strict=True)]
    return done, list(shared)


def _moved(rule: Rule, backend: Backend, leaf: Leaf, shared: Sequence[Any], parts: bool) -> Law:
    """The step of one leaf, which gives where it came to with its state's arrays.

    A leaf that is spread is gathered when its turn comes, so that a law without totals has one whole leaf at a time.
    """
    dtype, shards, by_parts = backend.dtype(leaf.p), backend.shards(leaf.p), rule.kind == "elementwise"
    here = _here(rule, leaf, shards, by_parts)
    p, g = into(rule, backend, here.p, dtype), into(rule, backend, here.g, dtype)
    common = iter(shared)
    state = [
        backend.scalar(next(common), p) if f.shared else _inward(backend, x, dtype)
        for f, x in zip(rule.fields, rule.unpack(here.state), strict=True)
    ]
    values = {name: v if is_static(v) else backend.scalar(v, p) for name, v in leaf.values.items()}
    t = leaf.t if is_host(leaf.t) else backend.scalar(leaf.t, p)
    law = _law(rule, backend, p, g, state, t, values, parts)
    (new, step), after = yield from (over_all(law, shards) if shards is not None and by_parts else law)
    if dtype.startswith("complex"):
        moved = Moved(backend.unpair(new, dtype), backend.unpair(step, dtype))
    else:
        if leaf.chance is None:
            new = backend.cast(new, dtype)
        else:
            new = stochastic(backend, new, dtype, leaf.chance, leaf.p if by_parts else None)
        moved = Moved(backend.whole(new), step)
    arrays = [x if x is None else backend.whole(x) for x in _outward(backend, rule.unpack(after), here.p, dtype)]
    return _back(rule, leaf, here, shards, (moved, arrays))


def _law(rule: Rule, backend: Backend, p: Any, g: Any, state: Any, t: Any, values: Any, parts: bool) -> Law:
    if parts and is_host(t):
        from optcore.backends.fused.parts import update, worthwhile

        if worthwhile(rule, backend, p):
            return update(rule, backend, p, g, state, t, values)
    return template.update(rule, backend.xp, p, g, rule.pack(state), t, values)


def _here(rule: Rule, leaf: Leaf, shards: Shards | None, by_parts: bool) -> Leaf:
    """A leaf of arrays that lie in this process, where it is spread over several."""
    if shards is None:
        return leaf
    p, g = shards.given(leaf.p, by_parts), shards.given(leaf.g, by_parts)
    state = rule.pack([shards.given(x, by_parts) for x in rule.unpack(leaf.state)])
    return Leaf(p, g, state, leaf.t, leaf.values, leaf.chance)


def _back(rule: Rule, leaf: Leaf, here: Leaf, shards: Shards | None, done: Any) -> tuple[Moved, list[Any]]:
    """The new leaf, spread as the old one was; a parameter that was written in place is the one given."""
    moved, arrays = done
    if shards is None:
        return moved, arrays
    by_parts = rule.kind == "elementwise"
    p = leaf.p if moved.p is here.p else shards.kept(moved.p, by_parts)
    return Moved(p, None), [
        x if f.shared else shards.kept(x, by_parts) for f, x in zip(rule.fields, arrays, strict=True)
    ]


def _check_shapes(rule: Rule, leaf: Leaf, new: Any, arrays: Sequence[Any]) -> None:
    """A state made for another shape would broadcast into a wrong result; nothing has been written yet."""
    if tuple(new.shape) != tuple(leaf.p.shape):
        raise ValueError(
            f"{rule.name}: the parameter has shape {tuple(leaf.p.shape)} and would get {tuple(new.shape)}; "
            "give the state that init made for this parameter"
        )
    for f, old, x in zip(rule.fields, rule.unpack(leaf.state), arrays, strict=True):
        if not f.shared and old is not None and tuple(old.shape) != tuple(x.shape):
            raise ValueError(
                f"{rule.name}: the state's {f.name} has shape {tuple(old.shape)} and would get {tuple(x.shape)} for a "
                f"parameter of shape {tuple(leaf.p.shape)}; give the state that init made for this parameter"
            )


def is_static(value: Any) -> bool:
    """Whether a hyper-parameter is a Python number or switch, and no array."""
    return value is None or isinstance(value, bool | int | float | str)


def solve(laws: Sequence[Law], backend: Backend) -> list[Any]:
    """Run laws side by side; where they yield, combine what they yield and send it to each."""

    def send(law: Law, answer: Any) -> Any:
        request = law.send(answer)
        while isinstance(request, Due):
            request = law.send(backend.cond(request.condition, request.then, request.state))
        return request

    def answers(requests: list[Any]) -> list[Any]:
        totals = _combine(requests, backend)
        return [_answer(totals, request, backend) for request in requests]

    return lockstep(laws, answers, send)


def _combine(requests: Sequence[Any], backend: Backend) -> Any:
    if isinstance(requests[0], tuple):
        return tuple(_combine(column, backend) for column in zip(*requests, strict=True))
    maximum = isinstance(requests[0], Max)
    local = [r.value if isinstance(r, Max) else r for r in requests]
    widest = next((x for x in local if backend.dtype(x) == "float64"), local[0])
    total = widest_first = backend.scalar(local[0], widest)
    for x in local[1:]:
        x = backend.scalar(x, widest_first)
        total = backend.xp.maximum(total, x) if maximum else total + x
    return total


def _answer(total: Any, request: Any, backend: Backend) -> Any:
    if isinstance(total, tuple):
        return tuple(_answer(a, b, backend) for a, b in zip(total, request, strict=True))
    return backend.scalar(total, request.value if isinstance(request, Max) else request)


@lru_cache(maxsize=256)
def reads_parameter(rule: Rule) -> bool:
    """Whether a step's displacement depends on the parameter: a parameter of NaNs tells."""
    from optcore.backends.numpy import backend, np

    ones = np.ones((2, 2))
    values = laid_out(numbers(rule.complete(), backend, 0), backend.native_layout)
    with np.errstate(all="ignore"):
        state = start(rule, backend, ones * np.nan, values)
        shared = [x for x, f in zip(rule.unpack(state), rule.fields, strict=True) if f.shared]
        ((moved, _),), _ = advance(rule, backend, [Leaf(ones * np.nan, ones, state, 2, values)], shared)
    return bool(np.isnan(moved.step).any())


@lru_cache(maxsize=256)
def starts_from_values(rule: Rule) -> bool:
    """Whether a state starts from the parameter's values, and not from its shape alone."""
    from optcore.backends.numpy import backend, np

    values = laid_out(numbers(rule.complete(), backend, 0), backend.native_layout)
    with np.errstate(all="ignore"):
        state = start(rule, backend, np.ones((2, 2)) * np.nan, values)
    return any(x is not None and bool(np.isnan(x).any()) for x in rule.unpack(state))
