"""Estimates of the Hessian's diagonal, which Sophia takes in: optax' own estimators, run when the law asks for one."""

from __future__ import annotations

from typing import Any

import optcore
from optcore.adapters.native import Native
from optcore.adapters.optax.checkpoint import restore
from optcore.backends.base import missing
from optcore.rule import Rule

try:
    import jax
    import optax
    from optax._src.base import NO_PARAMS_MSG
    from optax.contrib import hutchinson_estimator_diag_hessian
except ImportError:
    raise missing("jax and optax", "jax") from None

__all__ = ["estimated", "takes_estimates"]

WHO = "optcore.adapters.optax.sophia"
FIELD, KEPT = "estimate", "hessian_fn_state"
"""The field of the law, and where the estimator's state is kept, by optax' name."""


def _named(names: Any, last: str) -> list[str]:
    return [name for name in names if name.rpartition(".")[2] == last]


def takes_estimates(rule: Rule) -> bool:
    """Tell whether a rule has Sophia in it, which steps by signs where no estimate is ever given."""
    return _holds(rule.structure, optcore.sophia.structure[0])


def _holds(structure: Any, law: Any) -> bool:
    return structure is law or (isinstance(structure, tuple) and any(_holds(part, law) for part in structure))


def estimated(plan: Native, tx: Any) -> optax.GradientTransformationExtraArgs:
    """The transformation of a plan with Sophia in it, which is given the estimates of ``plan.estimator``.

    An update with the argument ``estimate=``, a tree like the parameters, takes that tree instead; any other extra
    argument goes to the estimator. It runs at counts 0, interval, 2 interval, ..., as optax' does; its state is in
    ``state.shared``. Without an estimator of the caller's it is optax' Hutchinson's, which needs ``obj_fn=``.
    """
    rule = plan.recipe.rule
    fields, values = _named((f.name for f in rule.fields), FIELD), rule.values()
    if len(fields) != 1:
        raise NotImplementedError(
            f"{WHO}: the recipe has {len(fields)} rules that take estimates; one can be given them"
        )
    (name,) = (slot.name for slot in plan.slots if slot.field.name == fields[0])
    interval = values["sophia.interval" if "sophia.interval" in values else "interval"]
    if any(_named(own, "interval") for own in (plan.recipe.leaves or {}).values()):
        raise NotImplementedError(f"{WHO}: the interval of estimates is the whole tree's; give none to single leaves")
    fn = plan.estimator if plan.estimator is not None else hutchinson_estimator_diag_hessian()
    if not (hasattr(fn, "init") and hasattr(fn, "update")):
        raise TypeError(f"{WHO}: hessian_diagonal_fn={fn!r} is no optax.GradientTransformation; give one")
    fn = optax.with_extra_args_support(fn)

    def init(params: Any) -> Any:
        state = tx.init(params)
        return state._replace(shared={**state.shared, KEPT: fn.init(params)})

    def update(updates: Any, state: Any, params: Any = None, *, estimate: Any = None, **extra_args: Any) -> Any:
        if params is None:
            raise ValueError(NO_PARAMS_MSG)
        kept = state.shared[KEPT]
        old = state.leaves[name]
        if estimate is not None:
            new = restore(old, estimate)
        else:

            def estimates(kept: Any) -> Any:
                found, kept = fn.update(updates, kept, params=params, **extra_args)
                return jax.tree.map(lambda x, like: x.astype(like.dtype), found, old), kept

            new, kept = jax.lax.cond(state.count % interval == 0, estimates, lambda kept: (old, kept), kept)
        shared = {key: x for key, x in state.shared.items() if key != KEPT}
        before = state._replace(shared=shared, leaves={**state.leaves, name: new})
        steps, after = tx.update(updates, before, params)
        return steps, after._replace(shared={**after.shared, KEPT: kept})

    return optax.GradientTransformationExtraArgs(init, update)
