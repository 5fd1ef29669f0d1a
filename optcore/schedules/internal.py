"""The internal decays of PowerSign and AddSign: schedules from 1 to 0, to be given as their ``strength``."""

from __future__ import annotations

import math
from typing import Any

from optcore.curves import turns
from optcore.schedule import schedule
from optcore.typing import Count, Positive, UnitInterval


@schedule()
def internal_linear(xp: Any, e: Any, *, steps: Count) -> Any:
    """``1 - e/steps``, and 0 from e = steps on. Source: Bello et al. 2017, sec. 4.2; get_linear_decay_fn."""
    return 1.0 - xp.minimum(e / steps, 1.0)


@schedule()
def internal_cosine(
    xp: Any, e: Any, *, steps: Count, periods: Positive = 0.5, zero_after: UnitInterval | None = None
) -> Any:
    """``(1 + cos(2 pi periods e/steps)) / 2``, which keeps its last value from e = steps on.

    If ``zero_after`` is given, the value is 0 from that half period on: where ``2 periods e/steps >= 2 zero_after``.
    Source: Bello et al. 2017, sec. 4.2; tensorflow.contrib.opt.get_cosine_decay_fn.
    """
    turn = periods * xp.minimum(e / steps, 1.0)
    value = 0.5 + 0.5 * xp.cos(2.0 * math.pi * turn)
    return value if zero_after is None else xp.where(turn >= zero_after, 0.0 * value, value)


@schedule()
def internal_restart(
    xp: Any, e: Any, *, steps: Count, periods: Count = 1, zero_after: UnitInterval | None = None
) -> Any:
    """``(1 + cos(pi f)) / 2`` with f the fractional part of ``periods e/steps``: it is 1 again at each restart.

    If ``zero_after`` is given, the value is 0 once ``periods e/steps >= zero_after``. As in the source it does not stop
    at e = steps.
    Source: Bello et al. 2017, sec. 4.2; tensorflow.contrib.opt.get_restart_decay_fn.
    """
    _, since = turns(xp, e, steps)
    _, rest = turns(xp, periods * since, steps)  # since < steps: periods * e may have more digits than float32 holds
    value = 0.5 + 0.5 * xp.cos(math.pi * (rest / steps))
    return value if zero_after is None else xp.where(periods * e / steps >= zero_after, 0.0 * value, value)
