"""Every rule obeys every law on every backend; a planted fault does not."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import optcore
from optcore.moments import ema
from optcore.rule import rule
from optcore.scalars import bias_correction
from optcore.testing import check_rule, subjects
from optcore.typing import Array, Decay, Epsilon, Shared

BACKENDS = ("numpy", "torch", "strict", "jax")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", list(subjects()))
def test_every_rule_obeys_every_law(name: str, backend: str) -> None:
    dtypes = ("float32", "float64", "bfloat16") if backend in ("torch", "jax") else ("float32", "float64")
    (report,) = check_rule(subjects()[name], backends=[backend], dtypes=dtypes, examples=10)
    assert report.failures == {}
    assert 0.0 < report.used <= 1.0
    assert {"purity", "scale law", "shared fields"} <= set(report.laws)


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
    """Adam with one fault, run against the law without it by the certified bound."""

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
    """What a backend with the fault returns lies outside the bound of the true law."""
    from optcore import leaf
    from optcore.backends.numpy import backend
    from optcore.testing import BoundNamespace
    from optcore.testing.laws import _host_cond, _used, _values, solo

    rng = np.random.default_rng(0)
    p, g = (np.asarray(rng.standard_normal(50) * 10.0 ** rng.uniform(-9, 9, 50), np.float32) for _ in range(2))

    def used(which: str) -> float:
        faulty, true = _adam(which), _adam("none")
        state = FaultyState(np.zeros_like(p), np.zeros_like(p))
        (new, _), _ = solo(leaf.update(faulty, backend.xp, p, g, state, 3, _values(faulty, backend, 3)), _host_cond)
        ns = BoundNamespace("float32")
        zeros = FaultyState(*(ns.exact(x) for x in state))
        law = leaf.update(true, ns, ns.exact(p), ns.exact(g), zeros, 3, _values(true, backend, 3))
        (want, _), _ = solo(law, _host_cond)
        return _used(new.astype(np.float64), want.value, want.error, "float32")

    assert used("none") <= 1.0
    assert used(fault) > 1.0


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


@pytest.mark.parametrize("step", ["eigenbasis", "orthonormal", "descending", "newton_schulz"])
def test_a_wrong_opaque_step_fails_its_own_residual(step: str) -> None:
    from optcore import matrix
    from optcore.backends.numpy import backend
    from optcore.testing import BoundNamespace
    from optcore.testing.opaque import Recorder

    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 4))
    x = (x @ x.T).astype(np.float32) / 10
    given = {"descending": (x[0],), "newton_schulz": (x, 3.4, -4.7, 2.0)}.get(step, (x,))
    recorder = Recorder(backend.xp, backend.numpy)
    law = getattr(matrix, step)
    law(recorder, *given)

    def prove(result: Any) -> None:
        ns = BoundNamespace("float32", record=iter([(recorder.record[0][0], result)]))
        law(ns, *(a if isinstance(a, float) else ns.exact(a) for a in given))

    result = recorder.record[0][1]
    prove(result)
    wrong = result[::-1] if step == "descending" else result * np.float32(1.001)
    with pytest.raises(AssertionError, match=step):
        prove(wrong)
