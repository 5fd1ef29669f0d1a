"""AdaMaxW: AdaMax with decoupled weight decay, which does not enter the moments."""

from __future__ import annotations

from optcore.rules.adamax import adamax

adamaxw = adamax.variant(
    "adamaxw",
    """AdaMax with decoupled decay: ``p - lr (d + weight_decay p)``.

    Source: Kingma & Ba 2015, alg. 2, with the decay of Loshchilov & Hutter 2019; defaults of optax.adamaxw.
    """,
    title="AdamaxW",
    weight_decay=1e-4,
)
