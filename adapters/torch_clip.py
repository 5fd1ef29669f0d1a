"""torch.nn.utils' clipping functions: they write into ``p.grad``, and the laws are optcore's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from optcore.backends.base import missing
from optcore.clipping import clip_by_global_norm, clip_by_value
from optcore.clipping.trees import clipped, held, total_norm

try:
    import torch
except ImportError:
    raise missing("torch", "torch") from None

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]

EPSILON = 1e-6
"""What torch adds to the norm."""


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
        return torch.tensor(0.0)
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
    _write(parameters, lambda grads: held(grads, total_norm, limit, EPSILON, donate=True))


@torch.no_grad()
def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Any:
    """Clip the gradients in place by the norm over all of them, and return what it was before.

    Raises ValueError for a negative or NaN ``max_norm``, with which torch turns the gradients round or spoils them.
    """
    limit, params = _limit("clip_grad_norm_", max_norm), _listed(parameters)
    norm = get_total_norm([p.grad for p in params if p.grad is not None], norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(params, limit, norm, foreach)
    return norm


@torch.no_grad()
def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Cut each element of the gradients in place to [-clip_value, clip_value]."""
    del foreach
    law = clip_by_value(limit=float(clip_value))
    params = _listed(parameters)
    if any(p.grad is not None and p.grad.is_complex() for p in params):
        raise TypeError("clip_grad_value_: a gradient is complex, which has no order; clip its norm")
    _write(params, lambda grads: clipped(law, grads, donate=True))


def _limit(who: str, max_norm: Any) -> float:
    """The threshold as a number that the law takes; ValueError otherwise."""
    return clip_by_global_norm.hypers["max_norm"].check(who, float(max_norm))  # type: ignore[no-any-return]


def _listed(parameters: Iterable[Any] | torch.Tensor) -> list[Any]:
    return [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)


def _write(parameters: Any, change: Any) -> None:
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    for g, new in zip(grads, change(grads), strict=True):
        if new is not g:
            g.copy_(new)
