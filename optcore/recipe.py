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
from optcore.compose import Chain, chain
from optcore.hyper import check_all, keywords_of, unknown
from optcore.plain import plain, rule_of
from optcore.rule import EMPTY, TEMPLATE, Rule
from optcore.running import runner
from optcore.scalars import is_host
from optcore.schedule import Schedule
from optcore.text import FORMAT, numbers_of, read, shallow
from optcore.typing import Layout, NonNegative

__all__ = ["Recipe"]


def _of_leaf(*, lr_factor: NonNegative = 1.0) -> None:
    """Declare the numbers that a leaf may have beside the hyper-parameters of the rule."""


OF_LEAF = keywords_of(_of_leaf)


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
    freeze
        A regular expression or several; a leaf whose path matches one of them is left as it is. Its gradient counts in
        no norm and its state stays where it is, as with a gradient of None.
    layout
        Which axis of a matrix is the output, for rules that tell axes apart; None takes the
        framework's own. Regular expressions may be given their own: ``{"embed": "in_out"}``.
    leaves
        Numbers and switches of single leaves: ``{"bias$": {"weight_decay": 0.0}}`` by regular expressions on the
        leaf's path; of several that match, the last one wins. ``lr_factor`` is a share of the learning rate, number or
        schedule, as a parameter group of so much less has it: the decay falls with it. Where the whole has a schedule a
        number other than 0 is refused, and ``schedules.constant(value=...)`` says that it stands for all steps.
    accumulate
        The number of micro-steps whose mean gradient makes one update; a schedule of it, by the update and rounded to
        the nearest whole number, lets the batch grow.
    average
        The decay of a moving average of the parameters, kept beside them in float32 or wider; None keeps none.
    on_nonfinite
        ``"propagate"`` as the law has it, or ``"skip"`` to leave everything unchanged by a step
        with a NaN or infinite gradient anywhere.
    state_dtype
        ``"compute"`` keeps the state of float16 and bfloat16 leaves in float32; ``"param"`` in the leaf's dtype, but
        for what would be lost there: numbers without axes, and in float16 all that has another unit than [g] or [p],
        as the squares of gradients below 2^-12. It is the dtype in which a state is made; a loaded one keeps its own.
        Any other kind of storage that was registered with ``optcore.backends.storage`` has a name of its own.
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
    freeze: tuple[str, ...] = ()
    layout: Layout | Mapping[str, Layout] | None = None
    leaves: Mapping[str, Mapping[str, Any]] | None = None
    accumulate: int | Schedule = 1
    average: float | None = None
    on_nonfinite: Literal["propagate", "skip"] = "propagate"
    state_dtype: str = "compute"
    rounding: Literal["nearest", "stochastic"] = "nearest"
    seed: int = 0

    def __init__(
        self,
        rule: Rule | str,
        *,
        clip: Rule | str | Sequence[Rule | str] | None = (),
        no_decay: str | tuple[str, ...] | list[str] = (),
        freeze: str | tuple[str, ...] | list[str] = (),
        layout: Layout | Mapping[str, Layout] | None = None,
        leaves: Mapping[str, Mapping[str, Any]] | None = None,
        accumulate: int | Schedule = 1,
        average: float | None = None,
        on_nonfinite: Literal["propagate", "skip"] = "propagate",
        state_dtype: str = "compute",
        rounding: Literal["nearest", "stochastic"] = "nearest",
        seed: int = 0,
        **hyper: Any,
    ) -> None:
        if isinstance(rule, str):
            rule = registry.find(rule)
        if not isinstance(rule, Rule):
            raise TypeError(f"Recipe: rule={rule!r} is of type {type(rule).__name__}; give a rule or its name")
        clips = _clips(clip)
        rule = rule.bind(**hyper)
        if clips:
            rest, bound = (rule.parts, rule.bound) if isinstance(rule, Chain) else ((rule,), EMPTY)
            rule = Chain([*clips, *rest], bound, len(clips) + rule.lead)  # whatever family they are of
        rule.complete()

        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        put("rule", rule)
        for name, patterns in (("no_decay", no_decay), ("freeze", freeze)):
            put(name, _patterns(name, patterns))
        put("layout", _layout(layout))
        put("leaves", _leaves(rule, leaves) or None)
        put("accumulate", _count(accumulate))
        number = isinstance(average, int | float) and not isinstance(average, bool)
        if average is not None and not (number and 0 <= average < 1):
            raise ValueError(f"Recipe: average={average!r} is out of range; give None or a number in [0, 1)")
        put("average", average)
        put("on_nonfinite", _choice("on_nonfinite", on_nonfinite, ("propagate", "skip")))
        known: tuple[str, ...] = ("compute", "param")
        if isinstance(state_dtype, str) and state_dtype not in known:
            known = tuple(runner().storages)
        put("state_dtype", _choice("state_dtype", state_dtype, known))
        put("rounding", _choice("rounding", rounding, ("nearest", "stochastic")))
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"Recipe: seed={seed!r} is no seed; give a whole number from 0 to 2^32 - 1")
        put("seed", seed)

    @property
    def gathers(self) -> bool:
        """True if the gradients of several micro-steps make one update."""
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
            rule = chain(*rule.parts[rule.lead :]).bind(**rule.bound)  # of one link the link itself
        return Recipe(rule, **options, **changes)

    def decays(self, path: str) -> bool:
        """Tell whether the leaf at this path has weight decay."""
        return not any(re.search(pattern, path) for pattern in self.no_decay)

    def frozen(self, path: str) -> bool:
        """Tell whether the leaf at this path is left as it is."""
        return any(re.search(pattern, path) for pattern in self.freeze)

    def layout_of(self, path: str, native: Layout) -> Layout:
        """The layout of the leaf at this path, where the framework's own is ``native``."""
        if isinstance(self.layout, Mapping):
            return next((v for k, v in self.layout.items() if re.search(k, path)), native)
        return self.layout or native

    def own(self, path: str) -> dict[str, Any]:
        """The numbers and switches that the leaf at this path has for itself.

        The rule's own classes of names come first and give way to ``leaves``, and to all that is bound to something
        else than its default.
        """
        found = _named(self.rule, path)
        for pattern, hyper in (self.leaves or EMPTY).items():
            if re.search(pattern, path):
                found |= hyper
        return found

    def to_json(self, *, indent: int | None = 2) -> str:
        """The recipe as JSON text; ``from_json`` gives an equal recipe."""
        options = {
            f.name: plain(getattr(self, f.name))
            for f in fields(self)
            if f.name in OPTIONS and getattr(self, f.name) != f.default
        }
        return json.dumps({"optcore": FORMAT, "rule": plain(self.rule), **options}, indent=indent)

    @classmethod
    def from_json(cls, text: str, *, rules: Mapping[str, Any] | None = None) -> Recipe:
        """Read what :meth:`to_json` wrote.

        ``rules`` names rules, combinators and schedules of your own. Raises ValueError for text that is
        no recipe, and the constructor's errors for its contents.
        """
        with shallow("Recipe"):
            data = read(text, "Recipe")
            known = {"rule", *OPTIONS}
            for name in data:
                if name not in known:
                    raise ValueError(unknown("Recipe", "entry", name, known))
            own = rules or {}
            if isinstance(data.get("accumulate"), dict):
                data |= numbers_of({"accumulate": data["accumulate"]}, own)
            if isinstance(data.get("leaves"), dict):
                data["leaves"] = {
                    pattern: numbers_of(numbers, own, f"Recipe: leaves[{pattern!r}]")
                    for pattern, numbers in data["leaves"].items()
                }
            return cls(rule_of(data.pop("rule"), own), **data)

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


def _named(rule: Rule, path: str) -> dict[str, Any]:
    """The switches that a rule declares for leaves of this name, where nobody chose another than the default."""
    if not rule.names:
        return {}
    found: dict[str, Any] = {}
    for pattern, given in rule.names.items():
        if re.search(pattern, path):
            found |= given
    values = rule.values()
    return {name: x for name, x in found.items() if values[name] == rule.hypers[name].default}


OPTIONS = (
    "no_decay", "freeze", "layout", "leaves",
    "accumulate", "average", "on_nonfinite", "state_dtype", "rounding", "seed",
)  # fmt: skip


def _rebuilt(rule: Rule, options: Mapping[str, Any]) -> Recipe:
    """Make a recipe again from what a pickle stores of it: its rule and its options."""
    return Recipe(rule, **options)


def _clips(clip: Any) -> list[Rule]:
    """The clipping laws, as rules."""
    single = not isinstance(clip, list | tuple)
    given = [] if clip is None else [clip] if single else clip
    found = [registry.find(each) if isinstance(each, str) else each for each in given]
    for each in found:
        if not isinstance(each, Rule):
            raise TypeError(f"Recipe: clip holds {each!r} of type {type(each).__name__}; give clipping laws or names")
    flat = [each.parts if isinstance(each, Chain) and not each.bound else (each,) for each in found]
    return [part for parts in flat for part in parts]


def _patterns(name: str, given: Any) -> tuple[str, ...]:
    """Regular expressions, of which one may stand alone."""
    if not isinstance(given, str | tuple | list):
        raise TypeError(
            f"Recipe: {name}={given!r} is of type {type(given).__name__}; give a regular expression or a list of them"
        )
    return tuple(_regex(name, each) for each in ([given] if isinstance(given, str) else given))


def _regex(name: str, pattern: str) -> str:
    if not isinstance(pattern, str):
        raise TypeError(
            f"Recipe: {name} holds {pattern!r} of type {type(pattern).__name__}; give regular expressions as strings"
        )
    try:
        re.compile(pattern)
    except re.error as error:
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
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"Recipe: {name}={value!r} is no choice; give {' or '.join(map(repr, choices))}")
    return value


def _layout(layout: Any) -> Any:
    if layout is None:
        return None
    if isinstance(layout, Mapping):
        return {_regex("layout", k): _choice("layout", v, ("out_in", "in_out")) for k, v in layout.items()}
    return _choice("layout", layout, ("out_in", "in_out"))


def _leaves(rule: Rule, leaves: Any) -> Mapping[str, Mapping[str, Any]]:
    """Patterns with checked numbers, each of which says what it does to the whole's."""
    found, known = {}, {**rule.hypers, **OF_LEAF}
    values = rule.values()
    form = '{"bias$": {"weight_decay": 0.0}}'
    if leaves is not None and not isinstance(leaves, Mapping):
        raise TypeError(f"Recipe: leaves={leaves!r} is of type {type(leaves).__name__}; give a mapping, as {form}")
    for pattern, hyper in (leaves or {}).items():
        who = f"Recipe: leaves[{pattern!r}]"
        if not isinstance(hyper, Mapping):
            raise TypeError(f"{who} is {hyper!r} of type {type(hyper).__name__}; give a mapping of numbers, as {form}")
        checked = check_all(who, known, hyper)
        for name, value in checked.items():
            part, _, last = name.rpartition(".")
            if part and last in TEMPLATE:
                raise ValueError(f"{who} gives {name}; give {last}, which is that of whichever rule moves the leaf")
            if name in ("lr", "lr_factor") and is_host(value) and value == 0:
                raise ValueError(
                    f"{who} gives {name}={value!r}, with which a gradient still counts in norms and moves the state; "
                    f"give freeze={pattern!r}"
                )
            whole = [values[n] for n in values if n == name or (last in TEMPLATE and n.rpartition(".")[2] == name)]
            if any(isinstance(each, Schedule) for each in whole) and is_host(value) and value != 0:
                share = ", or lr_factor for a share of the schedule" if name == "lr" else ""
                raise ValueError(
                    f"{who} gives {name}={value!r}, and {name} is a schedule elsewhere; give "
                    f"schedules.constant(value={value!r}) for a number that stands for all steps{share}"
                )
        if {"lr", "lr_factor"} <= checked.keys():
            raise ValueError(f"{who} gives both lr and lr_factor; give one of them")
        found[_regex("leaves", pattern)] = MappingProxyType(checked)
    return MappingProxyType(found)


def _json(value: Any) -> Any:
    return {k: _json(v) for k, v in value.items()} if isinstance(value, Mapping) else value
