"""The plain form of rules, as a recipe's JSON has them: dictionaries and lists of names, numbers and switches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optcore import registry, text
from optcore.compose import Chain, Combinator, Combined, chain
from optcore.rule import Primitive, Rule
from optcore.text import numbers_of

__all__ = ["plain", "rule_of"]


def plain(value: Any) -> Any:
    """Rules as dictionaries; schedules, numbers and tables as :func:`optcore.text.plain` has them."""
    if isinstance(value, Primitive):
        return {"name": value.name, **{k: text.plain(v) for k, v in value.bound.items()}}
    if isinstance(value, Chain):
        lead = {} if value.led is None else {"lead": value.led}
        return {"chain": [plain(p) for p in value.parts], **lead, **{k: text.plain(v) for k, v in value.bound.items()}}
    if isinstance(value, Combined):
        of = [plain(part) for part in value.parts]
        return {"name": value.name, "of": of, **{k: text.plain(v) for k, v in value.bound.items()}}
    return text.plain(value)


def rule_of(data: Any, own: Mapping[str, Any]) -> Rule:
    """The rule of its plain form; ``own`` names rules, combinators and schedules that the library does not have."""
    if isinstance(data, str):
        data = {"name": data}
    if not isinstance(data, dict) or not ("name" in data) ^ ("chain" in data):
        raise ValueError(f'Recipe: {data!r} is no rule; give {{"name": ...}} or {{"chain": [...]}}')
    data = dict(data)
    if "chain" in data:
        links, lead = _parts("chain", data.pop("chain"), own), data.pop("lead", None)
        if lead is not None and (isinstance(lead, bool) or not isinstance(lead, int) or not 0 <= lead <= len(links)):
            raise ValueError(f"Recipe: lead={lead!r} of a chain of {len(links)} links; give how many of them clip")
        made = chain(*links) if lead is None else Chain(links, lead=lead)
        return made.bind(**numbers_of(data, own))
    name, of = data.pop("name"), data.pop("of", None)
    if not isinstance(name, str):
        raise ValueError(f'Recipe: "name": {name!r} is of type {type(name).__name__}; give the name of a rule')
    found = own[name] if name in own else registry.find(name)
    if of is not None:
        if not isinstance(found, Combinator):
            raise ValueError(f'Recipe: {name} takes no rules; leave "of": {of!r} out')
        return found(*_parts("of", of, own), **numbers_of(data, own))
    if isinstance(found, Combinator):
        raise ValueError(f'Recipe: {name} takes rules; give them as "of": [...]')
    if not isinstance(found, Rule):
        raise ValueError(f"Recipe: {name} is of type {type(found).__name__}; give the name of a rule")
    return found.bind(**numbers_of(data, own))


def _parts(entry: str, parts: Any, own: Mapping[str, Any]) -> list[Rule]:
    if not isinstance(parts, list) or not parts:
        raise ValueError(f'Recipe: "{entry}": {parts!r} is no list of rules; give "{entry}": [...] with at least one')
    return [rule_of(part, own) for part in parts]
