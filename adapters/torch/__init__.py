"""Native torch.optim optimizers: ``optcore.adapters.torch.AdamW(params, lr=1e-3, ...)``.

Every rule has a class here, under torch's name and signature where torch has the rule.
:func:`from_recipe` builds the native object of a recipe, :func:`scheduler` that of a schedule. torch.nn.utils'
clipping functions are here too, as :func:`clip_grad_norm_`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from optcore.adapters import native
from optcore.adapters.native import Constructor, Native
from optcore.adapters.native.numbers import RECIPES
from optcore.adapters.native.schedules import table
from optcore.adapters.torch.clipping import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from optcore.adapters.torch.optimizer import TorchOptimizer
from optcore.adapters.torch.schedulers.composed import ChainedScheduler, LambdaLR, SequentialLR
from optcore.adapters.torch.schedulers.named import named as scheduler_named
from optcore.adapters.torch.schedulers.plateau import ReduceLROnPlateau
from optcore.adapters.torch.schedulers.scheduler import ScheduleLR, scheduler
from optcore.recipe import Recipe

__all__ = [
    "ChainedScheduler", "LambdaLR", "Optimizer", "ReduceLROnPlateau", "ScheduleLR", "SequentialLR", "clip_grad_norm_",
    "clip_grad_value_", "clip_grads_with_norm_", "from_recipe", "from_rule", "get_total_norm", "scheduler",
]  # fmt: skip


Optimizer = TorchOptimizer
"""The base class, under the name that it has in PyTorch."""


def _signature(constructor: Constructor) -> inspect.Signature:
    """The parameters of a constructor after ``params``, with the hints of how to run."""
    own = (inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD), *constructor.parameters)
    if all(p.name != "foreach" for p in constructor.parameters):
        keyword = inspect.Parameter.KEYWORD_ONLY
        own = (*own, *(inspect.Parameter(n, keyword, default=None) for n in ("foreach", "fused")))
        own = (*own, *(inspect.Parameter(n, keyword, default=False) for n in ("capturable", "differentiable")))
    return inspect.Signature(own)


def _class(constructor: Constructor) -> type[TorchOptimizer]:
    """The class of a constructor, with its signature."""
    signature = _signature(constructor)

    def __init__(self: TorchOptimizer, *args: Any, like: str | None = None, **options: Any) -> None:
        foreign = like is not None and like != "torch"
        chosen = _signature(native.constructor("torch", constructor.name, like)) if foreign else signature
        bound = chosen.bind(*args, **options)
        bound.apply_defaults()
        TorchOptimizer.__init__(self, **bound.arguments, **({"like": like} if foreign else {}))

    return type(
        constructor.name,
        (TorchOptimizer,),
        {
            "__init__": __init__,
            "__signature__": signature,
            "__doc__": constructor.doc,
            "__module__": __name__,
            "_constructor": constructor,
        },
    )


def from_rule(rule: Any) -> type[TorchOptimizer]:
    """The class of a rule of your own."""
    return _class(native.of_rule("torch", rule))


def _from_json(recipe: str, lr: Any = None, weight_decay: Any = None) -> Native:
    """The recipe of a JSON text, with the group's decay; the rate is the group's own and comes with each step."""
    del lr
    found = RECIPES.read(recipe)
    same = weight_decay is None or weight_decay == found.values["weight_decay"]
    return Native(found if same else found.replace(weight_decay=weight_decay))


FROM_JSON = Constructor("FromRecipe", "", tuple(inspect.signature(_from_json).parameters.values()), _from_json)


def from_recipe(recipe: Recipe, params: Iterable[Any]) -> TorchOptimizer:
    """The native optimizer of a recipe.

    ``group["lr"]`` and ``group["weight_decay"]`` are numbers and win, those of groups that are given with their own as
    well; where the recipe's is a schedule its current value is written there before each step. Patterns of the recipe
    need parameter names: give ``model.named_parameters()``. Raises ValueError where they are missing.
    """
    values = recipe.values
    optimizer: TorchOptimizer = FromRecipe(
        params, recipe=RECIPES.write(recipe), lr=values["lr"], weight_decay=values["weight_decay"]
    )
    if recipe.no_decay or recipe.freeze or recipe.leaves or isinstance(recipe.layout, Mapping):
        if any("param_names" not in group for group in optimizer.param_groups):
            raise ValueError(
                "optcore.adapters.torch: the recipe chooses parameters by name; give model.named_parameters()"
            )
    return optimizer


FromRecipe = _class(FROM_JSON)


@cache
def _named(name: str) -> Any:
    if name in table("torch"):
        return scheduler_named(name)
    return _class(native.constructor("torch", name))


__getattr__, __dir__ = native.attributes("torch", _named, [*__all__, *table("torch")])
