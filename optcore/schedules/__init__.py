"""Every schedule, found by being in a file of this folder: ``optcore.schedules.cosine``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optcore.registry import attributes
from optcore.schedule import Schedule

if TYPE_CHECKING:

    def __getattr__(name: str) -> Schedule: ...

else:
    __getattr__, __dir__ = attributes(__name__, "schedule", "schedule")
