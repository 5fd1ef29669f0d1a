"""Every argument matters: another value of it changes the numbers, or is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arguments import Walk, choices_of, trajectory

from optcore.adapters import native
from optcore.adapters.native import Constructor

RUN = {
    "foreach": "tensors of a list or one by one, to the same numbers",
    "fused": "one pass over memory or torch's operations, to the same numbers",
    "capturable": "torch's leave to capture a step into a CUDA graph",
    "differentiable": "whether autograd follows the step",
    "name": "the name of a Keras object in messages and files",
}
"""Arguments that say how to run, with what they change instead of numbers."""

MASKS = {"mask", "weight_decay_mask"}
"""What the optax adapter reads at each step; tests/test_optax.py moves a leaf by each."""

BASE: dict[str, dict[str, Any]] = {
    "lora": {"rank": 1},
    "adamax": {},
}
"""Values from which a constructor starts, where 0.1 or its default are not admissible."""

SPECIAL: dict[str, list[Any]] = {}
"""Values to try for an argument of this name whose default does not tell what it may be."""


def walk(library: str, constructor: Constructor) -> Walk:
    return Walk(
        constructor.build,
        constructor.parameters,
        trajectory,
        BASE.get(constructor.name.lower(), {}),
        SPECIAL,
        lambda plan, name: choices_of(library, plan.recipe.rule, name),
    )


EVERY = [(library, name) for library in native.LIBRARIES for name in native.names(library)]


@pytest.mark.parametrize(("library", "name"), EVERY, ids=lambda x: x)
def test_every_argument_of_every_constructor_acts(library: str, name: str) -> None:
    constructor = native.constructor(library, name)
    tried = walk(library, constructor)
    left = [p.name for p in constructor.parameters if p.name not in RUN and p.name not in MASKS]
    assert [idle for argument in left for idle in tried.idle(argument)] == []


if __name__ == "__main__":
    import sys
    import time

    for library, name in EVERY:
        if library not in sys.argv[1:]:
            continue
        start = time.process_time()
        constructor = native.constructor(library, name)
        try:
            tried = walk(library, constructor)
            left = [p.name for p in constructor.parameters if p.name not in RUN and p.name not in MASKS]
            idle = [i for argument in left for i in tried.idle(argument)]
        except Exception as error:
            idle = [repr(error)[:200]]
        spent = time.process_time() - start
        if idle or spent > 3:
            print(library, name, idle, f"{spent:.1f}s", flush=True)
