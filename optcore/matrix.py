"""Matrix functions of the laws, each step marked as one the proof checks by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Any

from optcore.norms import norm
from optcore.typing import Namespace

__all__ = ["Interpreter", "eigenbasis", "newton_schulz", "opaque", "orthogonalize", "orthonormal", "sorted_basis"]


class Interpreter(ABC):
    """A namespace that watches a law run, and wants to see opaque steps whole."""

    @abstractmethod
    def opaque(self, step: Callable[..., Any], *arrays: Any) -> Any:
        """Run one opaque step."""


def opaque(step: Callable[..., Any]) -> Callable[..., Any]:
    """Mark ``step(xp, x, ...)`` as one whose error bound restarts from what the backend returned.

    Carried through an iteration, a bound would be vacuous after three rounds.
    """

    @wraps(step)
    def run(xp: Any, *arrays: Any) -> Any:
        if isinstance(xp, Interpreter):
            return xp.opaque(step, *arrays)
        return step(xp, *arrays)

    return run


@opaque
def newton_schulz(xp: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """One iteration ``a x + (b A + c A A) x`` with ``A = x x^T``: each singular value s becomes a s + b s^3 + c s^5."""
    gram = x @ xp.matrix_transpose(x)
    return a * x + (b * gram + c * (gram @ gram)) @ x


def orthogonalize(
    xp: Namespace, m: Any, epsilon: Any, floor: Any, coefficients: tuple[Any, Any, Any], iterations: int
) -> Any:
    """Push the singular values of a matrix towards 1 by Newton-Schulz iterations.

    ``m / max(|m| + epsilon, floor)`` comes first. With Keller Jordan's coefficients and five iterations the
    result's singular values lie in [0.68, 1.14] where they were in [0.02, 1] of the norm; it is not orthogonal
    to working precision. Source: Jordan et al. 2024.
    """
    tall = m.shape[0] > m.shape[1]
    x = xp.matrix_transpose(m) if tall else m
    x = x / xp.maximum(norm(xp, x) + epsilon, floor)
    for _ in range(iterations):
        x = newton_schulz(xp, x, *coefficients)
    return xp.matrix_transpose(x) if tall else x


@opaque
def eigenbasis(xp: Namespace, x: Any) -> Any:
    """The eigenvectors of a symmetric matrix as columns, largest eigenvalue first."""
    return xp.flip(xp.linalg.eigh(x)[1], axis=1)


@opaque
def orthonormal(xp: Namespace, x: Any) -> Any:
    """The orthogonal factor of a square matrix."""
    return xp.linalg.qr(x)[0]


def sorted_basis(xp: Namespace, x: Any, basis: Any) -> tuple[Any, Any]:
    """One orthogonal iteration: the order of the basis by the matrix, and the basis it leads to.

    ``order`` sorts the Rayleigh quotients of the columns from large to small.
    """
    order = descending(xp, xp.sum(basis * (x @ basis), axis=0))
    return order, orthonormal(xp, x @ xp.take(basis, order, axis=1))


@opaque
def descending(xp: Namespace, x: Any) -> Any:
    """The indices that sort a vector from large to small."""
    return xp.argsort(x, descending=True)
