"""The laws that every rule must obey on every backend; each raises AssertionError where it is broken."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from optcore import leaf
from optcore.backends.base import COMPUTE, Backend
from optcore.backends.drive import advance, start
from optcore.backends.leaf import Leaf
from optcore.backends.numpy import backend as numpy_backend
from optcore.backends.numpy import np
from optcore.backends.values import usual
from optcore.hyper import REQUIRED
from optcore.matrix import eigenbasis, orthonormal, over_triangle
from optcore.requests import alone
from optcore.rule import Rule
from optcore.testing.bound import LARGEST, TINY, UNITS, BoundNamespace
from optcore.testing.exact import ExactNamespace, holds
from optcore.testing.opaque import Recorder, read
from optcore.testing.strategies import Case

__all__ = [
    "certified_bound",
    "exact_arithmetic",
    "inexact_operations",
    "nan_propagates",
    "nothing_is_written",
]


def step(rule: Rule, backend: Backend, p: Any, g: Any, state: Any, t: int, values: Any) -> tuple[Any, Any]:
    """One step on one leaf alone, in the backend's own way: the new parameter and state."""
    if backend.fuses:
        shared = [x for x, f in zip(rule.unpack(state), rule.fields, strict=True) if f.shared]
        ((moved, arrays),), _ = advance(rule, backend, [Leaf(p, g, state, t, values)], shared)
        return moved.p, rule.pack(arrays)
    new, arrays, _ = recorded(rule, backend, p, g, rule.unpack(state), t, values)
    return new, rule.pack(arrays)


def recorded(
    rule: Rule, backend: Backend, p: Any, g: Any, arrays: Any, t: int, values: Any
) -> tuple[Any, list[Any], Any]:
    """One step on one leaf alone: the new parameter, the state's arrays, and what the opaque steps took and gave."""
    if not backend.compiles:
        return _recorded(rule, backend, values, p, g, arrays, t)  # type: ignore[no-any-return]
    now = (t,) if _refreshes(rule) else ()  # what a condition on an array runs could not be recorded
    count = () if now else (backend.array(t, COMPUTE[backend.dtype(p)]),)
    return _compiled(rule, backend, *now)(p, g, arrays, *count)  # type: ignore[no-any-return]


def _refreshes(rule: Rule) -> bool:
    """Tell whether a part of the rule does work that is not due at every step."""
    return getattr(rule, "refresh", None) is not None or any(_refreshes(part) for part in getattr(rule, "parts", ()))


@lru_cache(maxsize=64)
def _compiled(rule: Rule, backend: Backend, *now: int) -> Callable[..., Any]:
    """:func:`recorded` with the rule's numbers, which no step changes, put in."""
    values = _values(rule, backend, 1)
    return backend.compiled(lambda p, g, arrays, *t: _recorded(rule, backend, values, p, g, arrays, *t, *now))


def _recorded(rule: Rule, backend: Backend, values: Any, p: Any, g: Any, arrays: Any, t: Any) -> Any:
    recorder = Recorder(backend.xp)
    law = leaf.update(rule, recorder, p, g, rule.pack(arrays), t, values)
    (new, _), state = alone(law, backend.cond)
    return new, list(rule.unpack(state)), recorder.record


def with_noise(rule: Rule, backend: Backend, state: Any, shape: tuple[int, ...], t: int, dtype: str) -> Any:
    """A state with normal numbers for a step, the same for every backend."""
    if not any(f.noise for f in rule.fields):
        return state
    draw = np.random.default_rng(t)
    arrays = [
        backend.array(np.asarray(draw.standard_normal(shape)), dtype) if f.noise else x
        for f, x in zip(rule.fields, rule.unpack(state), strict=True)
    ]
    return rule.pack(arrays)


def _values(rule: Rule, backend: Backend, t: int) -> dict[str, Any]:
    return usual(rule, backend, t - 1)


def certified_bound(case: Case, backend: Backend, dtype: str, reference: Rule | None = None) -> float:
    """Every step of the backend lies inside the bound computed from the law; returns the largest used fraction.

    With ``reference``, another rule of the same hyper-parameters and state, the bound is that rule's: what the
    case's rule computes must be what the reference says.

    Each step starts from the backend's own state as exact input. float16 and bfloat16 leaves are computed
    in float32, and their new parameter is rounded once more.
    """
    rule = case.rule
    compute = "float64" if dtype == "float64" else "float32"
    with np.errstate(all="ignore"):
        p = backend.array(case.p.astype(compute), dtype)
        state = start(rule, backend, p, _values(rule, backend, 1))
        worst = 0.0
        for t, grad in enumerate(case.grads, 1):
            g = backend.array(grad.astype(compute), dtype)
            values = _values(rule, backend, t)
            state = with_noise(rule, backend, state, case.p.shape, t, compute)
            mine = [x if x is None else backend.cast(x, compute) for x in rule.unpack(state)]
            seen = backend.cast(p, compute), backend.cast(g, compute)
            if backend.fuses and not rule.axes:
                (new, state), record = step(rule, backend, p, g, rule.pack(mine), t, values), ()
            else:
                new, arrays, record = recorded(rule, backend, *seen, mine, t, values)
                state = rule.pack(arrays)
            ns = BoundNamespace(compute, flushes=backend.flushes, record=read(record, backend.numpy))
            given = [None if x is None else ns.exact(backend.numpy(x)) for x in mine]
            at, by = (ns.exact(backend.numpy(x)) for x in seen)
            law = reference or rule
            count = ns.lift(t) if backend.compiles and not _refreshes(rule) else t
            (want, _), after = alone(leaf.update(law, ns, at, by, law.pack(given), count, values))
            p = backend.cast(new, dtype)
            error = want.error
            if dtype != compute:
                error = error + UNITS[dtype] * (np.abs(want.value) + error) + TINY[dtype]
                error = np.where(np.abs(want.value) + error > LARGEST[dtype], np.inf, error)
            pairs = [("p", p, want.value, error)]
            for f, x, w in zip(rule.fields, rule.unpack(state), law.unpack(after), strict=True):
                if x is not None:
                    pairs.append((f.name, x, w.value, w.error))
            for name, x, value, room in pairs:
                used = _used(backend.numpy(x).astype(np.float64), value, room, compute)
                if not used <= 1.0:
                    raise AssertionError(
                        f"{rule.name} on {backend.name} in {dtype}: {name} after step {t} uses {used:.3g} of the "
                        f"certified bound, at most 1 is right; {case!r}"
                    )
                worst = max(worst, used)
    return worst


def _used(x: Any, value: Any, room: Any, dtype: str) -> float:
    """The largest fraction of the bound that is used; infinite where a value is off without one."""
    allowed = room * (2.0 if dtype == "float64" else 1.0)  # in float64 the reference is rounded as well
    nan = np.isnan(value)
    open_ended = ~nan & (~np.isfinite(allowed) | ~np.isfinite(value))  # an overflow leaves nothing to certify
    same = (x == value) | open_ended | (nan & np.isnan(x))
    with np.errstate(all="ignore"):
        share = np.where(same, 0.0, np.abs(x - value) / allowed)
    return float(np.max(np.where(np.isnan(share), np.inf, share), initial=0.0))


def ready(rule: Rule) -> Rule:
    """The rule with 1 for every hyper-parameter that has no default."""
    return rule.bind(**{name: 1.0 for name, value in rule.values().items() if value is REQUIRED})


@lru_cache(maxsize=1024)
def inexact_operations(rule: Rule) -> set[str]:
    """The operations of a rule that round even where sums and products are exact."""
    from optcore.backends.numpy import backend

    rule = ready(rule)
    shape = (2,) * rule.ndim if rule.ndim is not None else (2, 2) if rule.axes else (3,)
    found: set[str] = set()
    with np.errstate(all="ignore"):
        for t in (1, 2):
            p = np.ones(shape)
            values = _values(rule, backend, t)
            state = start(rule, backend, p, values)
            _, _, record = _recorded(rule, backend, values, p, p, rule.unpack(state), t)
            ns = BoundNamespace("float64", record=read(record, backend.numpy))
            given = [None if x is None else ns.exact(x) for x in rule.unpack(state)]
            alone(leaf.update(rule, ns, ns.exact(p), ns.exact(p), rule.pack(given), t, values))
            found |= ns.used
    return found


def _trajectory(
    rule: Rule, backend: Backend, dtype: str, p: Any, grads: Any, state: Any = None, *, noise: bool = False
) -> list[Any]:
    """All arrays after the last step, as NumPy arrays: the parameter and the state; with noise or with zeros for it."""
    with np.errstate(all="ignore"):
        p = backend.array(p, dtype)
        state = start(rule, backend, p, _values(rule, backend, 1)) if state is None else state
        for t, g in enumerate(grads, 1):
            values = _values(rule, backend, t)
            state = with_noise(rule, backend, state, tuple(p.shape), t, dtype) if noise else state
            p, state = step(rule, backend, p, backend.array(g, dtype), state, t, values)
        return [None if x is None else backend.numpy(x) for x in (p, *rule.unpack(state))]


def exact_arithmetic(case: Case, backend: Backend, dtype: str) -> bool:
    """A division-free rule on dyadic numbers is bit for bit what rational arithmetic gives.

    Returns whether it was compared: not where a switch makes the law divide, or where the exact result has more
    digits than the mantissa holds.
    """
    rule = case.rule
    if inexact_operations(rule):
        return False
    ns: Any = ExactNamespace()
    begun = rule.unpack(start(rule, numpy_backend, case.p, _values(rule, numpy_backend, 1)))
    p, state = ns.lift(case.p), rule.pack([None if x is None else ns.lift(x) for x in begun])
    try:
        for t, g in enumerate(case.grads, 1):
            law = leaf.update(rule, ns, p, ns.lift(g), state, t, _values(rule, numpy_backend, t))
            (p, _), state = alone(law)
    except NotImplementedError:  # the law rounds nothing, but does more than rational arithmetic is written for
        return False
    want: list[Any] = [None if x is None else x.value for x in (p, *rule.unpack(state))]
    if not all(x is None or holds(x, dtype) for x in want):
        return False
    got = _trajectory(rule, backend, dtype, case.p, case.grads)
    for name, x, y in zip(("p", *(f.name for f in rule.fields)), got, want, strict=True):
        if x is not None and not np.array_equal(x.astype(np.float64), y.astype(np.float64)):
            raise AssertionError(
                f"{rule.name} on {backend.name} in {dtype}: {name} is not exact, though all inputs are dyadic "
                f"and the law does not divide; {case!r}"
            )
    return True


def nan_propagates(case: Case, backend: Backend, dtype: str) -> None:
    """A NaN in the gradient is one in the parameter, after two steps for rules that gather first: no mask hides it.

    A rule that says that it repairs must leave no NaN anywhere.
    """
    rule = case.rule
    at = (0,) * case.p.ndim
    grads = [np.array(g) for g in case.grads[:2]]
    for g in grads:
        g[at] = np.nan
    try:
        new, *state = _trajectory(rule, backend, dtype, case.p, grads)
    except Exception:
        if inexact_operations(rule) & {step.__name__ for step in (eigenbasis, orthonormal, over_triangle)}:
            return  # a decomposition may refuse a NaN aloud, each library with an error of its own
        raise
    if rule.repairs and not all(x is None or np.isfinite(x).all() for x in (new, *state)):
        raise AssertionError(f"{rule.name} on {backend.name}: says that it repairs, but keeps a NaN; {case!r}")
    if not rule.repairs and not np.isnan(new[at]):
        raise AssertionError(f"{rule.name} on {backend.name}: a NaN gradient became {new[at]!r}; {case!r}")


def nothing_is_written(case: Case, backend: Backend, dtype: str) -> None:
    """A step writes into nothing it was given, and keeps shapes and dtypes."""
    rule = case.rule
    p, g = backend.array(case.p, dtype), backend.array(case.grads[0], dtype)
    with np.errstate(all="ignore"):
        state = start(rule, backend, p, _values(rule, backend, 1))
        given = [x for x in (p, g, *rule.unpack(state)) if x is not None]
        before = [np.array(backend.numpy(x)) for x in given]
        law = leaf.update(rule, backend.xp, p, g, state, 1, _values(rule, backend, 1))
        (new, _), after = alone(law, backend.cond)
    for x, was in zip(given, before, strict=True):
        if not np.array_equal(backend.numpy(x), was, equal_nan=True):
            raise AssertionError(f"{rule.name} on {backend.name}: a step wrote into its input; {case!r}")
    for name, old, x in [
        ("p", p, new),
        *zip([f.name for f in rule.fields], rule.unpack(state), rule.unpack(after), strict=True),
    ]:
        if old is not None and (tuple(x.shape) != tuple(old.shape) or x.dtype != old.dtype):
            raise AssertionError(
                f"{rule.name} on {backend.name}: {name} went from {old.dtype}{tuple(old.shape)} to "
                f"{x.dtype}{tuple(x.shape)}; {case!r}"
            )
