"""LOMO: gradient descent that is run inside the backward pass."""

from __future__ import annotations

from optcore.rules.sgd import sgd

lomo = sgd.variant(
    "lomo",
    """Gradient descent, which LOMO runs inside the backward pass so that only one gradient exists at a time.

    The paper adds no new law: it changes when each step runs, and its clipping is a link of a chain here.
    Source: Lv et al. 2024a, alg. 1; default of pytorch_optimizer.
    """,
    title="LOMO",
    lr=1e-3,
)
