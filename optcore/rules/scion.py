"""Scion: steepest descent under a norm chosen for each leaf."""

from __future__ import annotations

from math import prod
from typing import Literal, NamedTuple

from optcore.matrix import orthogonalize
from optcore.moments import ema, rms
from optcore.norms import norm_along
from optcore.rule import rule
from optcore.typing import Array, Count, Decay, Epsilon, Layout, Namespace, Positive, Scalar


class ScionState(NamedTuple):
    m: Array  #: EMA of the gradient, zero at the start; unit [g]


@rule(ScionState, family="matrix", kind="leafwise", axes=True, lr=1e-3, decay="before")
def scion(
    xp: Namespace,
    p: Array,
    g: Array,
    s: ScionState,
    t: Scalar,
    *,
    beta: Decay = 0.9,
    norm: Literal["spectral", "sign", "row", "column"] = "spectral",
    scale: Positive = 1.0,
    normalize: bool = True,
    cap: bool = False,
    epsilon: Epsilon = 1e-8,
    epsilon_spectral: Epsilon = 1e-7,
    a: float = 3.4445,
    b: float = -4.7750,
    c: float = 2.0315,
    iterations: Count = 5,
    layout: Layout | None = None,
) -> tuple[Array, ScionState]:
    """The point of a norm's ball, of radius ``scale``, that has the largest inner product with the momentum.

    Norm "spectral" orthogonalizes the momentum, multiplies it by ``sqrt(out/in)`` (at least 1 with ``cap``) and divides
    it by the number of a kernel's positions. "sign" takes signs and divides by in. "row" scales the weights of each
    output to length ``1/sqrt(in)``, "column" those of each input to length ``sqrt(out)``. Without ``normalize`` in is
    taken as 1, except in "column". Leaves of fewer than two axes are scaled to RMS 1. The constrained form is
    ``weight_decay=1``: its step is ``(1 - lr) p - lr d``.
    Source: Pethick et al. 2025, alg. 1, 2 and table 2; their average of 0.1 new gradient.
    """
    m = ema(beta, s.m, g)
    n = m.shape
    if len(n) < 2:
        return scale * (m / (rms(xp, m) + epsilon)), ScionState(m)
    out_first = layout == "out_in"
    out, into, spots = (n[0], n[1], prod(n[2:])) if out_first else (n[-1], n[-2], prod(n[:-2]))
    x = xp.reshape(m, (out, into * spots) if out_first else (spots * into, out))
    if norm == "spectral":
        factor = ((out / into if normalize else out) ** 0.5) / spots
        d = orthogonalize(xp, x, [(a, b, c)] * iterations, epsilon_spectral)
        d = (max(1.0, factor) if cap else factor) * d
    elif norm == "sign":
        d = xp.sign(x) * (1.0 / (into * spots) if normalize else 1.0)
    else:
        over_inputs = norm == "row"
        size = norm_along(xp, x, 1 if over_inputs is out_first else 0)
        factor = out**-0.5 if not over_inputs else (into * spots) ** 0.5 if normalize else 1.0
        d = x / (size * factor + epsilon)
    return scale * xp.reshape(d, n), ScionState(m)
