"""Matrix functions for laws. The proof checks each step that is marked ``@opaque`` by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import wraps
from math import prod
from typing import Any, Literal, TypeAlias

from optcore.norms import norm
from optcore.typing import Namespace

__all__ = [
    "Interpreter", "Preconditioning", "axes_of", "eigenbasis", "folded", "identity", "inverse_root", "newton_schulz",
    "opaque", "orthogonalize", "orthonormal", "over_triangle", "sorted_basis", "spectral_floor", "spectral_norm",
    "unfolded",
]  # fmt: skip

Preconditioning: TypeAlias = Literal["frobenius", "spectral", "aol", "schatten"]
"""The name of the size by which a matrix is divided before the first Newton-Schulz iteration."""


class Interpreter(ABC):
    """A namespace that follows a law through its operations, and must be given an opaque step as a whole."""

    @abstractmethod
    def opaque(self, step: Callable[..., Any], *arrays: Any) -> Any:
        """Run one opaque step on these arrays, and return its result."""


def opaque(step: Callable[..., Any]) -> Callable[..., Any]:
    """Mark ``step(xp, x, ...)`` as opaque: the certified error bound restarts from the result of the backend.

    A bound that is carried through the iterations of a matrix function is so wide after three of them that it says
    nothing.
    """

    @wraps(step)
    def run(xp: Any, *arrays: Any) -> Any:
        if isinstance(xp, Interpreter):
            return xp.opaque(step, *arrays)
        return step(xp, *arrays)

    return run


@opaque
def newton_schulz(xp: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a x + (b A + c A A) x`` with ``A = x x^T``: each singular value s becomes a s + b s^3 + c s^5."""
    gram = x @ xp.matrix_transpose(x)
    return a * x + (b * gram + c * (gram @ gram)) @ x


def orthogonalize(
    xp: Namespace,
    m: Any,
    polynomials: Sequence[tuple[Any, Any, Any]],
    epsilon: Any,
    floor: Any = 0.0,
    preconditioning: Preconditioning = "frobenius",
    gram_floor: Any = 0.0,
) -> Any:
    """Push the singular values of a matrix towards 1, by one Newton-Schulz iteration for each polynomial.

    ``preconditioning`` names the division before the first iteration. With "frobenius" or "spectral" it is
    ``m / max(|m| + epsilon, floor)`` with that norm. The other two are of the gram matrix ``A = m m^T`` of the shorter
    side: "aol" divides each row by the root of the sum of absolute values in its row of A (Boissin et al. 2025),
    "schatten" divides by the root of the Frobenius norm of A (Grishina et al. 2025); both keep the square under the
    root above ``gram_floor``. With Keller Jordan's coefficients and five iterations, singular values that were in
    [0.02, 1] of the norm lie in [0.68, 1.14] in the result; it is not orthogonal to working precision.
    Source: Jordan et al. 2024.
    """
    tall = m.shape[0] > m.shape[1]
    x = xp.matrix_transpose(m) if tall else m
    if preconditioning in ("aol", "schatten"):
        gram = x @ xp.matrix_transpose(x)
        square = xp.sum(xp.abs(gram), axis=1, keepdims=True) if preconditioning == "aol" else norm(xp, gram)
        x = x / xp.sqrt(xp.maximum(square, gram_floor))
    else:
        size = spectral_norm(xp, x) if preconditioning == "spectral" else norm(xp, x)
        x = x / xp.maximum(size + epsilon, floor)
    for coefficients in polynomials:
        x = newton_schulz(xp, x, *coefficients)
    return xp.matrix_transpose(x) if tall else x


def spectral_norm(xp: Namespace, x: Any) -> Any:
    """Return the largest singular value of x: the length of ``x^T u`` with u the first eigenvector of ``x x^T``."""
    top = eigenbasis(xp, x @ xp.matrix_transpose(x))[:, :1]
    return norm(xp, xp.matrix_transpose(x) @ top)


@opaque
def eigenbasis(xp: Namespace, x: Any) -> Any:
    """Return the eigenvectors of a symmetric matrix as columns, that of the largest eigenvalue first."""
    return xp.flip(xp.linalg.eigh(x)[1], axis=1)


@opaque
def inverse_root(xp: Any, x: Any, basis: Any, shift: Any, root: int) -> Any:
    """Return ``(x + shift I)^(-1/root)`` of a symmetric matrix without negative eigenvalues, given its eigenbasis.

    Eigenvalues that rounding has made negative count as 0.
    """
    values = xp.maximum(xp.sum(basis * (x @ basis), axis=0), 0.0) + shift
    return (basis * values ** (-1.0 / root)) @ xp.matrix_transpose(basis)


@opaque
def orthonormal(xp: Namespace, x: Any) -> Any:
    """Return the orthogonal factor Q of the QR decomposition of a square matrix."""
    return xp.linalg.qr(x)[0]


def sorted_basis(xp: Namespace, x: Any, basis: Any) -> tuple[Any, Any]:
    """Run one orthogonal iteration of ``basis`` towards the eigenvectors of x; return ``order`` and the new basis.

    ``order`` holds the indices that sort the Rayleigh quotients of the old basis' columns from large to small; the
    columns of the new basis are in that order.
    """
    order = descending(xp, xp.sum(basis * (x @ basis), axis=0))
    return order, orthonormal(xp, x @ xp.take(basis, order, axis=1))


@opaque
def over_triangle(xp: Namespace, x: Any, q: Any) -> Any:
    """Return ``x inv(q)`` for an upper triangular q, by the general solver: no other is in all libraries."""
    return xp.matrix_transpose(xp.linalg.solve(xp.matrix_transpose(q), xp.matrix_transpose(x)))


@opaque
def spectral_floor(xp: Namespace, x: Any) -> Any:
    """Return a lower bound for the largest eigenvalue of a symmetric matrix A without negative eigenvalues.

    It is ``|A^3 e| / |A^2 e|``, which two steps of the power iteration give from the unit vector e of the longest row;
    it is at least the length of that row. Source: Li 2022, norm_lower_bound of lixilinx/psgd_torch.
    """
    top: Any = xp.max(xp.abs(x))
    a = x / xp.where(top == 0, xp.ones_like(top), top)
    row = a @ xp.take(a, xp.argsort(xp.sum(a * a, axis=1), descending=True)[:1], axis=1)
    size = norm(xp, row)
    return top * norm(xp, a @ (row / xp.where(size == 0, xp.ones_like(size), size)))


def identity(xp: Namespace, x: Any) -> Any:
    """Return the identity matrix of the shape of a square matrix."""
    upper = xp.triu(xp.ones_like(x))
    return upper * xp.matrix_transpose(upper)


def axes_of(x: Any, most: int) -> tuple[int, ...]:
    """Return the shape of a leaf with at least one and at most ``most`` axes; further axes are merged into the last."""
    n = tuple(x.shape)
    return (*n[: most - 1], prod(n[most - 1 :])) if len(n) > most else n or (1,)


def unfolded(xp: Namespace, x: Any, axis: int) -> Any:
    """Return a tensor as a matrix whose rows are the tensor's slices along one axis."""
    n = x.shape
    rest = tuple(i for i in range(len(n)) if i != axis)
    return xp.reshape(xp.permute_dims(x, (axis, *rest)), (n[axis], prod(n[i] for i in rest)))


def folded(xp: Namespace, x: Any, n: tuple[int, ...], axis: int) -> Any:
    """Return the tensor of shape n whose matrix along ``axis`` is x: the inverse of :func:`unfolded`."""
    order = (axis, *(i for i in range(len(n)) if i != axis))
    back = tuple(sorted(range(len(n)), key=lambda i: order[i]))
    return xp.permute_dims(xp.reshape(x, tuple(n[i] for i in order)), back)


@opaque
def descending(xp: Namespace, x: Any) -> Any:
    """Return the indices that sort a vector from large to small."""
    return xp.argsort(x, descending=True)
