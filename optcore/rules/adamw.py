"""AdamW: Adam with decoupled weight decay, which does not enter the moments."""

from __future__ import annotations

from optcore.rules.adam import adam

adamw = adam.variant(
    "adamw",
    """Adam with decoupled decay: ``p - lr (d + weight_decay p)``.

    The decay is multiplied by the learning rate, as in torch, optax and Keras; Loshchilov & Hutter multiply
    it by the schedule only, so their lambda is ``weight_decay * lr``. Source: Loshchilov & Hutter 2019,
    alg. 2; default decay of torch.optim.AdamW.
    """,
    title="AdamW",
    weight_decay=0.01,
)
