"""Kron beyond its rows in tests/oracles: leaves without elements, and the limit of the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import optcore


def test_a_leaf_without_elements_is_left_alone() -> None:
    p = np.zeros((0, 3))
    new, state = optcore.kron(p, p, optcore.kron.init(p), t=1, lr=0.1)
    assert new.shape == (0, 3) and state.second.shape == (3, 3)


def test_the_gradient_is_whitened_and_the_factors_do_not_drift(rng: Any) -> None:
    """After 600 fits to gradients ``L N R``, the second moment of ``Q^T Q g`` is the identity up to the fits' noise.

    Six seeds leave its eigenvalues between 0.27 and 2.1; those of the gradient are 4000 apart.
    """
    left, right = np.diag([1.0, 3.0, 0.2]), np.array([[1.0, 0.5], [0.0, 0.3]])
    rule, p = optcore.kron(lr=0.0, beta=0.0), np.zeros((3, 2))
    s: Any = rule.init(p)
    for t in range(1, 601):
        g = left @ rng.standard_normal((3, 2)) @ right
        _, s = rule(p, g, s._replace(z=rng.standard_normal((3, 2))), t=t)
    whitener = np.kron(s.first.T @ s.first, s.second.T @ s.second)
    mixer = np.kron(left, right.T)
    values = np.linalg.eigvalsh(whitener @ (mixer @ mixer.T) @ whitener)
    assert values[0] > 0.1 and values[-1] < 5
    assert np.abs(s.second).max() == pytest.approx(1.0)
    assert np.array_equal(s.first, np.triu(s.first)) and np.array_equal(s.second, np.triu(s.second))
