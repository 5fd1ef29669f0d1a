"""PyTorch tensors, on any device; DTensors too, since state is made by ``zeros_like`` alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from optcore.backends.base import Backend, missing

try:
    import torch
except ImportError:
    raise missing("torch", "torch") from None

import array_api_compat.torch as xp

PLAIN = (torch.Tensor, torch.nn.Parameter)
"""The types whose elements lie where ``data_ptr`` says; a subclass may keep them elsewhere."""


class TorchBackend(Backend):
    """PyTorch through array-api-compat, whose ``sign`` keeps NaN where ``torch.sign`` gives 0."""

    name = package = extra = "torch"
    native_layout = "out_in"

    def scalar(self, value: Any, like: Any) -> Any:
        return value.to(dtype=like.dtype, device=like.device)

    def cast(self, x: Any, dtype: str) -> Any:
        wanted = getattr(torch, dtype)
        return x if x.dtype is wanted else x.to(wanted)

    def address(self, x: Any) -> tuple[int, Any, bool] | None:
        if type(x) not in PLAIN or x.device.type != "cpu" or x.layout is not torch.strided:
            return None
        if x.is_conj() or x.is_neg():
            return None
        if x.is_contiguous():
            return x.data_ptr(), "C", True
        order = sorted(zip(x.stride(), x.shape, strict=True))
        dense, spacing = True, 1
        for stride, n in order:
            dense = dense and (n == 1 or stride == spacing)
            spacing *= n
        return (x.data_ptr(), tuple(x.stride()), True) if dense else None

    def threads(self) -> int:
        return int(torch.get_num_threads())

    def copy(self, x: Any) -> Any:
        return x.detach().clone()

    def pair(self, x: Any) -> Any:
        return torch.view_as_real(x.resolve_conj())

    def unpair(self, x: Any, dtype: str) -> Any:
        del dtype  # a pair of float64 is a complex128
        return torch.view_as_complex(x.contiguous())

    def array(self, values: Any, dtype: str) -> Any:
        return torch.tensor(values, dtype=getattr(torch, dtype))

    def numpy(self, x: Any) -> Any:
        low = self.dtype(x) in ("bfloat16", "float16")
        return (x.float() if low else x).detach().cpu().numpy()

    def without_gradient(self) -> AbstractContextManager[Any]:
        return torch.no_grad()

    def value_and_grad(self, f: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, Any]]:
        from optcore.backends.trees import flatten

        def run(tree: Any) -> tuple[Any, Any]:
            leaves, _, rebuild = flatten(tree)
            inputs = [leaf.detach().requires_grad_() for leaf in leaves]
            value = f(rebuild(inputs))
            grads = torch.autograd.grad(value, inputs, allow_unused=True)
            return value.detach(), rebuild(list(grads))

        return run


backend = TorchBackend(xp)
