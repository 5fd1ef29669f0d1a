"""An optimizer as plain data, which every adapter turns into its framework's native object."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

from optcore import registry
from optcore.compose import Chain, Combined, chain
from optcore.hyper import check_all, unknown
from optcore.rule import EMPTY, Primitive, Rule
from optcore.schedule import Schedule
from optcore.typing import Layout

__all__ = ["Recipe"]

FORMAT = 1
"""The version of the JSON form; a reader refuses what it does not know."""


@dataclass(frozen=True, init=False, repr=False)
class Recipe:
    """A rule or chain with everything that a training run must repeat; frozen, compared by value.

    Parameters
    ----------
    rule
        A rule, bound or not, or its name.
    clip
        Clipping laws or their names, applied to the gradient in this order before the rule and a coupled decay.
    no_decay
        A regular expression or several; a leaf whose path matches one of them is not decayed.
    layout
        Which axis of a matrix is the output, for rules that tell axes apart; None takes the
        framework's own. Regular expressions may be given their own: ``{"embed": "in_out"}``.
    leaves
        Numbers and switches of single leaves: ``{"bias$": {"weight_decay": 0.0}}`` by regular expressions on the
        leaf's path; of several that match, the last one wins.
    accumulate
        The number of micro-steps whose mean gradient makes one update; a schedule of it, by the update and rounded to
        the nearest whole number, lets the batch grow.
    average
        The decay of a moving average of the parameters, kept beside them; None keeps none.
    on_nonfinite
        ``"propagate"`` as the law has it, or ``"skip"`` to leave everything unchanged by a step
        with a NaN or infinite gradient anywhere.
    state_dtype
        ``"compute"`` keeps the state of float16 and bfloat16 leaves in float32; ``"param"`` in the
        leaf's dtype.
    rounding
        How the new parameter of a float16 or bfloat16 leaf is rounded: to ``"nearest"``, where steps below half its
        spacing are lost, or ``"stochastic"``, up or down by chance so that it moves by the step on average.
    seed
        Of that chance, with the leaf's path, its count of updates and the element's index: the same everywhere.
    **hyper
        Hyper-parameters of the rule, with ``lr``, ``weight_decay`` and ``decay`` (where it enters).

    Raises
    ------
    TypeError, ValueError
        For an unknown rule or hyper-parameter, with the nearest names, and for values out of range.

    """

    rule: Rule
    no_decay: tuple[str, ...] = ()
    layout: Layout | Mapping[str, Layout] | None = None
    leaves: Mapping[str, Mapping[str, Any]] | None = None
    accumulate: int | Schedule = 1
    average: float | None = None
    on_nonfinite: Literal["propagate", "skip"] = "propagate"
    state_dtype: Literal["compute", "param"] = "compute"
    rounding: Literal["nearest", "stochastic"] = "nearest"
    seed: int = 0

    def __init__(
        self,
        rule: Rule | str,
        *,
        clip: Rule | str | Sequence[Rule | str] | None = (),
        no_decay: str | tuple[str, ...] | list[str] = (),
        layout: Layout | Mapping[str, Layout] | None = None,
        leaves: Mapping[str, Mapping[str, Any]] | None = None,
        accumulate: int | Schedule = 1,
        average: float | None = None,
        on_nonfinite: Literal["propagate", "skip"] = "propagate",
        state_dtype: Literal["compute", "param"] = "compute",
        rounding: Literal["nearest", "stochastic"] = "nearest",
        seed: int = 0,
        **hyper: Any,
    ) -> None:
        if isinstance(rule, str):
            rule = registry.find(rule)
        if not isinstance(rule, Rule):
            raise TypeError(f"Recipe: rule={rule!r} is of type {type(rule).__name__}; give a rule or its name")
        clips = _clips(clip)
        rule = chain(*clips, rule.bind(**hyper)) if clips else rule.bind(**hyper)
        rule.complete()
        place = getattr(rule, "bound", EMPTY).get("decay")
        if "decay" in rule.owns and place is not None:
            raise ValueError(
                f"Recipe: decay={place!r} has no effect, since {rule.name} puts its decay where its own law has it; "
                "leave decay out"
            )

        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("rule", rule)
        put(
            "no_decay",
            tuple(_regex("no_decay", pattern) for pattern in ((no_decay,) if isinstance(no_decay, str) else no_decay)),
        )
        put("layout", _layout(layout))
        put("leaves", _leaves(rule, leaves) if leaves else None)
        put("accumulate", _count(accumulate))
        number = isinstance(average, int | float) and not isinstance(average, bool)
        if average is not None and not (number and 0 <= average < 1):
            raise ValueError(f"Recipe: average={average!r} is out of range; give None or a number in [0, 1)")
        put("average", average)
        put("on_nonfinite", _choice("on_nonfinite", on_nonfinite, ("propagate", "skip")))
        put("state_dtype", _choice("state_dtype", state_dtype, ("compute", "param")))
        put("rounding", _choice("rounding", rounding, ("nearest", "stochastic")))
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"Recipe: seed={seed!r} is no seed; give a whole number from 0 to 2^32 - 1")
        put("seed", seed)

    @property
    def gathers(self) -> bool:
        """Whether gradients of several micro-steps make one update."""
        return self.accumulate != 1

    @property
    def values(self) -> dict[str, Any]:
        """Every hyper-parameter: numbers, switches and schedules."""
        return self.rule.values()

    def at(self, step: Any) -> dict[str, Any]:
        """Every hyper-parameter as update ``step`` has it, counted from 0, with ``accumulate``: schedules as numbers.

        ``recipe.at(state.step)["lr"]`` is the rate of the next update of an Optimizer, ``state.count`` of optax.
        """
        values = {**self.values, "accumulate": self.accumulate}
        return {name: value(step) if isinstance(value, Schedule) else value for name, value in values.items()}

    def replace(self, **changes: Any) -> Recipe:
        """The same recipe with other options or hyper-parameters; ``clip`` takes the place of all it clips by."""
        options = {name: getattr(self, name) for name in OPTIONS}
        options |= {name: changes.pop(name) for name in tuple(changes) if name in OPTIONS}
        rule = changes.pop("rule", self.rule)
        if "clip" in changes and isinstance(rule, Chain):
            rule = chain(*rule.parts[rule.lead :]).bind(**rule.bound)
        return Recipe(rule, **options, **changes)

    def decays(self, path: str) -> bool:
        """Whether the leaf at this path is decayed."""
        return not any(re.search(pattern, path) for pattern in self.no_decay)

    def layout_of(self, path: str, native: Layout) -> Layout:
        """The layout of the leaf at this path, where the framework's own is ``native``."""
        if isinstance(self.layout, Mapping):
            return next((v for k, v in self.layout.items() if re.search(k, path)), native)
        return self.layout or native

    def own(self, path: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The numbers and switches that the leaf at this path has for itself.

        The rule's own classes of names come first and give way to ``leaves``, and to all that is bound to something
        else than its default; ``values`` holds what is bound, where it is not the recipe's.
        """
        found = _named(self.rule, path, values)
        for pattern, hyper in (self.leaves or EMPTY).items():
            if re.search(pattern, path):
                found |= hyper
        return found

    def to_json(self, *, indent: int | None = 2) -> str:
        """The recipe as JSON text; ``from_json`` gives an equal recipe."""
        options = {
            f.name: _plain(getattr(self, f.name))
            for f in fields(self)
            if f.name in OPTIONS and getattr(self, f.name) != f.default
        }
        return json.dumps({"optcore": FORMAT, "rule": _plain(self.rule), **options}, indent=indent)

    @classmethod
    def from_json(cls, text: str, *, rules: Mapping[str, Any] | None = None) -> Recipe:
        """Read what :meth:`to_json` wrote.

        ``rules`` names rules, combinators and schedules of your own. Raises ValueError for text that is
        no recipe, and the constructor's errors for its contents.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"Recipe: the text is no JSON, {error}; give what to_json wrote") from None
        if not isinstance(data, dict) or data.pop("optcore", None) != FORMAT or "rule" not in data:
            raise ValueError(f'Recipe: no recipe of format {FORMAT}; the text must hold "optcore": {FORMAT} and "rule"')
        known = {"rule", *OPTIONS}
        for name in data:
            if name not in known:
                raise ValueError(unknown("Recipe", "entry", name, known))
        own = rules or {}
        if isinstance(data.get("accumulate"), dict):
            data["accumulate"] = _number(data["accumulate"], own)
        return cls(_rule(data.pop("rule"), own), **data)

    def __reduce__(self) -> tuple[Any, ...]:
        options = {name: _json(getattr(self, name)) for name in OPTIONS}
        return _rebuilt, (self.rule, options)

    def __deepcopy__(self, memo: Any) -> Recipe:
        return self

    def __hash__(self) -> int:
        layout = tuple(self.layout.items()) if isinstance(self.layout, Mapping) else self.layout
        return hash((tuple(self.leaves or ()), self.rule, self.no_decay, layout, self.accumulate, self.average))

    def __repr__(self) -> str:
        options = "".join(
            f", {f.name}={_json(getattr(self, f.name))!r}"
            for f in fields(self)
            if f.name in OPTIONS and getattr(self, f.name) != f.default
        )
        return f"Recipe({self.rule!r}{options})"


def _named(rule: Rule, path: str, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the rule declares for leaves of this name, where nobody chose something else than the default."""
    if not rule.names:
        return {}
    found: dict[str, Any] = {}
    for pattern, given in rule.names.items():
        if re.search(pattern, path):
            found |= given
    values = rule.values() if values is None else values
    return {name: x for name, x in found.items() if values[name] == rule.hypers[name].default}


OPTIONS = ("no_decay", "layout", "leaves", "accumulate", "average", "on_nonfinite", "state_dtype", "rounding", "seed")


def _rebuilt(rule: Rule, options: Mapping[str, Any]) -> Recipe:
    """What a pickle keeps."""
    return Recipe(rule, **options)


def _clips(clip: Any) -> list[Rule]:
    """The clipping laws, as rules."""
    single = not isinstance(clip, list | tuple)
    given = [] if clip is None else [clip] if single else clip
    found = [registry.find(each) if isinstance(each, str) else each for each in given]
    for each in found:
        if not isinstance(each, Rule):
            raise TypeError(f"Recipe: clip holds {each!r} of type {type(each).__name__}; give clipping laws or names")
    return found


def _regex(name: str, pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(f"Recipe: {name} holds {pattern!r}, no regular expression: {error}") from None
    return pattern


def _count(value: Any) -> int | Schedule:
    """A number of micro-steps, or a schedule that starts with one."""
    first = value(0) if isinstance(value, Schedule) else value
    whole = isinstance(first, int) and not isinstance(first, bool)
    if not (whole or (first is not value and isinstance(first, float))) or not 1 <= first < math.inf:
        words = "a whole number of at least 1, or a schedule of such"
        at = f", {first!r} at step 0," if first is not value else ""
        raise ValueError(f"Recipe: accumulate={value!r}{at} is no count; give {words}")
    return value  # type: ignore[no-any-return]


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"Recipe: {name}={value!r} is no choice; give {' or '.join(map(repr, choices))}")
    return value


def _layout(layout: Any) -> Any:
    if layout is None:
        return None
    if isinstance(layout, Mapping):
        return {_regex("layout", k): _layout(v) for k, v in layout.items()}
    return _choice("layout", layout, ("out_in", "in_out"))


def _leaves(rule: Rule, leaves: Any) -> Mapping[str, Mapping[str, Any]]:
    """Patterns with checked numbers; a schedule belongs to the whole recipe, a leaf's share of it to a ``scale``."""
    found = {}
    for pattern, hyper in leaves.items():
        checked = check_all(f"Recipe: leaves[{pattern!r}]", rule.hypers, hyper)
        for name, value in checked.items():
            if isinstance(value, Schedule):
                raise TypeError(
                    f"Recipe: leaves[{pattern!r}] gives {name} a schedule; give a number, or the factor of a scale "
                    "behind the rule, as in chain(adam, scale)"
                )
        found[_regex("leaves", pattern)] = MappingProxyType(checked)
    return MappingProxyType(found)


def _json(value: Any) -> Any:
    return {k: _json(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _plain(value: Any) -> Any:
    """Rules and schedules as dictionaries, numbers and tables as they are."""
    if isinstance(value, Primitive):
        return {"name": value.name, **{k: _plain(v) for k, v in value.bound.items()}}
    if isinstance(value, Chain):
        return {"chain": [_plain(p) for p in value.parts], **{k: _plain(v) for k, v in value.bound.items()}}
    if isinstance(value, Combined):
        of = [_plain(part) for part in value.parts]
        return {"name": value.name, "of": of, **{k: _plain(v) for k, v in value.bound.items()}}
    if isinstance(value, Schedule):
        return {"schedule": value.name, **{k: _plain(v) for k, v in value.bound.items()}}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"Recipe: {value!r} of type {type(value).__name__} has no JSON form; give a number or a schedule")


def _rule(data: Any, own: Mapping[str, Any]) -> Rule:
    if isinstance(data, str):
        data = {"name": data}
    if not isinstance(data, dict) or not ("name" in data) ^ ("chain" in data):
        raise ValueError(f'Recipe: {data!r} is no rule; give {{"name": ...}} or {{"chain": [...]}}')
    data = dict(data)
    if "chain" in data:
        links = [_rule(link, own) for link in data.pop("chain")]
        return chain(*links).bind(**_numbers(data, own))
    name, of = data.pop("name"), data.pop("of", None)
    found = own[name] if name in own else registry.find(name)
    if of is not None:
        return found(*(_rule(part, own) for part in of), **_numbers(data, own))  # type: ignore[no-any-return]
    if not isinstance(found, Rule):
        raise ValueError(f'Recipe: {name} takes rules; give them as "of": [...]')
    return found.bind(**_numbers(data, own))


def _numbers(data: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value, own) for name, value in data.items()}


def _number(value: Any, own: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        data = dict(value)
        name = data.pop("schedule", None)
        known = {**registry.schedules(), **{k: v for k, v in own.items() if isinstance(v, Schedule)}}
        if name not in known:
            raise ValueError(unknown("Recipe", "schedule", str(name), known))
        return known[name](**_numbers(data, own))
    return [_number(v, own) for v in value] if isinstance(value, list) else value
