"""Opaque steps: what a backend returned is checked by its own residual, and the bound restarts there.

Carried through, an error bound would be vacuous after three Newton-Schulz iterations, and eigenvectors have no
bound at all where eigenvalues are close. So the backend's run is recorded, its result is checked for what it
must satisfy, and the law goes on from it as exact input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from optcore import matrix
from optcore.backends.numpy import np
from optcore.matrix import Interpreter

if TYPE_CHECKING:
    from optcore.testing.bound import BoundNamespace

__all__ = ["Recorder", "check_step", "read"]

STABLE = 32.0
"""Backward errors of LAPACK's eigh and QR, in units of ``n u |A|``: far above what is seen, far below a fault."""


class Recorder(Interpreter):
    """A backend's namespace that keeps what went into each opaque step and what came out."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self.record: list[tuple[tuple[Any, ...], Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def opaque(self, step: Callable[..., Any], *arrays: Any) -> Any:
        result = step(self._xp, *arrays)
        self.record.append((arrays, result))
        return result


def read(record: Any, numpy: Callable[[Any], Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield what was recorded, inputs and result of each step, as NumPy arrays and numbers."""
    for arrays, result in record:
        yield tuple(x if isinstance(x, int | float) else numpy(x) for x in arrays), numpy(result)


def check_step(ns: BoundNamespace, step: Callable[..., Any], given: tuple[Any, ...], recorded: Any) -> Any:
    """Check one recorded step and return its result as exact; AssertionError where it does not hold."""
    inputs, result = recorded
    for mine, theirs in zip(given, inputs, strict=True):
        if hasattr(mine, "error") and not np.all(np.abs(mine.value - theirs) <= mine.error * (1 + 1e-9)):
            raise AssertionError(f"{step.__name__}: the backend's input lies outside the certified bound")
    check: Callable[..., str] = CHECKS.get(step.__name__, _bounded)
    problem = check(ns, step, inputs, result)
    if problem:
        raise AssertionError(f"{step.__name__}: {problem}")
    return result if np.issubdtype(np.asarray(result).dtype, np.integer) else ns.exact(result)


def _bounded(ns: BoundNamespace, step: Callable[..., Any], inputs: tuple[Any, ...], result: Any) -> str:
    """One step from exact input has a bound of its own."""
    fresh = type(ns)(ns.dtype, flushes=ns.flushes)
    want = step(fresh, *(x if isinstance(x, int | float) else fresh.exact(x) for x in inputs))
    far = np.abs(result - want.value) - want.error
    return f"off by {far.max():.2e} more than one step's bound" if np.any(far > 0) else ""


def _eigenbasis(ns: BoundNamespace, step: Any, inputs: tuple[Any, ...], basis: Any) -> str:
    a, q = np.asarray(inputs[0], dtype=np.float64), np.asarray(basis, dtype=np.float64)
    turned = q.T @ a @ q
    off = np.abs(turned - np.diag(np.diag(turned))).max(initial=0.0)
    room = STABLE * len(a) * ns.unit * np.linalg.norm(a) + ns.eta
    falls = np.diag(turned)
    if off > room or np.any(falls[1:] - falls[:-1] > room):
        return f"no eigenbasis in falling order: {off:.2e} off the diagonal, {room:.2e} is allowed"
    return _orthogonal(ns, q)


def _orthonormal(ns: BoundNamespace, step: Any, inputs: tuple[Any, ...], factor: Any) -> str:
    a, q = np.asarray(inputs[0], dtype=np.float64), np.asarray(factor, dtype=np.float64)
    below = np.abs(np.tril(q.T @ a, -1)).max(initial=0.0)
    room = STABLE * len(a) * ns.unit * np.linalg.norm(a) + ns.eta
    return f"{below:.2e} below the diagonal, {room:.2e} is allowed" if below > room else _orthogonal(ns, q)


def _orthogonal(ns: BoundNamespace, q: Any) -> str:
    off = np.abs(q.T @ q - np.eye(q.shape[1])).max(initial=0.0)
    room = STABLE * len(q) * ns.unit
    return f"{off:.2e} from orthogonal, {room:.2e} is allowed" if off > room else ""


def _inverse_root(ns: BoundNamespace, step: Any, inputs: tuple[Any, ...], result: Any) -> str:
    """``y^-root`` is ``x + shift I`` again.

    The eigenvalues carry a backward error of ``n u |A|``; the product that forms y carries ``n u |y|``, which its
    power makes ``root n u |A| cond(A)^(1/root)``. Where that is more than A nothing is left to check.
    """
    x, _, shift, root = (np.asarray(z, dtype=np.float64) for z in inputs)
    a, y = x + shift * np.eye(len(x)), np.asarray(result, dtype=np.float64)
    if not np.isfinite(a).all():
        return ""  # an overflow leaves nothing to check
    large, small = np.linalg.norm(a, 2), max(float(np.linalg.eigvalsh(a)[0]), float(shift))
    room = STABLE * len(a) * ns.unit * large * (1.0 + root * (large / small) ** (1.0 / root)) + ns.eta
    if room >= large:
        return ""
    values, vectors = np.linalg.eigh((y + y.T) / 2)
    if values[0] <= 0:
        return f"an inverse root with the eigenvalue {values[0]:.2e}"
    off = np.abs((vectors * values**-root) @ vectors.T - a).max()
    return f"{off:.2e} from an inverse root, {room:.2e} is allowed" if off > room else ""


def _over_triangle(ns: BoundNamespace, step: Any, inputs: tuple[Any, ...], result: Any) -> str:
    """Each row y of the result solves ``y q = x`` for a q that is off by ``n u |q|``."""
    x, q, y = (np.asarray(z, dtype=np.float64) for z in (*inputs, result))
    if not (np.isfinite(x).all() and np.isfinite(q).all()):
        return ""  # an overflow leaves nothing to check
    off = np.abs(y @ q - x).max(axis=1, initial=0.0)
    size = np.linalg.norm(q)
    room = STABLE * len(q) * (ns.unit * np.linalg.norm(y, axis=1) * size + ns.eta * (1.0 + size))
    return "" if np.all(off <= room) else f"{(off - room).max():.2e} further from a solution than is allowed"


def _spectral_floor(ns: BoundNamespace, step: Any, inputs: tuple[Any, ...], value: Any) -> str:
    a = np.asarray(inputs[0], dtype=np.float64)
    if not np.isfinite(a).all():
        return ""
    low, high = np.linalg.norm(a, axis=1).max(), np.linalg.norm(a, 2)
    room = STABLE * len(a) * (ns.unit * high + ns.eta)
    return "" if low - room <= value <= high + room else f"{value} does not lie between {low} and {high}"


def _descending(ns: BoundNamespace, step: Any, inputs: tuple[Any, ...], order: Any) -> str:
    x = np.asarray(inputs[0])
    if sorted(order.tolist()) != list(range(len(x))):
        return f"{order} is no permutation"
    return "" if np.all(np.diff(x[order]) <= 0) else f"{order} does not sort {x} from large to small"


CHECKS: dict[str, Callable[..., str]] = {
    matrix.eigenbasis.__name__: _eigenbasis,
    matrix.inverse_root.__name__: _inverse_root,
    matrix.orthonormal.__name__: _orthonormal,
    matrix.over_triangle.__name__: _over_triangle,
    matrix.spectral_floor.__name__: _spectral_floor,
    matrix.descending.__name__: _descending,
}
