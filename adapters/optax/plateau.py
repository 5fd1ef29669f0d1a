"""optax' reduce_on_plateau, judged by ours."""

from __future__ import annotations

from typing import Any

from optcore.backends.base import missing
from optcore.plateau import PlateauState
from optcore.plateau import reduce_on_plateau as judge_by

try:
    import jax.numpy as jnp
    import optax
    import optax.contrib
except ImportError:
    raise missing("jax and optax", "jax") from None

__all__ = ["reduce_on_plateau"]

WHO = "optcore.adapters.optax.reduce_on_plateau"


def reduce_on_plateau(
    factor: float = 0.1,
    patience: int = 10,
    rtol: float = 1e-4,
    atol: float = 0.0,
    cooldown: int = 0,
    accumulation_size: int = 1,
    min_scale: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Multiply updates by a scale, which falls by ``factor`` when ``patience`` values in a row were no improvement.

    Put it behind an optimizer with ``optax.chain`` and give the loss to each update, as ``value=``. The state is optax'
    own, so that checkpoints move in both directions; the judgement is that of :mod:`optcore.plateau`.
    """
    plateau = judge_by(
        like="optax", factor=factor, patience=patience, rtol=rtol, atol=atol, cooldown=cooldown,
        gather=accumulation_size, floor=min_scale,
    )  # fmt: skip
    for name, value, words, inside in (
        ("factor", factor, "(0, 1)", plateau.factor > 0.0),
        ("rtol", rtol, "[0, 1]", plateau.rtol <= 1.0),
        ("min_scale", min_scale, "[0, 1]", plateau.floor <= 1.0),
    ):
        if not inside:
            raise ValueError(f"{WHO}: {name}={value!r} is out of range; give {words}")
    if plateau.rtol == plateau.atol == 0.0:
        raise ValueError(f"{WHO}: rtol=0.0 and atol=0.0 take any smaller value for better; give one of them")

    def init(params: Any) -> Any:
        low, high = (optax.tree_utils.tree_dtype(params, which) for which in ("lowest", "highest"))
        return _stored(plateau.init(), (low, high))

    def update(updates: Any, state: Any, params: Any = None, *, value: Any, **extra_args: Any) -> tuple[Any, Any]:
        del params, extra_args
        before = PlateauState(
            state.scale, state.best_value, state.plateau_count, state.cooldown_count, state.count, state.avg_value
        )
        seen = jnp.asarray(value, state.avg_value.dtype)
        after = _stored(plateau.update(before, seen), (state.scale.dtype, state.avg_value.dtype))
        scaled, _ = optax.scale(after.scale).update(updates, optax.ScaleState())
        return scaled, after

    return optax.GradientTransformationExtraArgs(init, update)


def _stored(state: PlateauState, dtypes: tuple[Any, Any]) -> Any:
    """The state in optax' layout, counts as int32, the scale and the values in the dtypes given."""
    low, high = dtypes
    return optax.contrib.ReduceLROnPlateauState(
        scale=jnp.asarray(state.scale, low),
        best_value=jnp.asarray(state.best, high),
        plateau_count=jnp.asarray(state.bad, jnp.int32),
        cooldown_count=jnp.asarray(state.cooldown, jnp.int32),
        count=jnp.asarray(state.count, jnp.int32),
        avg_value=jnp.asarray(state.mean, high),
    )
