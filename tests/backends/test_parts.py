"""Laws of rows, columns and matrices give the same numbers with fused passes as operation by operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import optcore
from optcore.backends import Optimizer
from optcore.backends.fused.engines import matrices as parts
from optcore.testing import subjects
from optcore.testing.laws import ready

SHAPES = ((6, 5), (4, 6), (3, 2, 4), (5,))


def trajectory(rule: Any, make: Any) -> list[Any]:
    rng = np.random.default_rng(1)
    leaves = [s for s in SHAPES if rule.ndim in (None, len(s))]
    params = {str(i): make(rng.standard_normal(s)) for i, s in enumerate(leaves)}
    optimizer = Optimizer(optcore.Recipe(rule, lr=0.01))
    state = optimizer.init(params)
    for _ in range(4):
        grads = {str(i): make(rng.standard_normal(s)) for i, s in enumerate(leaves)}
        params, state = optimizer.update(params, grads, state)
    return [np.asarray(p) for p in params.values()]


@pytest.mark.parametrize("make", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("name", [n for n, rule in subjects().items() if rule.axes])
def test_passes_change_nothing(name: str, make: Any, monkeypatch: Any) -> None:
    """Here arrays of 20 elements or more run in passes: leaves and gram matrices, also transposed and sliced ones."""
    rule = ready(subjects()[name])
    want = trajectory(rule, make)
    monkeypatch.setattr(parts, "LARGE", 20)
    for a, b in zip(trajectory(rule, make), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
