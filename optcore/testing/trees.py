"""The laws of partition: what a rule does on one leaf and on the same leaf in pieces."""

from __future__ import annotations

from typing import Any

from optcore import leaf
from optcore.backends.base import Backend
from optcore.backends.drive import advance, start
from optcore.backends.leaf import Leaf
from optcore.backends.numpy import np
from optcore.backends.probe import asks_totals
from optcore.requests import alone
from optcore.rule import Rule
from optcore.testing.bound import BoundNamespace
from optcore.testing.laws import _trajectory, _used, _values, inexact_operations, ready
from optcore.testing.strategies import Case

__all__ = ["declared_kind", "shared_fields_agree"]


def declared_kind(case: Case, backend: Backend, dtype: str) -> bool:
    """Tell whether a leaf gives the same as its two halves run as two leaves; a rule declared elementwise must.

    The same bits, or one step within the certified bound of the other where the law asks for totals, whose sums
    have another order, or for exp and its kin, which vector libraries round otherwise at the end of an array.
    """
    rule = case.rule
    if case.p.ndim == 0 or case.p.shape[0] < 2:
        return True
    elementary = inexact_operations(rule) & {"exp", "expm1", "log", "power", "cos"}
    totals = asks_totals(ready(rule)) or bool(elementary)
    grads = case.grads[:1] if totals else case.grads
    cuts = {0, case.p.ndim - 1} if rule.axes and case.p.shape[-1] > 1 else {0}  # between rows and through them
    several = [_halves(rule, backend, dtype, case.p, grads, axis) for axis in cuts]
    if totals:
        whole, room = _bounds(rule, backend, dtype, case.p, grads[0])
    else:
        whole, room = _trajectory(rule, backend, dtype, case.p, grads), None
    same = True
    for k, x, y in ((k, *pair) for halves in several for k, pair in enumerate(zip(whole, halves, strict=True))):
        if (x is None) != (y is None) or (x is not None and x.shape != y.shape):
            same = False
        elif x is not None and room is not None:
            same = same and _used(y.astype(np.float64), x, 2.0 * room[k], dtype) <= 1.0
        elif x is not None:
            same = same and np.array_equal(x, y, equal_nan=True)
    if not same and rule.kind == "elementwise":
        raise AssertionError(
            f"{rule.name} on {backend.name}: declared elementwise, but a leaf and its two halves differ; {case!r}"
        )
    return same


def _bounds(rule: Rule, backend: Backend, dtype: str, p: Any, g: Any) -> tuple[list[Any], list[Any]]:
    """The values and error bounds of the first step on a whole leaf."""
    ns = BoundNamespace(dtype, flushes=backend.flushes)
    with np.errstate(all="ignore"):
        p, g = (backend.numpy(backend.array(x, dtype)) for x in (p, g))
        values = _values(rule, backend, 1)
        state = [
            None if x is None else ns.exact(backend.numpy(x))
            for x in rule.unpack(start(rule, backend, backend.array(p, dtype), values))
        ]
        law = leaf.update(rule, ns, ns.exact(p), ns.exact(g), rule.pack(state), 1, values)
        (new, _), after = alone(law)
    arrays = [new, *rule.unpack(after)]
    return [None if x is None else x.value for x in arrays], [None if x is None else x.error for x in arrays]


def _halves(rule: Rule, backend: Backend, dtype: str, p: Any, grads: Any, axis: int) -> list[Any]:
    """A leaf cut along an axis, run as two leaves of one tree, and joined; totals and shared fields are over both."""
    half, before = p.shape[axis] // 2, (slice(None),) * axis
    cuts = ((*before, slice(0, half)), (*before, slice(half, None)))
    params = [backend.array(p[cut], dtype) for cut in cuts]
    states = [rule.unpack(start(rule, backend, p, _values(rule, backend, 1))) for p in params]
    shared = [x for x, f in zip(states[0], rule.fields, strict=True) if f.shared]
    with np.errstate(all="ignore"):
        for t, grad in enumerate(grads, 1):
            values = _values(rule, backend, t)
            jobs = [
                Leaf(p, backend.array(grad[cut], dtype), rule.pack(s), t, values)
                for p, s, cut in zip(params, states, cuts, strict=True)
            ]
            done, shared = advance(rule, backend, jobs, shared)
            params, states = [m.p for m, _ in done], [arrays for _, arrays in done]
    out = [np.concatenate([backend.numpy(p) for p in params], axis=axis)]
    for i, f in enumerate(rule.fields):
        pair: list[Any] = [None if s[i] is None else backend.numpy(s[i]) for s in states]
        joins = pair[0] is not None and pair[1] is not None and not f.shared and pair[0].ndim == p.ndim
        joins = joins and np.delete(pair[0].shape, axis).tolist() == np.delete(pair[1].shape, axis).tolist()
        out.append(np.concatenate(pair, axis=axis) if joins else pair[0])
    return out


def shared_fields_agree(case: Case, backend: Backend, dtype: str) -> None:
    """Shared fields come from totals, scalars and shared fields only: every leaf computes the same bits."""
    rule = case.rule
    if not any(f.shared for f in rule.fields):
        return
    params = [backend.array(x, dtype) for x in (case.p, case.p * 3.0 + 1.0)]
    states = [start(rule, backend, p, _values(rule, backend, 1)) for p in params]
    shared = [x for x, f in zip(rule.unpack(states[0]), rule.fields, strict=True) if f.shared]
    with np.errstate(all="ignore"):
        for t, grad in enumerate(case.grads, 1):
            values = _values(rule, backend, t)
            grads = [backend.array(x, dtype) for x in (grad, grad * -0.5)]
            slower = {**values, "lr": 0.5 * values["lr"]}  # the rate is a leaf's own
            jobs = [Leaf(p, g, s, t, v) for p, g, s, v in zip(params, grads, states, (values, slower), strict=True)]
            done, shared = advance(rule, backend, jobs, shared)
            params, states = [m.p for m, _ in done], [rule.pack(arrays) for _, arrays in done]
            for f, *values_of in zip(rule.fields, *(arrays for _, arrays in done), strict=True):
                first, second = map(backend.numpy, values_of)
                if f.shared and not np.array_equal(first, second, equal_nan=True):
                    raise AssertionError(f"{rule.name}: the shared field {f.name} depends on the leaf; {case!r}")
