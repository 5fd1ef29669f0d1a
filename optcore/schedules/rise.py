"""Schedules that rise before another one takes over."""

from __future__ import annotations

from typing import Any

from optcore.schedule import ScheduleOr, resolve, schedule
from optcore.typing import Count, UnitInterval


@schedule()
def warmup(xp: Any, e: Any, *, steps: Count, then: ScheduleOr, start: UnitInterval = 0.0) -> Any:
    """Rise in a line from ``start`` times the first value of ``then`` to that value, then follow it.

    At e < steps the value is ``(start + (1 - start) e / steps) * then(0)``, after that ``then(e - steps)``,
    as optax's linear_schedule joined with another.
    """
    rise = (start + (1.0 - start) * (e / steps)) * resolve(then, xp, 0)
    follow = resolve(then, xp, xp.maximum(e - steps, 0.0)) + 0.0 * e
    return xp.where(e < steps, rise, follow)
