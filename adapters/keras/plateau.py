"""Keras' ReduceLROnPlateau callback, judged by ours."""

from __future__ import annotations

import math
import warnings
from typing import Any

from optcore.backends.base import missing
from optcore.plateau import Plateau, PlateauState, number, reduce_on_plateau

try:
    import keras
except ImportError:
    raise missing("keras", "keras") from None

__all__ = ["ReduceLROnPlateau"]

WHO = "ReduceLROnPlateau"


class ReduceLROnPlateau(keras.callbacks.ReduceLROnPlateau):
    """Multiply the learning rate by ``factor`` when ``patience`` epochs in a row were no improvement of ``monitor``.

    Keras' callback with its arguments and attributes: ``best``, ``wait``, ``cooldown_counter``. The judgement is that
    of :mod:`optcore.plateau`.
    """

    best: Any
    wait: int
    cooldown_counter: int

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        **kwargs: Any,
    ) -> None:
        min_delta = abs(number(WHO, "min_delta", min_delta, -math.inf))
        _plateau("min", factor, patience, min_delta, cooldown)
        floor = number(WHO, "min_lr", min_lr)
        super().__init__(monitor, factor, patience, verbose, mode, min_delta, cooldown, floor, **kwargs)
        self._margin = min_delta

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Judge the epoch's value, and lower the rate of every optimizer where it was one bad value too many."""
        logs = logs if logs is not None else {}
        several = hasattr(self.model.optimizer, "optimizers")
        optimizers = self.model.optimizer.optimizers if several else [self.model.optimizer]
        for each in optimizers:
            logs[f"learning_rate_{each.name}" if several else "learning_rate"] = _rate(each)
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"Learning rate reduction is conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}.",
                stacklevel=2,
            )
            return
        plateau = _plateau(self._direction(), self.factor, self.patience, self._margin, self.cooldown)
        best = plateau.init().best if self.best is None else self.best
        before = PlateauState(1.0, best, self.wait, self.cooldown_counter, 0.0, 0.0)
        after, due = plateau.judge(before, float(current))
        if due:
            lowered = [self._lower(plateau, each, epoch, f" {each.name}" if several else "") for each in optimizers]
            after = plateau.reduced(after) if any(lowered) else after
        self.best, self.wait, self.cooldown_counter = after.best, int(after.bad), int(after.cooldown)

    def _direction(self) -> str:
        """Return "min" or "max" for better values; Keras knows its metrics' own, before 3.9 by "acc" in a name."""
        if self.mode in ("min", "max"):
            return str(self.mode)
        if not hasattr(self, "_set_monitor_op"):
            return "max" if "acc" in self.monitor else "min"
        if self.monitor_op is None:
            self._set_monitor_op()
        return "min" if self.monitor_op == keras.ops.less else "max"

    def _lower(self, plateau: Plateau, optimizer: Any, epoch: int, name: str) -> bool:
        """Lower an optimizer's rate; whether it has changed, in the precision in which Keras keeps it."""
        before = _rate(optimizer)
        rate = plateau.lowered(before, floor=self.min_lr)
        if rate == before:
            return False
        optimizer.learning_rate = rate
        if _rate(optimizer) == before:
            return False
        if self.verbose > 0:
            print(f"\nEpoch {epoch + 1}: {WHO} reducing{name} learning rate to {rate}.")
        return True


def _rate(optimizer: Any) -> float:
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def _plateau(mode: Any, factor: float, patience: int, min_delta: float, cooldown: int) -> Plateau:
    return reduce_on_plateau(
        like="keras", mode=mode, factor=factor, patience=patience, atol=min_delta, cooldown=cooldown
    )
