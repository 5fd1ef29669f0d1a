"""Every rule obeys every law on every backend; a planted fault does not."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import numpy as np
import pytest
from annotated_types import Ge, Gt, Le

import optcore
from optcore.moments import ema
from optcore.rule import rule
from optcore.scalars import bias_correction
from optcore.testing import check_rule, subjects
from optcore.typing import Array, Decay, Epsilon, Shared, Unit

BACKENDS = ("numpy", "torch", "strict", "jax", "jitted")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", list(subjects()))
def test_every_rule_obeys_every_law(name: str, backend: str, exhaustive: bool) -> None:
    dtypes: tuple[str, ...] = ("float32", "float64")
    if exhaustive and backend in ("torch", "jax"):
        dtypes = (*dtypes, "bfloat16")
    examples = 2 if backend == "jitted" else 6  # each is compiled; with fewer some laws are not tried at all
    (report,) = check_rule(subjects()[name], backends=[backend], dtypes=dtypes, examples=examples)
    assert report.failures == {}
    assert 0.0 < report.used <= 1.0
    ours = {"scale law", "NaN"} if backend == "jitted" else {"purity", "scale law", "shared fields", "NaN"}
    assert ours <= set(report.laws)


def test_bounds_are_tight_enough_to_mean_something() -> None:
    """Some result of Adam in float32 uses more than a third of its bound."""
    (report,) = check_rule(optcore.adam, examples=30)
    assert report.used > 1 / 3


def test_division_free_rules_are_proven_exact() -> None:
    for name in ("sgd", "momentum", "nesterov", "velocity", "lion", "signum", "clip_by_value"):
        (report,) = check_rule(subjects()[name], examples=5)
        assert "exact arithmetic, float32" in report.laws


class FaultyState(NamedTuple):
    m: Array  #: EMA of the gradient; unit [g]
    v: Array  #: EMA of the squared gradient; unit [g^2]


def _adam(fault: str) -> Any:
    """Return Adam's law with one planted fault, which the certified bound must detect; "none" plants none."""

    @rule(FaultyState, lr=1e-3)
    def adam(
        xp: Any, p: Any, g: Any, s: Any, t: Any, *, beta1: Decay = 0.9, beta2: Decay = 0.999, epsilon: Epsilon = 1e-8
    ) -> Any:
        b1, b2 = (beta2, beta1) if fault == "swapped betas" else (beta1, beta2)
        m, v = ema(b1, s.m, g), ema(b2, s.v, g * g)
        bc1 = 1.0 if fault == "forgotten bias correction" else bias_correction(xp, beta1, t)
        bc2 = bias_correction(xp, beta2, t)
        root = xp.sqrt(v / bc2 + epsilon * epsilon) if fault == "misplaced epsilon" else xp.sqrt(v / bc2) + epsilon
        return m / bc1 / root, FaultyState(m, v)

    return adam


@pytest.mark.parametrize("fault", ["misplaced epsilon", "swapped betas", "forgotten bias correction"])
def test_a_planted_fault_leaves_the_certified_bound(fault: str) -> None:
    """Results with the fault lie outside the bound of the right law, results without it inside."""
    for dtype in ("float32", "float64"):
        (fine,) = check_rule(_adam("none"), reference=optcore_adam(), dtypes=[dtype], examples=5)
        assert fine.holds
        (report,) = check_rule(_adam(fault), reference=optcore_adam(), dtypes=[dtype], examples=5)
        assert "of the certified bound" in report.failures[f"certified bound, {dtype}"]


def optcore_adam() -> Any:
    """Return the library's Adam with the hyper-parameters of the faulty laws."""

    @rule(FaultyState, lr=1e-3)
    def adam(
        xp: Any, p: Any, g: Any, s: Any, t: Any, *, beta1: Decay = 0.9, beta2: Decay = 0.999, epsilon: Epsilon = 1e-8
    ) -> Any:
        numbers = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "epsilon_root": 0.0, "epsilon_hat": 0.0}
        d, new = optcore.adam.law.fn(xp, p, g, s, t, **numbers)
        return d, FaultyState(*new)

    return adam


def test_a_mask_that_hides_a_nan_is_found_out() -> None:
    @rule()
    def masked(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return xp.where(g == g, g, xp.zeros_like(g)), s

    (report,) = check_rule(masked, examples=5)
    assert "a NaN gradient became" in report.failures["NaN"]


def test_a_law_whose_numbers_are_not_dyadic_is_not_called_exact() -> None:
    @rule()
    def thirds(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return g * (1 / 3) * 1.1, s

    (report,) = check_rule(thirds, examples=10)
    assert report.holds and not any(law.startswith("exact") for law in report.laws)


def test_an_inexact_backend_fails_the_rational_comparison(monkeypatch: Any) -> None:
    """One addition in float16 is enough to fail."""
    from optcore.backends.numpy import NumpyBackend

    monkeypatch.setattr(NumpyBackend, "array", lambda self, x, dtype: np.asarray(x).astype(dtype) + np.float32(2**-20))
    (report,) = check_rule(optcore.signum(beta=0.5), examples=10)
    assert any("is not exact" in text for text in report.failures.values())


@pytest.mark.parametrize(
    ("hint", "default"),
    [
        (Annotated[float, Gt(0), Le(1)], 0.5),
        (Annotated[float, Ge(1), Le(10)], 2.0),
        (Annotated[float, Ge(1)], 2.0),
        (Annotated[int, Ge(4)], 5),
    ],
)
def test_rules_with_any_bounds_are_drawn_within_them(hint: Any, default: Any) -> None:
    def scaled(xp: Any, p: Any, g: Any, s: Any, t: Any, *, a: Any = default) -> Any:
        return a * g, s

    scaled.__annotations__["a"] = hint
    (report,) = check_rule(rule()(scaled), examples=10)
    assert report.failures == {}


def test_the_bound_of_a_power_is_a_bound() -> None:
    from optcore.testing import Bounded, BoundNamespace

    ns = BoundNamespace("float32")
    squares = ns.exact([-3.0, 3.0]) ** 2
    assert (squares.error < 1e-4).all()
    straddling = Bounded(ns, [-0.1], [0.2]) ** 2
    assert straddling.error[0] >= 0.09 - 0.01
    assert np.isinf((Bounded(ns, [0.1], [0.2]) ** 0.5).error[0])


def test_the_bound_of_a_sum_covers_a_flushed_cancellation() -> None:
    import jax.numpy as jnp

    from optcore.testing import BoundNamespace

    x = np.array([1.5, -1.0], np.float32) * np.float32(2.0**-126)
    bound = BoundNamespace("float32", flushes=True)
    total = bound.sum(bound.exact(x))
    assert abs(float(jnp.sum(jnp.asarray(x))) - float(total.value)) <= float(total.error)


def test_an_overflow_to_float16_is_no_fault() -> None:
    (report,) = check_rule(optcore.adam, backends=["torch"], dtypes=["float16"], examples=10)
    assert report.failures == {}


@pytest.mark.parametrize(
    ("name", "number", "unit"),
    [("adafactor", "epsilon1", Unit(g=1)), ("adafactor", "epsilon2", Unit()), ("prodigy", "epsilon", Unit(g=2))],
)
def test_a_wrong_unit_of_a_small_number_is_seen(name: str, number: str, unit: Unit) -> None:
    from dataclasses import replace

    right = subjects()[name]
    wrong = replace(right, hypers={**right.hypers, number: replace(right.hypers[number], unit=unit)})
    (report,) = check_rule(wrong, examples=20)
    assert "scale law" in report.failures


def test_a_wrong_unit_fails_the_scale_law() -> None:
    class State(NamedTuple):
        m: Array  #: a sum of squares, said to be in the gradient's unit; unit [g]

    @rule(State)
    def wrong_unit(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return g, State(s.m + g * g)

    (report,) = check_rule(wrong_unit, examples=10)
    assert list(report.failures) == ["scale law"]
    assert "m is not in its declared unit [g]" in report.failures["scale law"]


def test_a_missing_unit_fails_the_scale_law() -> None:
    class State(NamedTuple):
        m: Array  #: a decaying sum

    @rule(State)
    def no_unit(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return g, State(s.m + g)

    (report,) = check_rule(no_unit, examples=5)
    assert "declare no unit" in report.failures["scale law"]


def test_a_leafwise_law_declared_elementwise_is_found_out() -> None:
    @rule()
    def secretly_leafwise(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return g - xp.mean(g), s

    (report,) = check_rule(secretly_leafwise, examples=10)
    assert "declared elementwise, but a leaf and its two halves differ" in report.failures["kind"]


def test_an_elementwise_law_declared_leafwise_is_found_out() -> None:
    @rule(kind="leafwise")
    def lazily_leafwise(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return 2.0 * g, s

    (report,) = check_rule(lazily_leafwise, examples=10)
    assert "no input tells a leaf from its two halves" in report.failures["kind"]


def test_a_shared_field_that_reads_the_leaf_is_found_out() -> None:
    class State(NamedTuple):
        d: Shared  #: said to be one value for the tree; unit [g]

    @rule(State)
    def leaky(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return g, State(s.d + xp.max(xp.abs(g)))

    (report,) = check_rule(leaky, examples=10)
    assert "the shared field d depends on the leaf" in report.failures["shared fields"]


def test_a_law_that_writes_into_its_input_is_found_out() -> None:
    @rule()
    def writes(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        if hasattr(g, "fill"):
            g.fill(1.0)
        return g, s

    (report,) = check_rule(writes, examples=5)
    assert "wrote into its input" in report.failures["purity"]


STEPS = "eigenbasis orthonormal descending newton_schulz inverse_root over_triangle spectral_floor".split()


@pytest.mark.parametrize("step", STEPS)
def test_a_wrong_opaque_step_fails_its_own_residual(step: str) -> None:
    from optcore import matrix
    from optcore.backends.numpy import backend
    from optcore.testing import BoundNamespace
    from optcore.testing.opaque import Recorder

    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 4))
    x = (x @ x.T).astype(np.float32) / 10
    basis = np.linalg.eigh(x)[1]
    given: Any = {
        "descending": (x[0],),
        "newton_schulz": (x, 3.4, -4.7, 2.0),
        "inverse_root": (x, basis, 0.1, 4),
        "over_triangle": (x, np.triu(x) + np.eye(4, dtype=np.float32)),
        "spectral_floor": (np.outer(x[0], x[0]),),  # of rank one, whose eigenvalue it meets
    }
    given = given.get(step, (x,))
    recorder = Recorder(backend.xp)
    law = getattr(matrix, step)
    law(recorder, *given)

    def prove(result: Any) -> None:
        ns = BoundNamespace("float32", record=iter([(recorder.record[0][0], result)]))
        law(ns, *(a if isinstance(a, int | float) else ns.exact(a) for a in given))

    result = recorder.record[0][1]
    prove(result)
    wrong = result[::-1] if step == "descending" else result * np.float32(1.001)
    with pytest.raises(AssertionError, match=step):
        prove(wrong)
