"""The rows of rules that estimate their own step size, of layer-wise rates, and of rules for games."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

import optcore
from optcore.adapters import native
from oracles import SHAPES, Difference, Paper, Peer, Row, betas, decays, epsilons, gap, ours, problem, rates

momenta = st.floats(0.1, 0.99)
shares = st.floats(0.0, 2.0)
b = {"b1": st.floats(0.5, 0.95), "b2": st.floats(0.8, 0.999)}
floors = st.floats(1e-4, 0.1)
first = st.floats(0.01, 0.3)
rest = {"eps": epsilons, "eps_root": epsilons, **b}
OF_TWO = ((4, 3), (2, 3, 2, 2))

OPTAX_ROOT = "optax takes sqrt(t) in float32: 2^-24 of steps whose sum is of order 1 in 15 steps"
OPTAX = [
    Row("lars", {"learning_rate": rates, "weight_decay": decays, "momentum": momenta, "eps": epsilons}),
    Row("lars", {"learning_rate": 1.0, "trust_coefficient": st.floats(1e-3, 0.1), "nesterov": True}),
    Row("lars", {"learning_rate": 1.0, "weight_decay": 0.1, "weight_decay_mask": {"a": True, "b": False, "c": True}}),
    Row("fromage", {"learning_rate": rates, "min_norm": st.floats(1e-6, 10.0)}),
    Row("sm3", {"learning_rate": rates, "momentum": momenta}),
    Row("novograd", {"learning_rate": rates, "weight_decay": decays, **rest}),
    Row("novograd", {"learning_rate": 0.01}),
    Row("optimistic_gradient_descent", {"learning_rate": rates, "alpha": shares, "beta": shares}),
    Row("optimistic_adam_v2", {"learning_rate": rates, "alpha": shares, "beta": shares, **rest}),
    Row("optimistic_adam_v2", {"learning_rate": rates, "nesterov": False}),
    Row(
        "madgrad",
        {"learning_rate": rates, "momentum": momenta, "weight_decay": decays, "eps": floors},
        tolerance=2e-6,
        why=OPTAX_ROOT,
    ),
    Row("cocob", {"learning_rate": shares.map(lambda x: x + 0.1), "alpha": st.floats(1, 200), "weight_decay": decays}),
    Row("cocob", {"eps": st.floats(1e-8, 1.0), "weight_decay": 0.1, "mask": {"a": True, "b": False, "c": True}}),
    Row("dog", {"init_step": st.tuples(st.just("heuristic"), first), "eps": epsilons, "weight_decay": decays}),
    Row("dog", {"init_step": st.tuples(st.just("distance"), first), "learning_rate": shares}),
    Row("dog", {"init_step": st.tuples(st.just("learning_rate"), first)}),
    Row("dowg", {"init_estim_sq_dist": first, "learning_rate": shares, "weight_decay": decays}),
    Row("dowg", {"eps": st.floats(1e-4, 1.0)}),
    Row("dadapt_adamw", {"betas": betas, "estim_lr0": first, "eps": epsilons, "weight_decay": decays}),
    Row("dadapt_adamw", {"learning_rate": st.floats(0.1, 2.0), "estim_lr0": 0.1}),
]


def named(rule: Any, **names: str) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function that binds options to a rule by pytorch_optimizer's names, ``betas`` and ``eps`` included."""

    def make(options: Mapping[str, Any]) -> Any:
        given = dict(options)
        pair = given.pop("betas", None)
        ours = {{"eps": "epsilon", **names}.get(k, k): v for k, v in given.items() if names.get(k, k)}
        return rule(**ours, **({} if pair is None else {"beta1": pair[0], "beta2": pair[1]}))

    return make


SINGLE = "pytorch_optimizer gathers its totals in float32: 15 roundings of 2^-24 move d, and p by less than 10 d"
D = {"d0": st.floats(0.01, 0.3), "growth_rate": st.floats(1.1, 3.0), "lr": st.floats(0.1, 1.0)}
PEERS = [
    Peer(
        "LARS",
        {"lr": rates, "momentum": momenta, "weight_decay": decays, "trust_coefficient": st.floats(1e-3, 0.1)},
        named(optcore.lars(like="paper"), momentum="beta"),
        shapes=OF_TWO,  # vectors are left out of it there
    ),
    Peer(
        "LARS",
        {"lr": rates, "momentum": 0.9, "nesterov": True, "trust_coefficient": 0.1},
        named(optcore.lars(like="paper"), momentum="beta"),
        shapes=OF_TWO,
    ),
    Peer("Fromage", {"lr": rates}, named(optcore.fromage)),
    Peer(
        "SM3",
        {"lr": rates, "momentum": momenta, "eps": 1e-30},
        named(optcore.sm3, momentum="beta1", eps="epsilon_root"),
    ),
    Peer(
        "NovoGrad",
        {"lr": rates, "betas": betas, "weight_decay": decays, "eps": epsilons, "grad_averaging": True},
        named(optcore.novograd, grad_averaging="averaging"),
    ),
    Peer("NovoGrad", {"lr": rates}, named(optcore.novograd)),
    Peer(
        "MADGRAD",
        {"lr": rates, "momentum": momenta, "weight_decay": decays, "eps": floors},
        lambda o: optcore.madgrad(
            lr=o["lr"], beta=o["momentum"], weight_decay=o["weight_decay"], epsilon=o["eps"], lr_epsilon=o["eps"]
        ),
    ),
    Peer(
        "DAdaptAdam",
        {
            "betas": betas,
            "eps": epsilons,
            "weight_decay": decays,
            "weight_decouple": True,
            "bias_correction": True,
            **D,
        },
        named(optcore.dadapt_adam, weight_decouple="", bias_correction="debias", growth_rate="growth"),
        tolerance=1e-4,
        why=SINGLE,
    ),
    Peer("DAdaptSGD", {"momentum": momenta, **D}, named(optcore.dadapt_sgd, growth_rate="growth"), 1e-4, SINGLE),
    Peer(
        "DAdaptAdaGrad",
        {"momentum": momenta, "eps": epsilons, **D},
        named(optcore.dadapt_adagrad, growth_rate="growth"),
        tolerance=1e-4,
        why=SINGLE,
    ),
    Peer(
        "DAdaptLion",
        {"betas": betas, "d0": D["d0"], "lr": D["lr"], "weight_decay": decays, "weight_decouple": True},
        named(optcore.dadapt_lion, weight_decouple=""),
        tolerance=1e-4,
        why=SINGLE,
    ),
]


# Papers, on lists of leaves, in float64.

Tree = list[Any]


def dot(a: Tree, c: Tree) -> float:
    return float(sum(np.sum(x * y) for x, y in zip(a, c, strict=True)))


def l1(a: Tree) -> float:
    return float(sum(np.sum(np.abs(x)) for x in a))


def dadapt_adam(
    p: Tree, grads: Sequence[Tree], *, lr: float, beta1: float, beta2: float, epsilon: float, d0: float,
    growth: float, debias: bool, weight_decay: float,
) -> Tree:  # fmt: skip
    m, v, s = ([np.zeros_like(x) for x in p] for _ in range(3))
    d, top, b3 = d0, 0.0, beta2**0.5
    for t, g in enumerate(grads, 1):
        step = d * lr
        if debias:
            step *= (1 - beta2**t) ** 0.5 / (1 - beta1**t)
        top = b3 * top + (1 - b3) * step * dot(g, [a / (np.sqrt(c) + epsilon) for a, c in zip(s, v, strict=True)])
        m = [beta1 * a + (1 - beta1) * step * x for a, x in zip(m, g, strict=True)]
        v = [beta2 * a + (1 - beta2) * x**2 for a, x in zip(v, g, strict=True)]
        s = [b3 * a + (1 - b3) * step * x for a, x in zip(s, g, strict=True)]
        d = max(d, min(top / ((1 - b3) * l1(s)), d * growth))
        p = [x - step * weight_decay * x for x in p]
        p = [x - a / (np.sqrt(c) + epsilon) for x, a, c in zip(p, m, v, strict=True)]
    return p


def pulled(g: Tree, p: Tree, weight_decay: float) -> Tree:
    """Return gradients that agree with one another, so that the estimate of the distance grows."""
    return [x + weight_decay * y for x, y in zip(g, p, strict=True)]


def dadapt_sgd(
    p: Tree, grads: Sequence[Tree], *, lr: float, momentum: float, d0: float, growth: float, weight_decay: float
) -> Tree:
    start, s, d, top, scale = list(p), [np.zeros_like(x) for x in p], d0, 0.0, 0.0
    for g in grads:
        g = pulled(g, p, weight_decay)
        scale = scale or dot(g, g) ** 0.5
        step = d * lr / scale
        top += step * dot(g, s)
        s = [a + step * x for a, x in zip(s, g, strict=True)]
        d = max(d, min(2 * top / dot(s, s) ** 0.5, d * growth))
        p = [momentum * x + (1 - momentum) * (x0 - a) for x, x0, a in zip(p, start, s, strict=True)]
    return p


def dadapt_adagrad(
    p: Tree, grads: Sequence[Tree], *, lr: float, momentum: float, epsilon: float, d0: float, growth: float,
    initial_accumulator: float, weight_decay: float,
) -> Tree:  # fmt: skip
    start, s, d, seen = list(p), [np.zeros_like(x) for x in p], d0, 0.0
    total = [np.full_like(x, initial_accumulator) for x in p]
    for g in grads:
        g, step = pulled(g, p, weight_decay), d * lr
        total = [a + x**2 for a, x in zip(total, g, strict=True)]
        metric = [np.sqrt(a) + epsilon for a in total]
        seen += step**2 * dot(g, [x / a for x, a in zip(g, metric, strict=True)])
        s = [a + step * x for a, x in zip(s, g, strict=True)]
        own = dot(s, [a / c for a, c in zip(s, metric, strict=True)])
        d = max(d, min((own - seen) / l1(s), d * growth))
        z = [x0 - a / c for x0, a, c in zip(start, s, metric, strict=True)]
        p = [momentum * x + (1 - momentum) * y for x, y in zip(p, z, strict=True)]
    return p


def dadapt_lion(
    p: Tree, grads: Sequence[Tree], *, lr: float, beta1: float, beta2: float, d0: float, weight_decay: float,
    worth: float = 1.0, keep: bool = True,
) -> Tree:  # fmt: skip
    m, s, d, top = [np.zeros_like(x) for x in p], [np.zeros_like(x) for x in p], d0, 0.0
    b3 = beta2**0.5
    for g in grads:
        step = d * lr
        u = [np.sign(beta1 * a + (1 - beta1) * worth * x) for a, x in zip(m, g, strict=True)]
        p = [x * (1 - step * weight_decay) - step * y for x, y in zip(p, u, strict=True)]
        m = [beta2 * a + (1 - beta2) * step * x for a, x in zip(m, g, strict=True)]
        new = b3 * top + (1 - b3) * step * dot(u, s)
        s = [b3 * a + (1 - b3) * step * y for a, y in zip(s, u, strict=True)]
        d = max(d, new / ((1 - b3) * l1(s)))
        top = new if keep else top
    return p


def dog_of_two_numbers(p: Tree, grads: Sequence[Tree], *, first_distance: float, first_share: float) -> Tree:
    """Ivgi et al. 2023, alg. 1, with the start of sec. 4.1 in its two terms."""
    start, seen = list(p), 0.0
    far = first_distance + first_share * dot(p, p) ** 0.5
    for g in grads:
        away = [x - x0 for x, x0 in zip(p, start, strict=True)]
        far, seen = max(far, dot(away, away) ** 0.5), seen + dot(g, g)
        p = [x - far / (seen + 1e-8) ** 0.5 * y for x, y in zip(p, g, strict=True)]
    return p


def cocob_of_any_wealth(p: Any, grads: Sequence[Any], *, wealth: float, alpha: float, epsilon: float) -> Any:
    """Orabona & Tommasi 2017, alg. 2, where a coordinate starts with ``wealth`` for each unit of gradient."""
    start, most = p.copy(), np.full_like(p, epsilon)
    total, reward, theta = (np.zeros_like(p) for _ in range(3))
    for g in grads:
        most, total = np.maximum(most, np.abs(g)), total + np.abs(g)
        reward = np.maximum(reward - (p - start) * g, 0)
        theta = theta - g
        p = start + theta / (most * np.maximum(total + most, alpha * most)) * (wealth * most + reward)
    return p


def madgrad(p: Any, grads: Sequence[Any], *, lr: float, beta: float, epsilon: float, lr_epsilon: float) -> Any:
    """Defazio & Jelassi 2022, alg. 1."""
    start, s, v = p.copy(), np.zeros_like(p), np.zeros_like(p)
    for k, g in enumerate(grads):
        weight = (lr + lr_epsilon) * np.sqrt(k + 1)
        s, v = s + weight * g, v + weight * g**2
        p = beta * p + (1 - beta) * (start - s / (np.cbrt(v) + epsilon))
    return p


def sm3_that_fades(p: Any, grads: Sequence[Any], *, lr: float, beta1: float, beta2: float, epsilon_root: float) -> Any:
    """Anil et al. 2019, alg. SM3-II, with a moving average of squares in place of their sum."""
    m = np.zeros_like(p)
    memory = [np.zeros(n) for n in p.shape]
    for g in grads:
        v = np.empty_like(p)
        for at in np.ndindex(p.shape):
            v[at] = beta2 * min(memory[r][i] for r, i in enumerate(at)) + (1 - beta2) * g[at] ** 2
        m = beta1 * m + (1 - beta1) * g / np.sqrt(v + epsilon_root)
        memory = [v.max(axis=tuple(k for k in range(p.ndim) if k != r)) for r in range(p.ndim)]
        p = p - lr * m
    return p


def lars_with_floor(p: Any, grads: Sequence[Any], *, lr: float, weight_decay: float, epsilon: float) -> Any:
    """You et al. 2017, alg. 1, with an epsilon beside both norms."""
    v = np.zeros_like(p)
    for g in grads:
        size = np.linalg.norm(p)
        local = 0.001 * size / (np.linalg.norm(g) + weight_decay * size + epsilon)
        v = 0.9 * v + lr * local * (g + weight_decay * p)
        p = p - v
    return p


def mechanize_of_optax(
    p: Tree, grads: Sequence[Tree], *, lr: float, weight_decay: float, pull: float, first_scale: float, bets: int,
    epsilon: float,
) -> Tree:  # fmt: skip
    import optax

    inner = optax.adamw(lr, weight_decay=weight_decay)
    return by_optax(optax.contrib.mechanize(inner, pull, epsilon, first_scale, bets), p, grads)


def optimistic_adam_of_optax(p: Tree, grads: Sequence[Tree], **options: Any) -> Tree:
    """optax.optimistic_adam, which is not among optax' rows since it warns that version 2 should be used."""
    import optax

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tx = optax.optimistic_adam(**options)
    return by_optax(tx, p, grads)


def native_optimistic_adam(**options: Any) -> Any:
    return native.constructor("optax", "optimistic_adam").build(**options).recipe.rule


def by_optax(tx: Any, p: Tree, grads: Sequence[Tree]) -> Tree:
    """Return the parameters after all steps of an optax transformation."""
    import jax.numpy as jnp
    import optax

    params = [jnp.asarray(x) for x in p]
    state = tx.init(params)
    for g in grads:
        updates, state = tx.update([jnp.asarray(x) for x in g], state, params)
        params = optax.apply_updates(params, updates)
    return [np.asarray(x) for x in params]


def mechanized(*, pull: float, first_scale: float, bets: int, epsilon: float, **hyper: Any) -> Any:
    """optax.contrib.mechanize, which has one epsilon in three places."""
    own = dict(pull=pull, first_scale=first_scale, bets=bets, epsilon=epsilon)
    return optcore.mechanize(optcore.adam, size_epsilon=epsilon, scale_epsilon=epsilon, **own, **hyper)


pulls = st.floats(1.0, 10.0)
grow = {"d0": D["d0"], "growth": D["growth_rate"], "lr": D["lr"]}
two = {"beta1": st.floats(0.5, 0.95), "beta2": st.floats(0.8, 0.999)}
PAPERS = [
    Paper(
        optcore.dadapt_adam,
        dadapt_adam,
        {"epsilon": epsilons, "debias": st.booleans(), "weight_decay": decays, **two, **grow},
        tree=True,
    ),
    Paper(optcore.dadapt_sgd, dadapt_sgd, {"momentum": momenta, "weight_decay": pulls, **grow}, tree=True),
    Paper(
        optcore.dadapt_adagrad,
        dadapt_adagrad,
        {"momentum": momenta, "epsilon": epsilons, "initial_accumulator": floors, "weight_decay": pulls, **grow},
        tree=True,
    ),
    Paper(
        optcore.dadapt_lion,
        dadapt_lion,
        {"d0": D["d0"], "lr": D["lr"], "worth": st.floats(0.1, 2.0), "weight_decay": decays, **two},
        tree=True,
    ),
    Paper(
        native_optimistic_adam,
        optimistic_adam_of_optax,
        {"learning_rate": rates, "optimism": rates, "nesterov": st.booleans(), **rest},
        tree=True,
    ),
    Paper(native_optimistic_adam, optimistic_adam_of_optax, {"learning_rate": rates}, tree=True),
    Paper(optcore.dog, dog_of_two_numbers, {"first_distance": first, "first_share": first}, tree=True),
    Paper(
        optcore.cocob,
        cocob_of_any_wealth,
        {"wealth": st.floats(0.1, 3), "alpha": st.floats(1, 200), "epsilon": floors},
    ),
    Paper(optcore.madgrad, madgrad, {"lr": rates, "beta": momenta, "epsilon": floors, "lr_epsilon": floors}),
    Paper(optcore.sm3, sm3_that_fades, {"lr": rates, "epsilon_root": floors, **two}),
    Paper(
        optcore.lars(denominator="sum"),
        lars_with_floor,
        {"lr": rates, "weight_decay": decays, "epsilon": epsilons},
    ),
    # A first scale of 1e-6 would leave 1e-10 of the step in p - start, which both divide by it.
    Paper(
        mechanized,
        mechanize_of_optax,
        {
            "lr": rates, "weight_decay": decays, "pull": shares, "first_scale": st.floats(0.01, 0.1),
            "bets": st.integers(1, 6), "epsilon": st.floats(1e-8, 1e-2),
        },
        tree=True,
    ),
]  # fmt: skip


def apart(rule: Any, law: Callable[..., Any], **numbers: Any) -> float:
    """Return the largest difference between our rule and another implementation after 15 steps."""
    params, grads = problem(0, SHAPES)
    mine = ours(rule, params, grads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = law(params, grads, **numbers)
    return max(float(np.abs(x - y).max()) for x, y in zip(mine, theirs, strict=True))


LION = {"lr": 1.0, "beta1": 0.9, "beta2": 0.9, "d0": 0.01, "weight_decay": 0.0}
r = optcore
DIFFERENCES = [
    Difference(
        "LARS",
        "optax",
        "the norm of the decayed gradient in the ratio; the paper adds two norms, timm 1e-8 to them",
        '`lars(like="paper")`, `lars(denominator="sum", epsilon=1e-8)`',
        lambda: gap(r.lars(weight_decay=0.1), r.lars(like="paper", weight_decay=0.1), lr=1.0),
    ),
    Difference(
        "Fromage",
        "optax",
        "norms of at least 1e-6, here with gradients of 1e-8; the paper takes them as they are",
        '`fromage(like="optax")`',
        lambda: gap(r.fromage, r.fromage(like="optax"), scale=1e-8),
    ),
    Difference(
        "NovoGrad",
        "optax",
        "betas 0.9 and 0.25; the paper 0.95 and 0.98",
        '`novograd(like="optax")`',
        lambda: gap(r.novograd, r.novograd(like="optax"), lr=0.01),
    ),
    Difference(
        "Optimistic Adam",
        "optax",
        "NAdam's direction by default; the paper has Adam's",
        '`optimistic_adam(like="optax")`',
        lambda: gap(r.optimistic_adam, r.optimistic_adam(like="optax"), lr=0.01),
    ),
    Difference(
        "DAdaptAdam",
        "optax",
        "bias correction on; off by the authors' default",
        '`dadapt_adam(like="optax")`, `dadapt_adamw`',
        lambda: gap(r.dadapt_adam(d0=0.01), r.dadapt_adam(like="optax", d0=0.01)),
    ),
    Difference(
        "DAdaptLion",
        "facebookresearch/dadaptation",
        "the numerator is not kept from step to step, as it is in its other rules",
        "`dadapt_lion` keeps it, as pytorch_optimizer does",
        lambda: apart(r.dadapt_lion(**LION), dadapt_lion, keep=False, **LION),
    ),
]
