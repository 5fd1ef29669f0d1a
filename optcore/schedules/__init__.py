"""All schedules, such as ``optcore.schedules.cosine``: each is found because it is in a file of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optcore.registry import attributes
from optcore.schedule import Schedule

if TYPE_CHECKING:

    def __getattr__(name: str) -> Schedule: ...

else:
    __getattr__, __dir__ = attributes(__name__, "schedule", "schedule")
