"""Rules compared with independent implementations, at drawn hyper-parameters, in float64; rows are in tests/oracles."""

from __future__ import annotations

from typing import Any

import differences
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import NUDGE, Difference, Paper, Peer, draw, nudged, ours, peers, problem, seeds

EXAMPLES = settings(max_examples=5)


@pytest.mark.parametrize("row", oracles.gather("PEERS"), ids=repr)
@EXAMPLES
@given(st.data())
def test_a_rule_is_its_peer(row: Peer, data: Any) -> None:
    """Parameters agree to 1e-12 in float64, or to the row's tolerance for the row's reason."""
    options = draw(data, row.options)
    params, grads = problem(data.draw(seeds), row.shapes, row.steps)
    want = peers(row.name, options, params, grads)
    for a, b in zip(ours(row.rule(options), params, grads), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=row.tolerance, atol=row.tolerance)


@pytest.mark.parametrize("row", oracles.gather("PAPERS"), ids=repr)
@EXAMPLES
@given(st.data())
def test_a_rule_is_its_paper(row: Paper, data: Any) -> None:
    """Parameters agree to 1e-11: the rule and the transcription round the same equations in another order."""
    numbers = draw(data, row.numbers)
    params, grads = problem(data.draw(seeds), row.shapes, row.steps)
    params = [np.abs(p) + 0.1 for p in params] if row.positive else params
    if row.tree:
        want = row.law([p.copy() for p in params], grads, **numbers)
    else:
        want = [row.law(p.copy(), [g[i] for g in grads], **numbers) for i, p in enumerate(params)]
    for a, b in zip(ours(row.rule(**numbers), params, grads), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=row.tolerance, atol=row.tolerance)


def test_the_table_of_differences_has_every_row_in_its_place() -> None:
    """docs/differences.md has all rows in order; if one was added, run ``python tests/differences.py``."""
    written = differences.written()
    assert len(written) == len(differences.rows())
    for line, row in zip(written, differences.rows(), strict=True):
        before, after = differences.line(row, "\n").split("\n")
        assert line.startswith(before) and line.endswith(after)


@pytest.mark.parametrize("row", differences.rows(), ids=repr)
def test_a_size_in_the_table_is_what_any_processor_measures(row: Difference) -> None:
    """A small change of the numbers stands for the other roundings of another processor, and changes no entry.

    A difference of laws is a smooth function of the numbers: a small change alters it by that change times a condition
    number, at most 100 for the rows here. A difference from a library's own rounding is as if drawn anew, and changes
    by a fraction of itself. An entry that has changed must be written anew.
    """
    sizes = [row.size()]
    for seed in range(4):
        with nudged(seed):
            sizes.append(row.size())
    change = max(0.0 if x == sizes[0] else abs(x / sizes[0] - 1.0) for x in sizes)
    assert min(sizes) > 1e-12, "no difference was measured"
    if row.rounding is None:
        assert change < 1000 * NUDGE, f"{change:.1%}: is this a library's own rounding?"
    else:
        assert change > 1000 * NUDGE, f"{change:.1%}: this is a law's"
        low, high = row.rounding.range()
        assert all(low < x < high for x in sizes), sizes
    assert {differences.line(row, differences.figure(row, x)) for x in sizes} <= set(differences.written())
