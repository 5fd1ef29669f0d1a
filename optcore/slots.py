"""Slots: the arrays that a state keeps for a leaf, by the rule's names and by a library's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from optcore.parts import Field
from optcore.rule import Rule
from optcore.typing import Unit

__all__ = ["Slot", "slots_of"]


@dataclass(frozen=True)
class Slot:
    """One array of a state: the rule's field, and the name under which a library keeps it."""

    field: Field
    name: str

    @property
    def shared(self) -> bool:
        """True if there is one value for the whole tree."""
        return self.field.shared

    @property
    def noise(self) -> bool:
        """True if it is drawn for each step and never kept."""
        return self.field.noise

    @property
    def unit(self) -> Unit | None:
        """The unit, in powers of the gradient's and the parameter's."""
        return self.field.unit


def slots_of(rule: Rule, names: Mapping[str, str]) -> tuple[Slot, ...]:
    """The slots of a rule in the order of its fields; ``names`` holds a library's where they differ from ours."""
    return tuple(Slot(f, names.get(f.name, f.name)) for f in rule.fields)
