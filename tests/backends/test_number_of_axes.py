"""A rule may say how many axes its leaves have; it then works wherever a rule of any leaf does."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import optcore
from optcore import registry
from optcore.adapters import optax as ours
from optcore.adapters.cli import main, plot
from optcore.backends.fused.trace.traffic import kept, passes, traffic
from optcore.backends.probe import asks_totals, reads_parameter, sample, starts_from_values
from optcore.clipping import clipped
from optcore.rule import Rule, rule
from optcore.testing import check_rule
from optcore.typing import Array

AXES = (0, 1, 2, 3, 4)


class State(NamedTuple):
    m: Array  #: sum of the gradients; unit [g]


def summing(axes: int) -> Rule:
    """A rule of leaves of so many axes that remembers, and one pass over memory does it."""

    @rule(State, ndim=axes)
    def law(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        """The sum of the gradients. Source: none."""
        m = 0.5 * s.m + g
        return m, State(m)

    return law


def halving(axes: int) -> Rule:
    """A law of leaves of so many axes that remembers nothing."""

    @rule(ndim=axes)
    def halved(xp: Any, p: Any, g: Any, s: Any, t: Any) -> Any:
        return 0.5 * g, s

    return halved


def leaf(axes: int) -> Any:
    return np.arange(2.0**axes).reshape((2,) * axes)


@pytest.mark.parametrize("axes", AXES)
def test_optax_runs_it_without_params(axes: int) -> None:
    tx = ours.from_rule(summing(axes))(0.5)
    grads = {"w": jnp.asarray(leaf(axes))}
    updates, _ = tx.update(grads, tx.init(grads))
    np.testing.assert_array_equal(updates["w"], -0.5 * leaf(axes))


@pytest.mark.parametrize("axes", AXES)
def test_a_law_of_gradients_is_run_on_a_tree(axes: int) -> None:
    found = clipped(halving(axes), {"w": leaf(axes), "none": None})
    np.testing.assert_array_equal(found["w"], 0.5 * leaf(axes))


@pytest.mark.parametrize("axes", AXES)
def test_what_is_asked_of_a_rule_is_answered(axes: int) -> None:
    law = summing(axes)
    assert not reads_parameter(law) and not starts_from_values(law) and not asks_totals(law)
    assert (kept(law), passes(law), traffic(law)) == (1.0, 1, 5 * 4)  # p, g, m; p, m


def test_a_matrix_has_as_many_elements_as_was_asked() -> None:
    assert sample(optcore.sgd).shape == (2, 2) and sample(optcore.sgd, 64 * 64).shape == (64, 64)
    assert [sample(summing(axes), 64 * 64).size for axes in AXES] == [1, 4096, 4096, 4096, 4096]


@pytest.mark.parametrize("axes", AXES)
def test_the_catalogue_lists_it(axes: int, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    every = {**registry.rules(), "law": summing(axes)}
    monkeypatch.setattr(registry, "rules", lambda: every)
    assert main(["rules", "law", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["kept"], row["passes"], row["ndim"]) == (1.0, 1, axes)


@pytest.mark.parametrize("axes", AXES)
def test_it_is_proven(axes: int) -> None:
    (report,) = check_rule(summing(axes), examples=3)
    assert report.failures == {} and report.used > 0


@pytest.mark.parametrize("axes", [1, 3])
def test_its_path_is_drawn(axes: int) -> None:
    assert plot.path(summing(axes), plot.SURFACES[2], 5, 1e-3).shape == (6, 2)
