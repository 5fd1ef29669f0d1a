"""Gradients and parameters for the tests of clipping laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from optcore import registry

SHAPES = ((7,), (4, 3), (2, 3, 4), (2, 3, 2, 2))
LAWS = registry.clipping()


def draw(seed: int, shapes: Any = SHAPES) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s) * 10 ** rng.uniform(-2, 1) for s in shapes]


def given_params(grads: list[Any], dtype: Any = torch.float64) -> list[Any]:
    params = [torch.nn.Parameter(torch.zeros(g.shape, dtype=dtype)) for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = torch.tensor(g).to(dtype)
    return params


def same(a: Any, b: Any, tolerance: float = 1e-13) -> None:
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tolerance, atol=tolerance)
