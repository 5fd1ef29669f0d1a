"""signSGD: the sign of the gradient."""

from __future__ import annotations

from optcore.rule import NoState, rule
from optcore.typing import Array, Namespace, Scalar


@rule(family="sign", lr=1e-3, like={"optax": {}, "paper": {}}, title="SignSGD")
def sign_sgd(xp: Namespace, p: Array, g: Array, s: NoState, t: Scalar) -> tuple[Array, NoState]:
    """The sign of the gradient, 0 where the gradient is 0; ``signum`` takes the sign of the momentum.

    Source: Bernstein et al. 2018, alg. 1; learning rate as signum's.
    """
    return xp.sign(g), s
