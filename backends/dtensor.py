"""torch's DTensors: leaves whose elements are spread over the processes of a device mesh."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor, Partial, Replicate

from optcore.backends.shards import Shards

__all__ = ["Spread", "spread"]


def spread(x: Any) -> Spread | None:
    """Return the placement of a DTensor, or None for an ordinary tensor."""
    return Spread(x) if isinstance(x, DTensor) else None


class Spread(Shards):
    """The device mesh and placements of a parameter; its gradient and its state are placed in the same way.

    Raises TypeError for a placement of ``Partial``: the values are then a sum over processes that is not taken yet.
    """

    def __init__(self, p: Any) -> None:
        self.mesh, self.placements = p.device_mesh, tuple(p.placements)
        self.shape, self.stride = tuple(p.shape), p.stride()
        if any(each.is_partial() for each in self.placements):
            raise TypeError(
                f"optcore: a tensor of shape {self.shape} is placed as {list(self.placements)}, a sum that is not "
                "taken yet; redistribute it to Replicate() or Shard(...) first"
            )
        self.everywhere = [Replicate()] * self.mesh.ndim

    def part(self, x: Any) -> Any:
        if tuple(x.shape) != self.shape:
            return self.whole(x)
        if not isinstance(x, DTensor):  # every process has the whole array: a state that was saved by a single process
            x = self.cut(x)
        elif tuple(x.placements) != self.placements:
            x = x.redistribute(placements=self.placements)
        return x.to_local()

    def whole(self, x: Any) -> Any:
        return x.full_tensor() if isinstance(x, DTensor) else x

    def total(self, x: Any, maximum: bool) -> Any:
        if maximum:  # a collective maximum may drop a NaN, a collective sum keeps it
            unknown = self._reduced(torch.isnan(x).to(x.dtype), "sum") > 0
            return torch.where(unknown, torch.nan, self._reduced(x, "max"))
        return self._reduced(x, "sum")

    def _reduced(self, x: Any, by: str) -> Any:
        places = [each if each.is_replicate() else Partial(by) for each in self.placements]
        return DTensor.from_local(x, self.mesh, places, run_check=False).full_tensor()

    def joined(self, part: Any) -> Any:
        return DTensor.from_local(
            part, self.mesh, self.placements, run_check=False, shape=torch.Size(self.shape), stride=self.stride
        )

    def cut(self, whole: Any) -> Any:
        everywhere = DTensor.from_local(whole, self.mesh, self.everywhere, run_check=False)
        return everywhere.redistribute(placements=self.placements)

    def index(self) -> Any:
        found: Any = 0
        for axis, n in enumerate(self.shape):
            along = torch.arange(n, device=self.mesh.device_type)
            along = along.reshape([n if i == axis else 1 for i in range(len(self.shape))]).expand(self.shape)
            found = found * n + self.cut(along).to_local()
        return found if self.shape else torch.zeros((), dtype=torch.int64, device=self.mesh.device_type)

    def check_gradient(self, who: str, g: Any, path: str) -> None:
        if not isinstance(g, DTensor) or g.device_mesh != self.mesh:
            what = f"is on the mesh {g.device_mesh}" if isinstance(g, DTensor) else f"is a {type(g).__name__}"
            raise TypeError(
                f"{who}: the gradient of {path!r} {what}, the parameter a DTensor on the mesh {self.mesh}; "
                "give it as a DTensor on the same mesh"
            )
