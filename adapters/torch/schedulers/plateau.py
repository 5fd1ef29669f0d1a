"""torch's ReduceLROnPlateau, judged by ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from optcore.adapters.torch.schedulers.scheduler import put, refuse_own_schedule
from optcore.plateau import Plateau, PlateauState, number, reduce_on_plateau

__all__ = ["ReduceLROnPlateau"]

WHO = "ReduceLROnPlateau"
STATE = {
    "best", "cooldown", "cooldown_counter", "default_min_lr", "eps", "factor", "last_epoch", "min_lrs", "mode",
    "num_bad_epochs", "patience", "threshold", "threshold_mode",
}  # fmt: skip
"""The entries that a state must hold: the options and the counters."""


class ReduceLROnPlateau(torch.optim.lr_scheduler.ReduceLROnPlateau):
    """Multiply the rate of each group by ``factor`` when more than ``patience`` values in a row were no improvement.

    torch's class with its attributes and its state dict, so that checkpoints move in both directions. Call
    ``step(metrics)`` after each validation. The judgement is that of :mod:`optcore.plateau`.
    """

    def __init__(
        self,
        optimizer: Any,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        plateau = _plateau(mode, factor, patience, threshold, threshold_mode, cooldown)
        for floor in min_lr if isinstance(min_lr, list | tuple) else [min_lr]:
            number(WHO, "min_lr", floor)
        number(WHO, "eps", eps)
        floors: Any = list(min_lr) if isinstance(min_lr, tuple) else min_lr
        super().__init__(
            optimizer, mode, plateau.factor, plateau.patience, threshold, threshold_mode, plateau.cooldown, floors, eps
        )
        refuse_own_schedule(WHO, optimizer)

    def step(self, metrics: Any, epoch: int | None = None) -> None:  # type: ignore[override]
        """Judge one more value, and lower the rates where it was one bad value too many."""
        plateau = _plateau(self.mode, self.factor, self.patience, self.threshold, self.threshold_mode, self.cooldown)
        before = PlateauState(1.0, self.best, self.num_bad_epochs, self.cooldown_counter, 0.0, 0.0)
        after, due = plateau.judge(before, float(metrics))
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        groups = self.optimizer.param_groups
        if due:
            for group, floor in zip(groups, self._floors(len(groups)), strict=True):
                put(group, plateau.lowered(float(group["lr"]), floor=floor, smallest=self.eps))
            after = plateau.reduced(after)
        self.best, self.num_bad_epochs, self.cooldown_counter = after.best, int(after.bad), int(after.cooldown)
        self._last_lr = [g["lr"].clone() if torch.is_tensor(g["lr"]) else g["lr"] for g in groups]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over where another one was, ours or torch's, with its options; the rates are the optimizer's own state.

        Raises ValueError, before anything moves, for a state that is none of a plateau or has options out of range.
        """
        kept = set(self.__dict__) - {"optimizer"}
        if missing := sorted(STATE - set(state_dict)):
            raise ValueError(
                f"optcore.adapters.torch: {WHO}: a state with {sorted(state_dict)} lacks {missing} and is none of "
                f"{WHO}; give its state_dict()"
            )
        if unknown := sorted(set(state_dict) - kept - {"verbose"}):  # old versions of torch keep verbose
            raise ValueError(f"optcore.adapters.torch: {WHO}: {unknown} of the state mean nothing here; leave them out")
        _plateau(*(state_dict[k] for k in ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown")))
        floors, groups = state_dict["min_lrs"], len(self.optimizer.param_groups)
        if len(floors) != groups and state_dict["default_min_lr"] is None:
            raise ValueError(
                f"optcore.adapters.torch: {WHO}: min_lrs={floors!r} of the state is for {len(floors)} parameter "
                f"groups, and there are {groups}"
            )
        super().load_state_dict(dict(state_dict))

    def _floors(self, groups: int) -> list[float]:
        """The smallest rate of each group, of groups added since too."""
        if len(self.min_lrs) != groups:
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"optcore.adapters.torch: {WHO} has min_lr for {len(self.min_lrs)} parameter groups and there are "
                    f"{groups}; give min_lrs one for each group"
                )
            self.min_lrs = [self.default_min_lr] * groups
        return list(self.min_lrs)


def _plateau(mode: Any, factor: float, patience: int, threshold: float, threshold_mode: str, cooldown: int) -> Plateau:
    if threshold_mode not in ("rel", "abs"):
        raise ValueError(f"{WHO}: threshold_mode={threshold_mode!r} is no choice; give 'rel' or 'abs'")
    by = number(WHO, "threshold", threshold)
    better = {"rtol": by} if threshold_mode == "rel" else {"rtol": 0.0, "atol": by}
    return reduce_on_plateau(
        like="torch", mode=mode, factor=factor, patience=patience, cooldown=cooldown, **better
    )  # fmt: skip
