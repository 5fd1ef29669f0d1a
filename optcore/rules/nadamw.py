"""NAdamW: NAdam with decoupled weight decay, which does not enter the moments."""

from __future__ import annotations

from optcore.rules.nadam import nadam

nadamw = nadam.variant(
    "nadamw",
    """NAdam with decoupled decay: ``p - lr (d + weight_decay p)``.

    Source: Dozat 2016, alg. 2, with the decay of Loshchilov & Hutter 2019; default decay of optax.nadamw, which
    is torch.optim.NAdam with ``decoupled_weight_decay``.
    """,
    title="NAdamW",
    weight_decay=1e-4,
)
