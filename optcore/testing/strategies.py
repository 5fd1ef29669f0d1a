"""Hypothesis strategies from the declarations of a rule: its hyper-parameters, leaves of the shapes it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optcore.backends.base import missing
from optcore.backends.numpy import np
from optcore.hyper import REQUIRED, Hyper
from optcore.rule import TEMPLATE, Rule

try:
    from hypothesis import strategies as st
except ImportError:
    raise missing("hypothesis", "proof") from None

__all__ = ["Case", "cases", "dyadic_cases", "hyper_parameters", "number", "shapes"]

SHAPES = ((), (1,), (7,), (4, 3), (3, 5), (2, 3, 2))
DYADIC = (0.5, 0.75, 0.875)


@dataclass(frozen=True)
class Case:
    """One rule at work: bound hyper-parameters and the arrays of several steps, in float64."""

    rule: Rule
    p: Any
    grads: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"Case({self.rule!r}, shape={self.p.shape}, steps={len(self.grads)})"


def number(hyper: Hyper, *, around_one: bool = False) -> st.SearchStrategy[Any]:
    """Values of one hyper-parameter within its bounds, its default among them.

    ``around_one`` draws a number without an upper bound between 0.1 and 10, where its unit shows in float32.
    """
    if hyper.choices:
        return st.sampled_from(hyper.choices)
    if hyper.types == (bool,):
        return st.booleans()
    default = [] if hyper.default is REQUIRED else [hyper.default]
    if hyper.static:
        return st.sampled_from([x for x in [*default, 1, 2, 3] if _admits(hyper, x)])
    if not hyper.bounds:
        return st.sampled_from(default)  # a coefficient of a polynomial, say: its range is not declared
    lower = max(float(getattr(b, "ge", getattr(b, "gt", -np.inf))) for b in hyper.bounds)
    upper = min(float(getattr(b, "le", getattr(b, "lt", np.inf))) for b in hyper.bounds)
    bottom = lower if np.isfinite(lower) else 0.0
    if around_one and not np.isfinite(upper):
        return _decades(-1, 1).filter(lambda x: _admits(hyper, x))
    if np.isfinite(upper):
        inner = st.floats(0.0, 0.9999).map(lambda x: bottom + x * (upper - bottom))
    elif hyper.default in (REQUIRED, None):
        inner = _decades(-3, 2).map(lambda x: bottom + x)
    elif hyper.default == bottom:
        inner = _decades(-8, 0).map(lambda x: bottom + x)
    else:
        inner = _decades(-2, 1).map(lambda x: bottom + x * (hyper.default - bottom))
    inner = inner.filter(lambda x: _admits(hyper, x))
    return st.one_of(st.sampled_from(default), inner) if default else inner


def _admits(hyper: Hyper, value: Any) -> bool:
    try:
        hyper.check("strategy", value)
    except (TypeError, ValueError):
        return False
    return True


def _decades(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda e: 10.0**e)


def _of_template(rule: Rule) -> dict[str, st.SearchStrategy[Any]]:
    """The template's hyper-parameters, and those of rules that have their own; a place only where it has an effect."""
    places = ("coupled", "before") if "p" in rule.owns else TEMPLATE["decay"].choices
    known: dict[str, st.SearchStrategy[Any]] = {
        "lr": _decades(-4, -0.5),
        "weight_decay": st.sampled_from([0.0, 0.01, 0.3]),
        "decay": st.sampled_from(places),
        "maximize": st.booleans(),
    }
    found = {n: known[last] for n in rule.hypers if (last := n.rpartition(".")[2]) in TEMPLATE}
    return {n: s for n, s in found.items() if not n.endswith("decay") or acts(rule, n)}


def acts(rule: Rule, name: str) -> bool:
    """Tell whether a number or place of decay has an effect on a rule."""
    return name.endswith("weight_decay") or rule.bind(**{name: "coupled"}).misplaced is None


def hyper_parameters(rule: Rule, *, around_one: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    """Dictionaries of hyper-parameters to bind, from the rule's own declarations and the template's."""
    own = {name: number(h, around_one=around_one) for name, h in rule.hypers.items() if _own(name)}
    own = {n: st.sampled_from(["out_in", "in_out"]) if n.endswith("layout") else s for n, s in own.items()}
    return st.fixed_dictionaries({**own, **_of_template(rule)})


def _own(name: str) -> bool:
    """Tell whether a hyper-parameter is a law's own, and not the template's around it."""
    return name.rpartition(".")[2] not in TEMPLATE


def shapes(rule: Rule) -> list[tuple[int, ...]]:
    """The shapes of leaves that a rule is proven on: of every number of axes, or of the one it takes."""
    found: list[tuple[int, ...]] = [s for s in SHAPES if rule.ndim in (None, len(s))]
    return found or [(2, 3, *(2,) * ((rule.ndim or 0) - 2))]


@st.composite
def cases(
    draw: st.DrawFn,
    rule: Rule,
    *,
    steps: int = 3,
    decades: float = 9.0,
    zeros: float = 0.05,
    around_one: bool = False,
) -> Case:
    """Rules at work on arrays whose elements span ``2 * decades`` powers of ten, with a share of zeros."""
    bound = rule.bind(**draw(hyper_parameters(rule, around_one=around_one)))
    shape = draw(st.sampled_from(shapes(rule)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def array() -> Any:
        size = 10.0 ** rng.uniform(-decades, decades, shape)
        return np.asarray(rng.choice([-1.0, 0.0, 1.0], shape, p=[0.5 - zeros / 2, zeros, 0.5 - zeros / 2]) * size)

    return Case(bound, array(), tuple(array() for _ in range(steps)))


def _dyadic(hyper: Hyper) -> list[float]:
    """Numbers of few digits that the hyper-parameter admits."""
    return [x for x in (*DYADIC, 1.0, 1.5, 2.0, 4.0) if _admits(hyper, x)][:3]


@st.composite
def dyadic_cases(draw: st.DrawFn, rule: Rule, *, steps: int) -> Case:
    """Rules at work on numbers k/8, with coefficients in halves, quarters and eighths: sums and products are exact."""
    values: dict[str, Any] = {"lr": 0.5, "weight_decay": draw(st.sampled_from([0.0, 0.25]))}
    if acts(rule, "decay"):
        values["decay"] = draw(st.sampled_from(["coupled", "with"]))
    for name, h in rule.hypers.items():
        if _own(name):
            values[name] = draw(number(h)) if h.static else draw(st.sampled_from(_dyadic(h)))
            values[name] = "out_in" if name.endswith("layout") else values[name]
    shape = draw(st.sampled_from(shapes(rule)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = [np.asarray(rng.integers(-16, 17, shape) / 8.0) for _ in range(steps + 1)]
    return Case(rule.bind(**values), arrays[0], tuple(arrays[1:]))


def plain_cases(rule: Rule) -> list[Case]:
    """One case of each shape, with the rule's own hyper-parameters and elements of one order of magnitude."""
    rng = np.random.default_rng(0)
    bound = rule.bind(**{name: 1.0 for name, value in rule.values().items() if value is REQUIRED})
    found = [Case(bound, rng.normal(size=s) + 0.5, (rng.normal(size=s), rng.normal(size=s))) for s in shapes(rule)]
    for case in found:
        case.grads[1].reshape(-1)[:1] = 0.0  # some laws are told apart by an element without a gradient
    return found
