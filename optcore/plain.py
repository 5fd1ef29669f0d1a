"""The plain form of rules and numbers, as a recipe's JSON has them: dictionaries, lists, numbers and switches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optcore import registry
from optcore.compose import Chain, Combined, chain
from optcore.hyper import unknown
from optcore.rule import Primitive, Rule
from optcore.schedule import Schedule

__all__ = ["numbers_of", "plain", "rule_of"]


def plain(value: Any) -> Any:
    """Rules and schedules as dictionaries, numbers and tables as they are."""
    if isinstance(value, Primitive):
        return {"name": value.name, **{k: plain(v) for k, v in value.bound.items()}}
    if isinstance(value, Chain):
        lead = {} if value.led is None else {"lead": value.led}
        return {"chain": [plain(p) for p in value.parts], **lead, **{k: plain(v) for k, v in value.bound.items()}}
    if isinstance(value, Combined):
        of = [plain(part) for part in value.parts]
        return {"name": value.name, "of": of, **{k: plain(v) for k, v in value.bound.items()}}
    if isinstance(value, Schedule):
        return {"schedule": value.name, **{k: plain(v) for k, v in value.bound.items()}}
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"Recipe: {value!r} of type {type(value).__name__} has no JSON form; give a number or a schedule")


def rule_of(data: Any, own: Mapping[str, Any]) -> Rule:
    """The rule of its plain form; ``own`` names rules, combinators and schedules that the library does not have."""
    if isinstance(data, str):
        data = {"name": data}
    if not isinstance(data, dict) or not ("name" in data) ^ ("chain" in data):
        raise ValueError(f'Recipe: {data!r} is no rule; give {{"name": ...}} or {{"chain": [...]}}')
    data = dict(data)
    if "chain" in data:
        links, lead = [rule_of(link, own) for link in data.pop("chain")], data.pop("lead", None)
        if lead is not None and (isinstance(lead, bool) or not isinstance(lead, int) or not 0 <= lead <= len(links)):
            raise ValueError(f"Recipe: lead={lead!r} of a chain of {len(links)} links; give how many of them clip")
        made = chain(*links) if lead is None else Chain(links, lead=lead)
        return made.bind(**numbers_of(data, own))
    name, of = data.pop("name"), data.pop("of", None)
    found = own[name] if name in own else registry.find(name)
    if of is not None:
        return found(*(rule_of(part, own) for part in of), **numbers_of(data, own))  # type: ignore[no-any-return]
    if not isinstance(found, Rule):
        raise ValueError(f'Recipe: {name} takes rules; give them as "of": [...]')
    return found.bind(**numbers_of(data, own))


def numbers_of(data: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters of their plain forms, schedules among them."""
    return {name: _number(value, own) for name, value in data.items()}


def _number(value: Any, own: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        data = dict(value)
        name = data.pop("schedule", None)
        known = {**registry.schedules(), **{k: v for k, v in own.items() if isinstance(v, Schedule)}}
        if name not in known:
            raise ValueError(unknown("Recipe", "schedule", str(name), known))
        return known[name](**numbers_of(data, own))
    return [_number(v, own) for v in value] if isinstance(value, list) else value
