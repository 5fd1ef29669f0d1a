"""One call that proves a rule on the backends of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from optcore import backends
from optcore.backends.base import Backend, missing
from optcore.rule import Rule
from optcore.testing import laws, trees
from optcore.testing.scale import scale_law
from optcore.testing.smoke import first_run, told
from optcore.testing.strategies import Case, cases, dyadic_cases, plain_cases

try:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
except ImportError:
    raise missing("hypothesis", "proof") from None

__all__ = ["Report", "check_rule", "subjects"]

EXACT_STEPS = {"float32": 3, "float64": 8}
"""Steps of dyadic numbers that a mantissa holds: each adds three bits for a coefficient and more for the rate."""


@dataclass(frozen=True)
class Report:
    """The result of proving one rule on one backend."""

    rule: str
    backend: str
    used: float  #: the largest fraction of the certified bound that a result used
    laws: tuple[str, ...]  #: the laws that were tested and hold
    failures: dict[str, str] = field(default_factory=dict)  #: by law, what broke it

    @property
    def holds(self) -> bool:
        return not self.failures


def check_rule(
    rule: Rule,
    *,
    backends: Iterable[str] = ("numpy",),
    dtypes: Iterable[str] = ("float32", "float64"),
    examples: int = 20,
    reference: Rule | None = None,
) -> list[Report]:
    """Prove a rule: certified bound, exact arithmetic, scale law, kind, shared fields, NaN, purity.

    These laws certify that every backend executes the rule as it is written. That it is written as its source
    has it takes a second text: ``reference``, a rule with the same hyper-parameters and state, gives the bound
    that this rule's results must lie in, so that a swapped beta or a misplaced epsilon is seen.

    Before the proof comes a first run, which takes a moment: where the law uses what not every backend has, branches
    on a value, writes in place, raises, or returns other shapes or another state than it declares, the report says so
    under ``"first run"``, with the line of the law and what to write instead, and nothing else is tried.

    Returns one report per backend; :attr:`Report.holds` tells whether every law was obeyed, and
    :attr:`Report.failures` what broke which. Raises TypeError for what is no rule, and ImportError with the pip
    command for a backend that is not installed.
    """
    if not isinstance(rule, Rule):
        raise TypeError(
            f"check_rule: {rule!r} is of type {type(rule).__name__}; give a rule, made by @optcore.rule.rule"
        )
    return [_prove(rule, _named(name), tuple(dtypes), examples, reference) for name in backends]


def _named(name: str) -> Backend:
    found = backends.named(name)
    found.widen()
    return found


def _prove(rule: Rule, backend: Backend, dtypes: tuple[str, ...], examples: int, reference: Rule | None) -> Report:
    failures: dict[str, str] = {}
    if wrong := first_run(rule):
        return Report(rule.name, backend.name, 0.0, (), {"first run": wrong})
    done = ["first run"]
    worst = 0.0

    def attempt(law: str, strategy: st.SearchStrategy[Any], body: Callable[[Any], None], count: int = examples) -> None:
        run = settings(
            max_examples=count,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )(given(strategy)(body))
        try:
            run()
            done.append(law)
        except Exception as error:  # a law that cannot be run is a law that is not proven
            failures[law] = told(rule, error)

    def bound(dtype: str) -> Callable[[Case], None]:
        def body(case: Case) -> None:
            nonlocal worst
            other = None if reference is None else reference.bind(**case.rule.values())
            worst = max(worst, laws.certified_bound(case, backend, dtype, other))

        return body

    compared: set[str] = set()

    def exact(dtype: str) -> Callable[[Case], None]:
        def body(case: Case) -> None:
            if laws.exact_arithmetic(case, backend, dtype):
                compared.add(dtype)

        return body

    for dtype in dtypes:
        attempt(f"certified bound, {dtype}", cases(rule), bound(dtype))
    base = next((d for d in dtypes if d in EXACT_STEPS), "float32")
    try:
        divides = bool(laws.inexact_operations(rule))
    except Exception as error:  # what its bound cannot follow, the other proofs cannot either
        failures.setdefault("certified bound", told(rule, error))
        return Report(rule.name, backend.name, worst, tuple(done), failures)
    if not divides:
        for dtype in (d for d in dtypes if d in EXACT_STEPS):
            law = dyadic_cases(rule, steps=EXACT_STEPS[dtype])
            attempt(f"exact arithmetic, {dtype}", law, exact(dtype))
            if dtype not in compared and f"exact arithmetic, {dtype}" in done:
                done.remove(f"exact arithmetic, {dtype}")  # its coefficients have too many digits
    powers = st.tuples(
        cases(rule, decades=1.5, zeros=0.0, around_one=True),
        st.sampled_from([-4, -2, 2, 4]),
        st.sampled_from([-4, 0, 2, 4]),
    )
    attempt("scale law", powers, lambda drawn: scale_law(drawn[0], backend, base, *drawn[1:]))
    attempt("NaN", cases(rule), lambda c: laws.nan_propagates(c, backend, base))
    if backend.compiles:  # partitions and writes are the driver's, which compiles nothing
        return Report(rule.name, backend.name, worst, tuple(done), failures)
    attempt("shared fields", cases(rule), lambda c: trees.shared_fields_agree(c, backend, base))
    attempt("purity", cases(rule), lambda c: laws.nothing_is_written(c, backend, base))
    if rule.ndim is None or rule.kind == "elementwise":
        alike: list[bool] = []
        attempt("kind", cases(rule), lambda c: alike.append(trees.declared_kind(c, backend, base)))
        if rule.kind == "leafwise" and "kind" in done:  # it must be told from an elementwise one, whatever was drawn
            alike += [trees.declared_kind(case, backend, base) for case in plain_cases(rule)]
        if rule.kind == "leafwise" and all(alike) and "kind" in done:
            failures["kind"] = f"{rule.name}: declared leafwise, but no input tells a leaf from its two halves"
    return Report(rule.name, backend.name, worst, tuple(done), failures)


def subjects() -> dict[str, Rule]:
    """Everything to prove: all rules and clipping laws, and each combinator around a rule it fits."""
    from optcore import registry

    found: dict[str, Rule] = {**registry.rules(), **registry.clipping()}
    for name, each in registry.combinators().items():
        found[name] = registry.applied(each)
    return dict(sorted(found.items()))
