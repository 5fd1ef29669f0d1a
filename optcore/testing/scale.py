"""The scale law: what units say of a rule is so, bit for bit."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Any

from optcore import leaf
from optcore.backends.base import Backend
from optcore.backends.drive import start
from optcore.backends.numpy import np
from optcore.compose import Chain, Combined
from optcore.requests import alone
from optcore.rule import Rule
from optcore.testing.laws import _trajectory, _values
from optcore.testing.strategies import Case
from optcore.typing import Unit

__all__ = ["scale_law"]

SUBNORMAL = 2.0**-100
"""Below this a float32 may hang on a subnormal one: 2^-126, by the powers of the law and a factor of 2^10 beside it."""


def scale_law(case: Case, backend: Backend, dtype: str, a: int, b: int) -> None:
    """With g in units 4^a, p in units 4^b and every number in its declared unit, nothing changes bit for bit."""
    rule = case.rule
    if any(f.unit is None for f in rule.fields):
        names = [f.name for f in rule.fields if f.unit is None]
        raise AssertionError(f"{rule.name}: the state fields {names} declare no unit, as in '#: ...; unit [g^2]'")
    scaled = _rescaled(case, a, b)
    if scaled is None:
        return
    first = _trajectory(rule, backend, dtype, case.p, case.grads, noise=True)
    p, grads = case.p * 4.0**b, [g * 4.0**a for g in case.grads]
    second = _trajectory(scaled, backend, dtype, p, grads, noise=True)
    units = [Unit(p=1), *(f.unit and _resolved(f.unit, rule) for f in rule.fields)]
    for name, unit, x, y in zip(("p", *(f.name for f in rule.fields)), units, first, second, strict=True):
        if x is None or unit is None:
            continue
        x = x * _factor(unit, a, b)
        gone = (np.abs(x) < SUBNORMAL) & (np.abs(y) < SUBNORMAL)  # what underflows is rounded to no power of two
        if not np.array_equal(np.where(gone, 0.0, x), np.where(gone, 0.0, y), equal_nan=True):
            raise AssertionError(
                f"{rule.name} on {backend.name} in {dtype}: {name} is not in its declared unit {unit}: another "
                f"result after scaling g by 4^{a} and p by 4^{b}; {case!r}"
            )


def _factor(unit: Unit, a: int, b: int) -> float:
    return float(2.0 ** float(2 * (Fraction(unit.g) * a + Fraction(unit.p) * b)))


def _rescaled(case: Case, a: int, b: int) -> Rule | None:
    """The rule with its numbers in the new units; the rate of a direction takes p's unit over the direction's."""
    rule, values = case.rule, case.rule.values()
    changed: dict[str, Any] = {}
    for name, h in rule.hypers.items():
        if isinstance(values[name], int | float) and not isinstance(values[name], bool) and not h.static:
            unit = _resolved(h.unit, rule)
            whose, inner = rule, name
            if isinstance(rule, Combined) and rule.apart and name in rule.routes:
                i, inner = rule.routes[name]
                whose = rule.parts[i] if inner in ("lr", "weight_decay") else rule
            if inner == "lr":
                unit = _rate_unit(whose)
            elif inner == "weight_decay":
                unit = _decay_unit(whose, values[name.removesuffix("weight_decay") + "decay"])
            changed[name] = values[name] * _factor(unit, a, b)
    return rule.bind(**changed)


def _resolved(unit: Unit, rule: Rule) -> Unit:
    """A unit with the inner rule's direction put in for d."""
    if not unit.d:
        return unit
    inner = _direction_unit(rule.parts[0])  # type: ignore[attr-defined]
    return Unit(g=unit.g + unit.d * inner.g, p=unit.p + unit.d * inner.p)


def _steps(rule: Rule) -> bool:
    """Tell whether a rule is a combinator that leaves learning rate and decay to its inner rules."""
    return isinstance(rule, Combined) and rule.combinator.steps


def _rate_unit(rule: Rule) -> Unit:
    """The learning rate's unit: the rule's own, its inner rule's, or p's over the direction's."""
    if _steps(rule):
        return _rate_unit(rule.parts[0])  # type: ignore[attr-defined]
    if "lr" in rule.owns:
        return _resolved(rule.hypers["lr"].unit, rule)
    direction = _direction_unit(rule)
    return Unit(g=-direction.g, p=1 - direction.p)


def _decay_unit(rule: Rule, place: str) -> Unit:
    """The rule's own where it owns the decay; else ``wd p`` is a gradient where coupled, ``lr wd`` a pure number."""
    if isinstance(rule, Chain) and "decay" in rule.owns:
        return _decay_unit(next(part for part in rule.parts if "decay" in part.owns), place)
    if _steps(rule):
        return _decay_unit(rule.parts[0], place)  # type: ignore[attr-defined]
    if "decay" in rule.owns:
        return _resolved(rule.hypers["weight_decay"].unit, rule)
    if place == "coupled":
        joined = _direction_unit(Chain(rule.parts[: rule.lead])) if rule.lead else Unit(g=1)  # type: ignore[attr-defined]
        return Unit(g=joined.g, p=joined.p - 1)
    rate = _rate_unit(rule)
    return Unit(g=-rate.g, p=-rate.p)


def _direction_unit(rule: Rule) -> Unit:
    """The unit of the direction, read off one step on numbers that scale exactly."""
    from optcore.backends.numpy import backend

    if "lr" in rule.owns:
        return Unit(p=1)
    shape = (2,) * (1 if rule.ndim is None else rule.ndim)
    rng = np.random.default_rng(0)
    p, drawn = (np.asarray(rng.integers(1, 9, shape) / 8.0) for _ in range(2))
    plain = {n: h.default for n, h in rule.hypers.items() if n in ("weight_decay", "maximize")}
    bound = rule.bind(**{**plain, "lr": 1.0, "weight_decay": 0.0})

    def size(a: int, b: int, g: Any, begun: bool) -> float:
        values = dict(_values(bound, backend, 3))
        for name, h in bound.hypers.items():
            if isinstance(values[name], float) and name != "lr":
                values[name] *= _factor(_resolved(h.unit, rule), a, b)
        state = start(bound, backend, p * 4.0**b, values)
        units = [_resolved(f.unit or Unit(), rule) for f in rule.fields]
        full = [
            None if x is None else np.asarray(x + _factor(u, a, b) if begun else x)
            for x, u in zip(rule.unpack(state), units, strict=True)
        ]
        (_, step), _ = alone(leaf.update(bound, backend.xp, p * 4.0**b, g * 4.0**a, rule.pack(full), 3, values))
        return float(np.abs(step).sum())

    for factor, begun in product((1.0, 2.0**-30, 2.0**30), (True, False)):  # a law may drop what is large, or small
        seen = drawn * factor, begun
        base = size(0, 0, *seen)
        if base > 0.0:
            powers = [Fraction(round(4 * float(np.log2(size(*at, *seen) / base)) / 2), 4) for at in ((1, 0), (0, 1))]
            return Unit(*powers)
    return Unit()  # a step of nothing has every unit
