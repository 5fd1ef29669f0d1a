"""The constructors of rules that adapt each coordinate's step."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.optax.constructors import declare

adadelta = declare("""
    learning_rate: lr or 1.0 = None, rho: beta = 0.9, eps: epsilon_root = 1e-6, weight_decay=0.0,
    weight_decay_mask=None
""").of(optcore.adadelta, "Adadelta with coupled decay.", {"v": "e_g", "x": "e_x"}, decay="coupled")

adamax = declare("learning_rate, b1=0.9, b2=0.999, eps=1e-8").of(optcore.adamax, "AdaMax.", {"m": "mu", "u": "nu"})

adamaxw = declare("learning_rate, b1=0.9, b2=0.999, eps=1e-8, weight_decay=1e-4, mask=None").of(
    optcore.adamax, "AdaMax with decoupled decay.", {"m": "mu", "u": "nu"}
)

radam = declare("learning_rate, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, threshold=5.0, *, nesterov=False").of(
    optcore.radam, "RAdam."
)

rprop = declare("""
    learning_rate, eta_minus=0.5, eta_plus=1.2, min_step_size: step_min = 1e-6, max_step_size: step_max = 50.0
""").of(
    optcore.rprop,
    "Rprop, which moves by the gradient it is given; optax moves by the one before.",
    {"size": "step_sizes", "prev": "prev_updates"},
)

adabelief = declare("learning_rate, b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16, *, nesterov=False").of(
    optcore.adabelief, "AdaBelief."
)

acprop = declare("learning_rate, b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16, weight_decay=0.0, mask=None").of(
    optcore.acprop(like="optax"), "ACProp with the distance from the mean before the gradient."
)

yogi = declare("learning_rate, b1=0.9, b2=0.999, eps=1e-3").of(
    optcore.yogi, "Yogi, both of whose moments start at 1e-6."
)

adan = declare("""
    learning_rate, b1=0.98, b2=0.92, b3: beta3 = 0.99, eps=1e-8, eps_root=1e-8, weight_decay=0.0, mask=None
""").of(
    optcore.adan(like="optax"), "Adan with optax' coefficient of the gradient's change, ``1 - b2``.", {"previous": "g"}
)

ademamix = declare("""
    learning_rate, b1=0.9, b2=0.999, b3: beta3 = 0.9999, alpha=5.0, eps=1e-8, eps_root=0.0, mu_dtype: dtype[m1, m2,
    v] = None, weight_decay=0.0, mask=None
""").of(optcore.ademamix, "AdEMAMix.", {"v": "nu"})

simplified_ademamix = declare("""
    learning_rate, b1=0.99, b2=0.95, alpha=0.0, eps=1e-8, eps_root=0.0, weight_decay=0.0, mask=None
""").of(optcore.simplified_ademamix, "Simplified AdEMAMix.", {})


def quarter_power(t: Any) -> Any:
    """ADOPT's bound on a normalised gradient after t steps."""
    return t**0.25


adopt = declare(
    """learning_rate, b1=0.9, b2=0.9999, eps=1e-6, mu_dtype=None, *, nesterov=False, use_clipping: clipping = True,
    clip_value_fn=quarter_power""",
    quarter_power=quarter_power,
).of(
    optcore.adopt,
    "ADOPT.",
    unsupported={
        "clip_value_fn": "optcore.adapters.optax.adopt: clip_value_fn is a power of the step; give optcore.adopt its "
        "exponent"
    },
)

sign_sgd = declare("learning_rate").of(optcore.sign_sgd, "The sign of the gradient, without a state.")
