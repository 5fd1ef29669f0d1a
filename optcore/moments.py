"""The arithmetic that adaptive rules share: moving averages, the places of epsilon, ratios of norms."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from optcore.norms import largest, norm, root, squares
from optcore.scalars import SMALLEST, bias_correction, on, power, select
from optcore.typing import Namespace, Scalar

__all__ = [
    "cosine",
    "cube_root",
    "denominator",
    "ema",
    "freedom",
    "gathered",
    "global_rms",
    "grown",
    "peak",
    "rectification",
    "rms",
    "trust_ratio",
    "within",
]  # fmt: skip


def ema(beta: Scalar, old: Any, new: Any) -> Any:
    """Return ``beta * old + (1 - beta) * new``: one step of an exponential moving average."""
    return beta * old + (1.0 - beta) * new


def gathered(xp: Namespace, beta: Scalar, every: int, exact: bool, old: Any, new: Any, t: Scalar) -> Any:
    """Return one step of a moving average over groups of ``every`` values, which fades once for each group.

    It is ``[(beta - 1) chi + 1] old + (1 - beta) new / every``, where chi is 1 at the first value of a group and 0
    elsewhere: at the end of each group it equals the moving average of the groups' means. Without ``exact`` it is the
    plain moving average with ``1 - (1 - beta)/every``. Source: Su 2021 (kexue.fm 8634).
    """
    if not exact:
        return ema(1.0 - (1.0 - beta) / every, old, new)
    kept = select(xp, (t - 1) % every == 0, beta, 1.0)
    return kept * old + ((1.0 - beta) / every) * new


def denominator(xp: Namespace, v: Any, bc2: Scalar, epsilon: Scalar, epsilon_root: Scalar, epsilon_hat: Scalar) -> Any:
    """Return the root of a second moment, kept away from zero in up to three places.

    It is ``sqrt(v/bc2 + epsilon_root) + epsilon + epsilon_hat/sqrt(bc2)``: ``epsilon`` is added after the correction
    (Kingma & Ba alg. 1, torch, optax), ``epsilon_root`` inside the root, ``epsilon_hat`` to the uncorrected root
    (Kingma & Ba sec. 2, Keras), where the factor is ``sqrt(bc2) / (sqrt(v) + epsilon_hat)``.
    """
    return xp.sqrt(v / bc2 + epsilon_root) + (epsilon + epsilon_hat / on(xp, bc2).sqrt(bc2))


def rms(xp: Namespace, x: Any) -> Any:
    """Return the root mean square of a leaf, in the leaf's unit; 0 for an empty leaf."""
    size = 1
    for n in x.shape:
        size *= n
    return root(xp, *(part / max(size, 1) for part in squares(xp, x)))


def global_rms(xp: Namespace, x: Any) -> Generator[Any, Any, Any]:
    """Return the root mean square over all elements of all leaves; a law calls it by ``yield from``.

    It asks for one round of totals.
    """
    large, middle, small, count = yield (*squares(xp, x), xp.sum(xp.ones_like(x)))
    count = xp.maximum(count, 1.0)
    return root(xp, large / count, middle / count, small / count)


def trust_ratio(xp: Namespace, p: Any, d: Any) -> Any:
    """Return ``|p| / |d|`` with the norms of the leaf, or 1 if either norm is 0."""
    size, length = norm(xp, p), norm(xp, d)
    one = xp.ones_like(size)
    ratio = size / xp.where(length == 0, one, length)
    return xp.where(size == 0, one, xp.where(length == 0, one, ratio))


def peak(xp: Namespace, weight: Any, exponent: Any) -> Any:
    """Return the largest ``log(weight) + exponent`` of a leaf.

    If it is subtracted from the exponents, ``weight exp(exponent)`` is at most 1 and cannot overflow. Weights are pure
    numbers of at least 0: a weight of 0 is left out, one below the smallest normal float32 counts as that number.
    """
    given = xp.log(xp.maximum(weight, SMALLEST)) + exponent
    return largest(xp, xp.where(weight == 0, 0.0 * exponent - 2.0**100, given))


def cube_root(xp: Namespace, x: Any) -> Any:
    """Return the cube root of ``x >= 0``, to two units in the last place.

    Scaling x by 8^k scales the result by 2^k bit for bit; ``x ** (1/3)`` does not have this property, since a third is
    rounded. Exact multiplications bring x to [1, 8). There a chord, two steps of Halley's iteration and one of Newton's
    leave no error but rounding. Beyond 8^63 and 8^-63 the power is taken.
    """
    one = xp.ones_like(x)
    rest, scale = x, one
    for k in (32, 16, 8, 4, 2, 1):
        large, small = rest >= 8.0**k, rest < 8.0 ** (1 - k)
        scale = scale * xp.where(large, one * 2.0**k, xp.where(small, one * 2.0**-k, one))
        rest = rest * xp.where(large, one * 8.0**-k, xp.where(small, one * 8.0**k, one))
    y = 1.0 + (rest - 1.0) * (1.0 / 7.0)
    for _ in range(2):
        cube = y * y * y
        y = y * ((cube + 2.0 * rest) / (2.0 * cube + rest))
    y = scale * (y - (y * y * y - rest) / (3.0 * y * y))
    beyond = power(xp, xp.where(x == 0, one, x), 1.0 / 3.0)
    y = xp.where(rest < 1, beyond, xp.where(rest >= 8, beyond, y))
    return xp.where(x == 0, xp.zeros_like(x), y)


def grown(xp: Namespace, weight: Any, exponent: Any) -> Any:
    """Return ``weight exp(exponent)``; a weight of 0 stays 0, however large its exponent is."""
    return weight * xp.exp(xp.where(weight == 0, 0.0 * exponent, exponent))


def freedom(xp: Namespace, beta2: Scalar, t: Scalar) -> tuple[Scalar, Scalar]:
    """Return the degrees of freedom of a second moment at step t, and their limit. Source: Liu et al. 2020, eq. 5."""
    bc2, most = bias_correction(xp, beta2, t), 2.0 / (1.0 - beta2) - 1.0
    return most - 2.0 * t * (1.0 - bc2) / bc2, most


def rectification(xp: Namespace, r: Scalar, most: Scalar, holds: Any) -> Scalar:
    """Return ``sqrt((r-4)(r-2)R / ((R-4)(R-2)r))`` with R = most, or 1 where ``holds`` is false.

    Source: Liu et al. 2020, alg. 2.
    """
    r, most = select(xp, holds, r, 5.0), select(xp, holds, most, 5.0)
    square = (r - 4.0) / (most - 4.0) * ((r - 2.0) / (most - 2.0)) * (most / r)
    return on(xp, square).sqrt(square)  # type: ignore[no-any-return]


def within(xp: Namespace, x: Any, limit: Scalar) -> Any:
    """Return x with each element cut to [-limit, limit]; a NaN stays NaN."""
    return xp.maximum(xp.minimum(x, limit), -limit)


def cosine(xp: Namespace, aligned: Any, first: Any, second: Any) -> Any:
    """Return the cosine ``aligned / (first second)`` of two vectors from their inner product and their two lengths.

    It is 0 if a length is 0. The division is by one length at a time, so that their product cannot overflow.
    """
    one = xp.ones_like(aligned)
    return aligned / xp.where(first == 0, one, first) / xp.where(second == 0, one, second)
