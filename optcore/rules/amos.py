"""Amos: Adam-like steps, with a weight decay that adapts so that leaves reach the size expected of a trained model."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Gt

from optcore.moments import ema
from optcore.rule import rule
from optcore.scalars import bias_correction, on
from optcore.typing import Array, Decay, Layout, Namespace, NonNegative, Scalar, Unit

Square = Annotated[float, Gt(0), Unit(g=2)]
Axes = Literal["all", "input", "none"]
Shape = Literal["none", "linear"]


class AmosState(NamedTuple):
    v: Array  #: EMA of the mean of g^2 over the reduced axes, which are kept; unit [g^2]
    b: Array  #: accumulated regularisation, which slows down step and decay, in the shape of v; unit [1]


def _reduced(xp: Namespace, x: Array, axes: Axes, layout: Layout | None) -> Array:
    """Return the mean of x over all axes, over those of the input, or over none, with the axes kept."""
    if axes == "none" or x.ndim == 0:
        return x + 0.0
    out = 0 if layout == "out_in" else x.ndim - 1
    every = tuple(i for i in range(x.ndim) if axes == "all" or i != out or x.ndim == 1)
    return xp.mean(x, axis=every, keepdims=True)


def _start(xp: Namespace, p: Array, *, axes: Axes = "all", layout: Layout | None = None) -> AmosState:
    zero = xp.zeros_like(p)
    return AmosState(_reduced(xp, zero, axes, layout), _reduced(xp, zero, axes, layout))


def _factor(shape: tuple[int, ...], layout: Layout | None) -> float:
    """Return the RMS expected of a linear layer's leaf: 1/2 for vectors, sqrt(2/in) for matrices, else sqrt(1/in)."""
    if len(shape) < 2:
        return 0.5
    into = shape[1] if layout == "out_in" else shape[-2]
    factor: float = ((2.0 if len(shape) == 2 else 1.0) / into) ** 0.5
    return factor


@rule(AmosState, family="adaptive", kind="leafwise", axes=True, owns="lr", init=_start)
def amos(
    xp: Namespace,
    p: Array,
    g: Array,
    s: AmosState,
    t: Scalar,
    *,
    lr: NonNegative = 1e-3,
    beta: Decay = 0.999,
    eta: Annotated[float, Ge(0), Unit(p=1)] = 1.0,
    shape: Shape = "linear",
    axes: Axes = "all",
    c: NonNegative = 0.25,
    d: Annotated[float, Ge(0), Unit(p=Fraction(-1, 2))] = 0.25,
    extra: NonNegative = 0.0,
    floor: Square = 2.0**-125,
    layout: Layout | None = None,
) -> tuple[Array, AmosState]:
    """``D_d (gamma p / 2 + lr scale g / sqrt(v) + extra p)``, where gamma and both decays D come from b.

    ``scale`` is the RMS that the trained leaf is expected to have: ``eta``, and with ``shape="linear"`` eta times the
    RMS expected of a linear layer's leaf of this shape. ``axes`` names the axes over which v and b are averaged.
    ``chain(amos, averaged_momentum)`` is Amos with momentum.
    Source: Tian & Parikh 2022, alg. 1 and jestimator's amos.py (c, d, the floor).
    """
    scale = eta * (_factor(p.shape, layout) if shape == "linear" else 1.0)
    square = _reduced(xp, g * g, axes, layout)
    v = ema(beta, s.v, square)
    over = bias_correction(xp, beta, t) / xp.maximum(v, floor)
    root = on(xp, lr).sqrt(lr)
    slower = 1.0 / xp.sqrt(1.0 + c * root * s.b)
    gamma = slower * (lr * lr) * (over * square)
    step = (0.5 * gamma + extra) * p + (lr * scale) * (xp.sqrt(over) * g)
    size = on(xp, lr, scale).sqrt(lr * scale)
    return step / (1.0 + (d * size) * s.b), AmosState(v, s.b + gamma * (1.0 + s.b))
