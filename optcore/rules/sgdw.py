"""SGDW: momentum with decoupled weight decay, which does not enter the buffer."""

from __future__ import annotations

from optcore.rules.momentum import momentum

sgdw = momentum.variant(
    "sgdw",
    """Momentum in its sum form with decoupled decay: ``p' = p (1 - lr weight_decay)``, then ``p' - lr m``.

    Loshchilov & Hutter keep the rate inside the buffer and multiply the decay by the schedule only: with alpha
    their first rate and lambda their decay, that is ``velocity(weight_decay=lambda / alpha, decay="with")``.
    Source: Loshchilov & Hutter 2019, alg. 1, in the form and with the defaults of pytorch_optimizer.
    """,
    title="SGDW",
    lr=1e-4,
    decay="before",
)
