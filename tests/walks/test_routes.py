"""Every route gives the numbers of the eager NumPy optimizer, for every option of a recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import optcore
from optcore.recipe import OPTIONS as NAMES
from optcore.rule import TEMPLATE
from tests.routes import OPTIONS, REFERENCE, ROUTES, along, gradients

RULES: dict[str, Any] = {
    "adamw": optcore.adamw(lr=0.05, beta2=0.9),
    "momentum": optcore.momentum(lr=0.05),
    "a norm of the leaf": optcore.lars(lr=0.05),
    "totals": optcore.prodigy(lr=0.5),
    "rows and columns": optcore.adafactor(lr=0.05, min_dim=2),
    "two rules": optcore.matrices(optcore.muon(lr=0.02), optcore.adamw(lr=0.05, weight_decay=0.5)),
    "whole steps": optcore.lookahead(optcore.adam(lr=0.05), interval=3),
    "the parameter itself": optcore.exponentiated_gradient(lr=0.05),
    "noise": optcore.noisy_sgd(lr=0.05),
}
"""A rule of each kind that some route treats otherwise."""
ROOM = {"float64": 1e-11, "float32": 2e-4, "float16": 2e-2, "bfloat16": 0.1}
"""Eight steps of up to a hundred operations each may take a float64 result off by some 1e3 units of 2^-53. In float32
what a sign or a threshold decides at the last bit is in these numbers too, and a narrow leaf is rounded at every step,
where two routes may fall on neighbours of each other."""


def test_every_option_of_a_recipe_is_walked() -> None:
    known = {option for row in OPTIONS.values() for option in row}
    assert {*NAMES, *TEMPLATE, "clip"} <= known
    names = [name.partition(" ")[0] for name in OPTIONS]
    assert all(name in row for name, row in zip(names, OPTIONS.values(), strict=True))


def applies(route: str, rule: str, option: str, dtype: str) -> bool:
    """Tell whether a route takes a recipe; what it refuses is refused by name, as other tests show."""
    chance = option in ("rounding", "seed")
    if "optax" in route and chance:
        return False  # optax adds the update itself
    if chance and dtype not in ("float16", "bfloat16"):
        return False  # nothing is rounded
    if option == "decay" and rule in ("totals", "whole steps by name"):
        return False  # a place that has no effect is refused
    if route == "strict" and dtype in ("float16", "bfloat16"):
        return False  # a library without such a dtype
    if dtype == "float16" and ("JAX" in route or "optax" in route):
        return False  # the walk of the narrow dtypes is bfloat16's on JAX
    return True


def recipe(rule: str, option: str) -> Any:
    return optcore.Recipe(RULES[rule], **OPTIONS[option])


def compare(route: str, rule: str, option: str, dtype: str) -> None:
    if not applies(route, rule, option, dtype):
        return
    made = recipe(rule, option)
    grads = gradients(dtype, nonfinite=option == "on_nonfinite")
    if "JAX" in route or "optax" in route or "accumulate" in option:  # a traced state counts a missing one as zeros
        grads = [{n: np.zeros_like(g["norm"]) if x is None else x for n, x in g.items()} for g in grads]
    if "capturable" in route and option.startswith("accumulate by"):
        return  # a count of micro-steps decides on the host
    want, got = along(REFERENCE, made, dtype, grads), along(ROUTES[route], made, dtype, grads)
    for name, x in want.items():
        np.testing.assert_allclose(
            got[name], x, rtol=ROOM[dtype], atol=ROOM[dtype], err_msg=f"{name} by {route}, {rule}, {option}, {dtype}"
        )


@pytest.mark.exhaustive(share=4)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("route", ROUTES)
def test_every_route_agrees_on_every_option(route: str, option: str) -> None:
    for dtype in ("float64", "bfloat16"):
        compare(route, "adamw", option, dtype)


@pytest.mark.exhaustive(share=4)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("route", ROUTES)
def test_every_route_agrees_on_every_kind_of_rule(route: str, rule: str) -> None:
    for option, dtype in (("leaves", "float64"), ("lr", "float32"), ("average", "float16"), ("freeze", "float64")):
        compare(route, rule, option, dtype)
