"""The leaf template: it applies learning rate and weight decay around a rule's law, once for all rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optcore.rule import TEMPLATE, Law, Rule
from optcore.scalars import is_host
from optcore.typing import Scalar

__all__ = ["average", "mean", "overlaid", "update"]


def overlaid(values: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters of a leaf: ``values`` of the whole tree, with the leaf's ``own`` in their place.

    A learning rate or decay of the leaf also replaces those of the parts of a combined rule (``part.lr``), so that it
    holds whichever part moves the leaf. ``lr_factor`` in ``own`` multiplies the learning rate, and thereby the decay.
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

    The displacement is added to p. It is computed before the sum and not as the difference of two parameters, in
    which a step far below the spacing of p's numbers would be rounded away. The decay wd enters in one of five places:

    ==========  ========================================================
    coupled     ``g + wd p`` is the gradient of the rule, or of the links after a chain's first clipping laws
    with        ``p - lr (d + wd p)``
    before      ``p' = p (1 - lr wd)``, which the rule receives as its p, then ``p' - lr d``
    after       ``p' = p - lr d``, then ``p' - lr wd p'``
    proximal    ``(p - lr d) / (1 + lr wd)``
    ==========  ========================================================

    A ``weight_decay`` that is the Python number 0 adds no term, as in the libraries: so ``0 * inf`` does not turn an
    infinite parameter into NaN.
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
    """Return the mean of n + 1 micro-gradients, of which ``acc`` is the mean of the first n and ``g`` the last."""
    return acc + (g - acc) / (n + 1.0)


def average(old: Any, p: Any, decay: Scalar) -> Any:
    """Return the moving average of the parameters after p, in units of p; it starts as a copy of the first p."""
    return decay * old + (1.0 - decay) * p
