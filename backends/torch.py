"""The backend of PyTorch tensors on any device, and of DTensors, which are spread over several processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from operator import attrgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from optcore.backends.base import Backend, missing

if TYPE_CHECKING:
    from optcore.backends.shards import Shards

try:
    import torch
except ImportError:
    raise missing("torch", "torch") from None

import array_api_compat.torch as standard


def _where(condition: Any, x: Any, y: Any, /) -> Any:
    """Return ``torch.where(condition, x, y)``, in float64 if x and y are both numbers.

    torch would make them a tensor of the default dtype, which loses digits; on "mps", without float64, it is float32.
    """
    if not torch.is_tensor(x) and not torch.is_tensor(y):
        exact = torch.float32 if condition.device.type == "mps" else torch.float64
        x = torch.full((), x, dtype=exact, device=condition.device)
    return standard.where(condition, x, y)


xp = SimpleNamespace(**{**{name: getattr(standard, name) for name in dir(standard)}, "where": _where})
"""PyTorch as an Array API namespace."""
PLAIN = (torch.Tensor, torch.nn.Parameter)
"""The types whose elements lie at ``data_ptr()``; a subclass may store them elsewhere."""

layout_of, on_cpu, recorded = attrgetter("layout"), attrgetter("is_cpu"), attrgetter("requires_grad")


class TorchBackend(Backend):
    """The backend of PyTorch, with array-api-compat for its namespace: its ``sign`` keeps a NaN, torch's gives 0."""

    name = package = extra = "torch"
    native_layout = "out_in"
    devices = True

    def scalar(self, value: Any, like: Any) -> Any:
        return value.to(dtype=like.dtype, device=like.device)

    def cast(self, x: Any, dtype: str) -> Any:
        wanted = getattr(torch, dtype)
        return x if x.dtype is wanted else x.to(wanted)

    def address(self, x: Any) -> tuple[int, Any, bool] | None:
        if type(x) not in PLAIN or x.layout is not torch.strided or x.is_conj() or x.is_neg():
            return None
        if x.is_cuda:
            return _on_device(x)
        if not x.is_cpu:
            return None
        if x.is_contiguous():
            return x.data_ptr(), "C", not x.is_inference()
        order = _dense(x)
        return None if order is None else (x.data_ptr(), order, not x.is_inference())

    def addresses(self, arrays: Sequence[Any]) -> list[int] | None:
        tensor = torch.Tensor
        if not (
            set(map(type, arrays)) <= {*PLAIN}
            and set(map(layout_of, arrays)) == {torch.strided}
            and all(map(on_cpu, arrays))
            and all(map(tensor.is_contiguous, arrays))
            and not any(map(tensor.is_neg, arrays))
            and not any(map(tensor.is_inference, arrays))
        ):
            return None
        try:
            return list(map(tensor.data_ptr, arrays))
        except RuntimeError:  # a tensor without memory of its own
            return None

    def unwatched(self, arrays: Sequence[Any] = ()) -> bool:
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
            return False
        return not (torch.is_grad_enabled() and any(map(recorded, arrays)))

    def written(self, arrays: Sequence[Any]) -> None:
        torch.autograd.graph.increment_version(tuple(arrays))

    def threads(self) -> int:
        return int(torch.get_num_threads())

    def shards(self, x: Any) -> Shards | None:
        if type(x) in PLAIN or "torch.distributed.tensor" not in sys.modules:
            return None
        from optcore.backends.dtensor import spread

        return spread(x)

    def piece(self, x: Any) -> str | None:
        """Return the name of FullyShardedDataParallel for a leaf that it flattened; one with its own axes is whole."""
        cut = getattr(x, "_is_flat_param", False) or (x.ndim == 1 and getattr(x, "_fsdp_flattened", False))
        return "torch.distributed.fsdp.FullyShardedDataParallel" if cut else None

    def index(self, like: Any) -> Any:
        shards = self.shards(like)
        return super().index(like) if shards is None else shards.index()

    def copy(self, x: Any) -> Any:
        return x.detach().clone()

    def pair(self, x: Any) -> Any:
        return torch.view_as_real(x.resolve_conj())

    def unpair(self, x: Any, dtype: str) -> Any:
        del dtype  # a pair of float64 is a complex128
        return torch.view_as_complex(x.contiguous())

    def power_of_two(self, x: Any) -> Any:
        return (x.view(torch.int32) & 0x7F800000).view(torch.float32)

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


def _dense(x: Any) -> tuple[int, ...] | None:
    """Return the strides of a tensor whose elements have no gaps between them in memory; None for any other tensor."""
    dense, spacing = True, 1
    for stride, n in sorted(zip(x.stride(), x.shape, strict=True)):
        dense = dense and (n == 1 or stride == spacing)
        spacing *= n
    return tuple(x.stride()) if dense else None


def _on_device(x: Any) -> tuple[int, Any, bool] | None:
    """Return the address of a CUDA tensor; None if kernels cannot be launched on its device or it has gaps."""
    from optcore.backends.fused.running.device import Order

    order, runner = "C" if x.is_contiguous() else _dense(x), _device(x.device.index)
    return None if order is None or runner is None else (x.data_ptr(), Order(order, runner), True)


@lru_cache
def _device(index: int) -> Any:
    from optcore.backends.fused.running.device import Device

    return Device.at(lambda: TorchMemory(index))


class TorchMemory:
    """torch's memory and current stream on one CUDA device, by the protocol ``DeviceMemory``."""

    def __init__(self, index: int) -> None:
        self.device = torch.device("cuda", index)

    @property
    def capability(self) -> int:
        major, minor = torch.cuda.get_device_capability(self.device)
        return 10 * major + minor

    def current(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self.device)

    def stream(self) -> int:
        return int(torch.cuda.current_stream(self.device).cuda_stream)

    def upload(self, values: Any) -> tuple[int, Any]:
        made = torch.from_numpy(values).to(self.device, non_blocking=True)  # the values are staged before this returns
        return made.data_ptr(), made

    def empty(self, numbers: int) -> tuple[int, Any]:
        made = torch.empty(numbers, dtype=torch.float64, device=self.device)
        return made.data_ptr(), made

    def download(self, owner: Any) -> Any:
        return owner.cpu().numpy()


backend = TorchBackend(xp)
