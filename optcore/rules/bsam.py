"""bSAM: sharpness-aware minimisation as variational learning, with a precision for each parameter."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt

from optcore.moments import ema
from optcore.rule import rule
from optcore.typing import Array, Decay, Namespace, Scalar, Unit

Precision = Annotated[float, Gt(0), Unit(g=1, p=-1)]


class BsamState(NamedTuple):
    m: Array  #: EMA of the gradient with the decay added, zero at the start; unit [g]
    s: Array  #: EMA of the precision divided by the number of data, s0 at the start; unit [g/p]
    noisy: Array  #: the gradient at the noisy point as the caller last wrote it, zero at the start; unit [g]


def _start(xp: Namespace, p: Array, *, s0: Precision = 1.0) -> BsamState:
    return BsamState(xp.zeros_like(p), xp.zeros_like(p) + s0, xp.zeros_like(p))


def noisy_point(p: Any, s: BsamState, z: Any, *, data: float, nat: float = 1.0) -> Any:
    """Return a draw from the posterior: ``p + z sqrt(nat / (N s))`` with standard normal z and N the number of data."""
    return p + z * (data / nat * s.s) ** -0.5


def perturbed_point(p: Any, s: BsamState, *, rho: float) -> Any:
    """Return ``p + rho g / s``, a point near p where the loss is high; g is the gradient at the noisy point."""
    return p + rho * (s.noisy / s.s)


@rule(BsamState, family="adaptive", init=_start, owns="decay", lr=0.5, title="BSAM")
def bsam(
    xp: Namespace,
    p: Array,
    g: Array,
    s: BsamState,
    t: Scalar,
    *,
    beta1: Decay = 0.9,
    beta2: Decay = 0.999,
    damping: Precision = 0.1,
    nat: Annotated[float, Gt(0), Unit(g=1, p=1)] = 1.0,
    delayed: bool = False,
    weight_decay: Annotated[float, Ge(0), Unit(g=1, p=-1)] = 1e-4,
) -> tuple[Array, BsamState]:
    """``m / s``: m the average of ``g + weight_decay p``, s that of ``sqrt(s) |g'| + weight_decay + damping``.

    A law receives one gradient. Here it is g, which the caller takes at ``perturbed_point(p, s, rho=...)``. Before the
    step the caller also writes g', the gradient at ``noisy_point(p, s, z, data=...)``, into the state:
    ``s = s._replace(noisy=...)``; with torch ``optimizer.state[p]["noisy"].copy_(...)`` after ``init_state()``, in
    optax ``state.leaves["noisy"]``, in :class:`optcore.backends.Optimizer` ``state.leaves[i].noisy``. Both points are
    functions of this module. With ``delayed`` the step uses the s of the previous step, as the authors' code does.
    ``nat`` is the unit of the loss, 1 for a log-likelihood.
    Source: Moellenhoff & Khan 2023, alg. 1; team-approx-bayes/bayesian-sam.
    """
    m = ema(beta1, s.m, g + weight_decay * p)
    size = xp.sqrt(s.s * (1.0 / nat)) * xp.abs(s.noisy)
    new = ema(beta2, s.s, size + (weight_decay + damping))
    return m / (s.s if delayed else new), BsamState(m, new, s.noisy)
