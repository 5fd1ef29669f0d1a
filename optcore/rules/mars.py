"""MARS: an adaptive rule on a gradient whose variance is reduced by the gradient of the previous step."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from annotated_types import Gt

from optcore.matrix import orthogonalize
from optcore.moments import denominator, ema
from optcore.norms import norm
from optcore.rule import Conventions, rule
from optcore.scalars import bias_correction
from optcore.typing import Array, Decay, Epsilon, Layout, Namespace, NonNegative, Scalar, Unit

Form = Literal["adamw", "lion", "shampoo"]
LIKE: Conventions = {"paper": {}, "pytorch_optimizer": {"epsilon": 0.0, "epsilon_hat": 1e-8}}


class MarsState(NamedTuple):
    m: Array  #: EMA of the corrected gradient, zero at the start; unit [g]
    v: Array  #: EMA of the corrected gradient's square, zero at the start, 0-d in forms without one; unit [g^2]
    last: Array  #: gradient of the previous step, zero at the start, 0-d for leaves without correction; unit [g]


def _corrects(x: Array, all_leaves: bool) -> bool:
    return all_leaves or x.ndim == 2


def _squares(x: Array, form: str, all_leaves: bool) -> bool:
    return not _corrects(x, all_leaves) or form == "adamw" or (form == "shampoo" and x.ndim != 2)


def _start(xp: Namespace, p: Array, *, form: Form = "adamw", all_leaves: bool = False) -> MarsState:
    zero = xp.zeros_like(p)
    v, last = _squares(p, form, all_leaves), _corrects(p, all_leaves)
    return MarsState(zero, xp.zeros_like(p) if v else xp.sum(zero), xp.zeros_like(p) if last else xp.sum(zero))


@rule(MarsState, family="adaptive", kind="leafwise", axes=True, lr=3e-3, init=_start, like=LIKE, title="MARS")
def mars(
    xp: Namespace,
    p: Array,
    g: Array,
    s: MarsState,
    t: Scalar,
    *,
    beta1: Decay = 0.95,
    beta2: Decay = 0.99,
    beta1_other: Decay = 0.9,
    beta2_other: Decay = 0.95,
    gamma: NonNegative = 0.025,
    max_norm: Annotated[float, Gt(0), Unit(g=1)] = 1.0,
    epsilon: Epsilon = 1e-8,
    epsilon_hat: Epsilon = 0.0,
    form: Form = "adamw",
    all_leaves: bool = False,
    layout: Layout | None = None,
) -> tuple[Array, MarsState]:
    """``c = g + gamma beta1 / (1 - beta1) (g - last)``, clipped to the norm ``max_norm``, in place of the gradient.

    ``form`` is the rule that takes c: "adamw", "lion" for the sign of its average, or "shampoo" for the average with
    its singular values pushed to 1. Leaves that are no matrix take plain Adam steps with ``beta1_other`` and
    ``beta2_other``; with ``all_leaves`` they are corrected too. Source: Yuan et al. 2024, alg. 2 to 4, the approximate
    form; AGI-Arena/MARS. pytorch_optimizer has the epsilon beside the uncorrected root.
    """
    beta1, beta2 = (beta1, beta2) if _corrects(g, all_leaves) else (beta1_other, beta2_other)
    c, last = g, s.last
    if _corrects(g, all_leaves):
        c = g + gamma * (beta1 / (1.0 - beta1)) * (g - s.last)
        c, last = c / xp.maximum(norm(xp, c) / max_norm, 1.0), g
    m = ema(beta1, s.m, c)
    if not _squares(g, form, all_leaves):
        if form == "lion":
            return xp.sign(m), MarsState(m, s.v, last)
        out, into = g.shape if layout == "out_in" else (g.shape[1], g.shape[0])
        d = orthogonalize(xp, m / (1.0 - beta1), [(3.4445, -4.7750, 2.0315)] * 5, epsilon + epsilon_hat)
        return max(1.0, out / into) ** 0.5 * d, MarsState(m, s.v, last)
    v = ema(beta2, s.v, c * c)
    bc1, bc2 = bias_correction(xp, beta1, t), bias_correction(xp, beta2, t)
    return m / bc1 / denominator(xp, v, bc2, epsilon, 0.0, epsilon_hat), MarsState(m, v, last)
