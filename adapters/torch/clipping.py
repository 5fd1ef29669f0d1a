"""torch.nn.utils' clipping functions: they write into ``p.grad``, and the laws are optcore's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from optcore.backends.base import missing
from optcore.backends.clipping import clipped, held, measured, total_norm
from optcore.clipping import clip_by_global_norm, clip_by_value

try:
    import torch
except ImportError:
    raise missing("torch", "torch") from None

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]

EPSILON = 1e-6
"""The number that torch adds to the norm."""


@torch.no_grad()
def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Any:
    """The norm of all tensors taken as one vector; in float32 for float16 and bfloat16 ones.

    Raises RuntimeError for a NaN or infinite norm with ``error_if_nonfinite``. ``foreach`` changes nothing here.
    """
    del foreach
    given = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
    if not given:
        return torch.tensor(0.0, dtype=torch.float32)
    norm = total_norm(given, float(norm_type))
    if error_if_nonfinite and not bool(torch.isfinite(norm)):
        raise RuntimeError(
            f"The total norm of order {float(norm_type)} for gradients from `parameters` is non-finite, so it cannot "
            "be clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return norm


@torch.no_grad()
def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None) -> None:
    """Scale the gradients in place by ``min(1, max_norm / (total_norm + 1e-6))``."""
    del foreach
    limit = _limit("clip_grads_with_norm_", max_norm)
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    _write(grads, held(grads, total_norm, limit, EPSILON, donate=True))


@torch.no_grad()
def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:
    """Clip the gradients in place by the norm over all of them, and return what it was before.

    The norm of DTensors is over all their parts, and is an ordinary tensor, the same in each process.
    Raises ValueError for a negative or NaN ``max_norm``, with which torch turns the gradients round or spoils them.
    """
    limit, params = _limit("clip_grad_norm_", max_norm), _listed(parameters)
    grads = [p.grad for p in params if p.grad is not None]
    if error_if_nonfinite or not grads:  # nothing may be written before the norm is known
        norm = get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
        _write(grads, held(grads, norm, limit, EPSILON, donate=True))
        return norm
    new, norm = measured(grads, limit, float(norm_type), EPSILON, donate=True)
    _write(grads, new)
    return norm


@torch.no_grad()
def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Cut each element of the gradients in place to [-clip_value, clip_value]."""
    del foreach
    law = clip_by_value(limit=float(clip_value))
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    if any(map(torch.is_complex, grads)):
        raise TypeError("clip_grad_value_: a gradient is complex, which has no order; clip its norm")
    _write(grads, clipped(law, grads, donate=True))


def _limit(who: str, max_norm: Any) -> float:
    """The threshold as a number that the law takes; ValueError otherwise."""
    return clip_by_global_norm.hypers["max_norm"].check(who, float(max_norm))  # type: ignore[no-any-return]


def _listed(parameters: Iterable[Any] | torch.Tensor) -> list[Any]:
    return [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)


def _write(grads: list[Any], new: list[Any]) -> None:
    """Put the new gradients where the old ones are, but for those that a pass has put there."""
    for g, x in zip(grads, new, strict=True):
        if x is not g:
            g.copy_(x)
