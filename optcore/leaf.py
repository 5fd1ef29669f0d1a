"""The leaf template: learning rate and decay around a rule, written once for every rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optcore.rule import TEMPLATE, Law, Rule
from optcore.scalars import is_host
from optcore.typing import Scalar

__all__ = ["average", "mean", "overlaid", "update"]


def overlaid(values: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a leaf that has some of its own: a rate or decay is then that of whichever rule moves it.

    ``lr_factor`` in ``own`` is a share of the learning rate, by which the decay falls as well.
    """
    found = {**values, **own}
    share = found.pop("lr_factor", None)
    for name in found:
        part, _, last = name.rpartition(".")
        if part and last in TEMPLATE and last in own:
            found[name] = own[last]
        if share is not None and last == "lr":
            found[name] = share * found[name]
    return found


def update(rule: Rule, xp: Any, p: Any, g: Any, s: Any, t: Scalar, values: Mapping[str, Any]) -> Law:
    """Run one step on one leaf; the law in execution returns ``((new p, displacement), new state)``.

    The displacement is what is added to p. It is formed before the sum, since a step far below the
    spacing of p's numbers would be rounded away in their difference. Where decay enters:

    ==========  ========================================================
    coupled     ``g + wd p`` is the gradient the rule sees, behind the clipping laws that a chain begins with
    with        ``p - lr (d + wd p)``
    before      ``p' = p (1 - lr wd)``, seen by the rule, then ``p' - lr d``
    after       ``p' = p - lr d``, then ``p' - lr wd p'``
    proximal    ``(p - lr d) / (1 + lr wd)``
    ==========  ========================================================

    A ``weight_decay`` that is the Python number 0 is absent, as in the libraries: no term is formed
    from it, so an infinite parameter does not turn into NaN.
    """
    lr, wd, place = values["lr"], values["weight_decay"], values["decay"]
    decays = "decay" not in rule.owns and not (is_host(wd) and wd == 0)
    shrink = lr * wd if decays else 0.0
    old = p
    if values["maximize"]:
        g = -g
    if decays and place == "coupled":
        if rule.lead:
            values = {**values, "coupled": wd}
        else:
            g = g + wd * p
    if decays and place == "before":
        p = p * (1.0 - shrink)
    d, s = yield from rule.run(xp, p, g, s, t, values)
    if "p" in rule.owns:
        step = d - old
    elif "lr" in rule.owns:
        step = -d
    else:
        step = -(lr * d)
    if decays and place == "with":
        step = step - shrink * old
    elif decays and place == "before" and "p" not in rule.owns:
        step = step - shrink * old
    elif decays and place == "after":
        step = step - shrink * (old + step)
    elif decays and place == "proximal":
        step = (step - shrink * old) / (1.0 + shrink)
    whole = "p" in rule.owns and not (decays and place in ("with", "after", "proximal"))
    return (d if whole else old + step, step), s


def mean(acc: Any, g: Any, n: Scalar) -> Any:
    """The running mean of micro-gradients: ``acc`` holds the mean of the first n, ``g`` comes next."""
    return acc + (g - acc) / (n + 1.0)


def average(old: Any, p: Any, decay: Scalar) -> Any:
    """The moving average of parameters, in units of p; it starts as a copy of the first p."""
    return decay * old + (1.0 - decay) * p
