"""The rows of rules that adapt each coordinate's step."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import optcore
from optcore.rule import NoState, rule
from oracles import Difference, Paper, Peer, Row, betas, decays, epsilons, gap, ours, peers, problem, rates
from oracles.classic import b, momenta
from oracles.classic import beta as beta_12

adam = {"betas": betas, "eps": epsilons, "lr": rates, "weight_decay": decays}
PRODUCT = "torch keeps mu_product in float32: 15 roundings of 2^-24 in each of 15 steps of a size near lr <= 0.1"
RATE = "torch keeps eta and mu in float32: 2^-24 of each of 15 steps, which are at most 0.1 times a gradient near 30"
TORCH = [
    Row("Adadelta", {"rho": momenta, "eps": epsilons, "weight_decay": decays, "lr": rates, "maximize": True}),
    Row("Adamax", adam),
    Row("Adamax", {"maximize": True}),
    Row("NAdam", {"momentum_decay": st.floats(0, 1), **adam}, tolerance=1e-6, why=PRODUCT),
    Row("NAdam", {"decoupled_weight_decay": True, "maximize": True, **adam}, tolerance=1e-6, why=PRODUCT),
    Row("RAdam", adam),
    Row("RAdam", {"decoupled_weight_decay": True, "maximize": True, **adam}),
    Row("RAdam", {"betas": (0.9, 0.6)}),
    Row("Rprop", {"lr": rates, "etas": st.tuples(st.floats(0.1, 0.9), st.floats(1.01, 3.0)), "maximize": True}),
    Row("Rprop", {"lr": rates, "step_sizes": st.tuples(st.floats(1e-3, 0.01), st.floats(0.02, 0.1))}),
    Row("ASGD", {"lr": rates, "lambd": st.floats(0, 0.1), "weight_decay": decays}, tolerance=5e-6, why=RATE),
    Row("ASGD", {"alpha": st.floats(0, 1), "t0": st.floats(0, 10), "maximize": True}, tolerance=5e-6, why=RATE),
]
# Acprop's first denominators and those of a corrected centred RMSprop are differences of one or two gradients: where
# those are close, a step is as long as one likes and so is its rounding. Epsilons of order one keep both tame.
large = st.floats(0.1, 1.0)
OPTAX = [
    Row("adadelta", {"learning_rate": rates, "rho": momenta, "eps": epsilons, "weight_decay": decays}),
    Row(
        "adadelta", {"learning_rate": 1.0, "weight_decay": 0.1, "weight_decay_mask": {"a": True, "b": False, "c": True}}
    ),
    Row("adamax", {"learning_rate": rates, "eps": epsilons, **b}),
    Row("adamaxw", {"learning_rate": rates, "eps": epsilons, "weight_decay": decays, **b}),
    Row("adamaxw", {"learning_rate": 0.1, "mask": {"a": True, "b": False, "c": True}}),
    Row("nadam", {"learning_rate": rates, "eps": epsilons, "eps_root": epsilons, **b}),
    Row("nadam", {"learning_rate": rates, "nesterov": False}),
    Row("nadamw", {"learning_rate": rates, "eps": epsilons, "eps_root": epsilons, "weight_decay": decays, **b}),
    Row("nadamw", {"learning_rate": 0.1, "mask": {"a": True, "b": False, "c": True}}),
    Row("radam", {"learning_rate": rates, "eps": epsilons, "eps_root": epsilons, **b}),
    Row("radam", {"learning_rate": rates, "threshold": st.floats(4.1, 7.9), "nesterov": True, **b}),
    Row("adabelief", {"learning_rate": rates, "eps": epsilons, "eps_root": epsilons, **b}),
    Row("adabelief", {"learning_rate": rates, "nesterov": True, "eps": epsilons, **b}),
    Row("acprop", {"learning_rate": rates, "eps": large, "eps_root": large, "weight_decay": decays, **b}),
    Row("yogi", {"learning_rate": rates, "eps": epsilons, **b}),
    Row("adan", {"learning_rate": rates, "eps": epsilons, "b3": st.floats(0.8, 0.999), "weight_decay": decays, **b}),
    Row("adan", {"learning_rate": rates, "eps_root": epsilons}),
    Row("ademamix", {"learning_rate": rates, "b3": st.floats(0.9, 0.9999), "alpha": st.floats(0, 8), **b}),
    Row("ademamix", {"learning_rate": rates, "eps": epsilons, "eps_root": epsilons, "weight_decay": decays}),
    Row("simplified_ademamix", {"learning_rate": rates, "alpha": st.floats(0, 8), "eps": epsilons, **b}),
    Row("simplified_ademamix", {"learning_rate": rates, "eps_root": epsilons, "weight_decay": decays}),
    Row("adopt", {"learning_rate": rates, "eps": epsilons, **b}),
    Row("adopt", {"learning_rate": rates, "nesterov": True, **b}),
    Row("adopt", {"learning_rate": rates, "use_clipping": False, "eps": epsilons}),
    Row("sign_sgd", {"learning_rate": rates}),
    Row("rmsprop", {"learning_rate": rates, "bias_correction": True, "eps": epsilons, "decay": momenta}),
    Row("rmsprop", {"learning_rate": rates, "bias_correction": True, "eps_in_sqrt": False, "momentum": momenta}),
    Row("rmsprop", {"learning_rate": rates, "bias_correction": True, "centered": True, "eps": large}),
]
KERAS = [
    Row("Adadelta", {}),
    Row("Adadelta", {"rho": momenta, "epsilon": epsilons, "weight_decay": decays, "learning_rate": rates}),
    Row("Adamax", {}),
    Row("Adamax", {"epsilon": epsilons, "weight_decay": decays, "learning_rate": rates, **beta_12}),
    Row("Nadam", {}),
    Row("Nadam", {"epsilon": epsilons, "weight_decay": decays, "learning_rate": rates, **beta_12}),
    Row("Ftrl", {}),
    Row("Ftrl", {"learning_rate": rates, "learning_rate_power": st.floats(-0.9, -0.3), "weight_decay": decays}),
    Row(
        "Ftrl",
        {
            "learning_rate": rates,
            "initial_accumulator_value": st.floats(0.01, 1),
            "l1_regularization_strength": st.floats(0, 3),
            "l2_regularization_strength": st.floats(0, 3),
            "l2_shrinkage_regularization_strength": decays,
            "beta": st.floats(0, 3),
        },
    ),
]

r = optcore
starts = st.floats(1e-6, 1e-2)
three = st.tuples(st.floats(0.5, 0.98), st.floats(0.5, 0.95), st.floats(0.8, 0.999))


def _betas(o: Any) -> dict[str, float]:
    """Return the betas and the other options that Adam's relatives have in common."""
    numbers = {f"beta{i}": x for i, x in enumerate(o["betas"], 1)}
    return {**numbers, "lr": o["lr"], "weight_decay": o.get("weight_decay", 0.0)}


PEERS = [
    Peer(
        "AdaBelief",
        adam,
        lambda o: r.adabelief(epsilon=o["eps"], epsilon_root=o["eps"], decay="before", **_betas(o)),
    ),
    Peer(
        "Yogi",
        {"initial_accumulator": starts, **adam},
        lambda o: r.yogi(
            epsilon=o["eps"],
            initial_momentum=o["initial_accumulator"],
            initial_accumulator=o["initial_accumulator"],
            decay="before",
            **_betas(o),
        ),
    ),
    Peer("Adan", {**adam, "betas": three}, lambda o: r.adan(epsilon=o["eps"], **_betas(o))),
    Peer(
        "Adan",
        {**adam, "betas": three, "weight_decouple": True},
        lambda o: r.adan(epsilon=o["eps"], decay="before", **_betas(o)),
    ),
    Peer(
        "AdEMAMix",
        {**adam, "betas": three, "alpha": st.floats(0, 8), "weight_decouple": True},
        lambda o: r.ademamix(epsilon=o["eps"], alpha=o["alpha"], decay="before", **_betas(o)),
    ),
    Peer(  # without a decay, which rests too while a step is skipped
        "RAdam",
        {k: v for k, v in adam.items() if k != "weight_decay"},
        lambda o: r.radam(like="pytorch_optimizer", epsilon_hat=o["eps"], **_betas(o)),
    ),
    Peer(
        "FTRL",
        {"lr": rates, "beta": st.floats(0, 3), "lambda_1": st.floats(0, 3), "lambda_2": st.floats(0, 3)},
        lambda o: r.ftrl(like="paper", lr=o["lr"], beta=o["beta"], l1=o["lambda_1"], l2=o["lambda_2"]),
    ),
]


def growing_nadam(p: Any, grads: Any, *, lr: float, beta1: float, momentum_decay: float) -> Any:
    """Dozat 2016, alg. 2: the products of mu, not those of beta1, correct both halves of the numerator."""
    mu = lambda t: beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))  # noqa: E731
    m, n = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        n = 0.999 * n + (1 - 0.999) * g**2
        upto = np.prod([mu(i) for i in range(1, t + 1)])
        g_hat, m_hat = g / (1 - upto), m / (1 - upto * mu(t + 1))
        m_bar = (1 - mu(t)) * g_hat + mu(t + 1) * m_hat
        p = p - lr * m_bar / (np.sqrt(n / (1 - 0.999**t)) + 1e-8)
    return p


def averaged_sgd(p: Any, grads: Any, *, lr: float, lambd: float, alpha: float, weight_decay: float) -> Any:
    """Bottou 2012, eq. 10, on the gradient with coupled decay; ``lr_t = lr / (1 + lambd lr (t - 1))^alpha``."""
    for t, g in enumerate(grads, 1):
        rate = lr / (1 + lambd * lr * (t - 1)) ** alpha
        p = p - rate * (g + weight_decay * p + lambd * p)
    return p


def acprop_of_the_paper(p: Any, grads: Any, *, lr: float, beta1: float, first: float) -> Any:
    """Zhuang et al. 2021, alg. 1; ``first`` is the denominator's square before there is one."""
    m, s, s_hat = np.zeros_like(p), np.zeros_like(p), np.full_like(p, first)
    for t, g in enumerate(grads, 1):
        p = p - lr * g / (np.sqrt(s_hat) + 0.1)
        m = beta1 * m + (1 - beta1) * g
        s = 0.999 * s + (1 - 0.999) * (g - m) ** 2 + 0.1
        s_hat = s / (1 - 0.999**t)
    return p


def adopt_of_the_authors(p: Any, grads: Any, *, lr: float, exponent: float, weight_decay: float) -> Any:
    """Taniguchi et al. 2024, alg. 2, with coupled decay; step t = 0 fills v."""
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads):
        g = g + weight_decay * p
        if t == 0:
            v = g**2
            continue
        c = np.clip(g / np.maximum(np.sqrt(v), 1e-6), -(t**exponent), t**exponent)
        m = 0.9 * m + 0.1 * c
        p = p - lr * m
        v = 0.9999 * v + 0.0001 * g**2
    return p


def radam_of_the_paper(p: Any, grads: Any, *, lr: float, beta2: float) -> Any:
    """Liu et al. 2020, alg. 2, with an epsilon beside the root: the variance is tractable above 4."""
    m, v, most = np.zeros_like(p), np.zeros_like(p), 2 / (1 - beta2) - 1
    for t, g in enumerate(grads, 1):
        v = beta2 * v + (1 - beta2) * g**2
        m = 0.9 * m + 0.1 * g
        m_hat = m / (1 - 0.9**t)
        rho = most - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 4:
            r = np.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
            p = p - lr * r * m_hat / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
        else:
            p = p - lr * m_hat
    return p


@rule(kind="leafwise", axes=True)
def rows_dropped(xp: Any, p: Any, g: Any, s: NoState, t: Any) -> Any:
    """The gradient with rows of a negative first element set to 0, like words that are not in a batch."""
    first = g[(slice(None), *(slice(0, 1),) * (g.ndim - 1))]
    return xp.where(first < 0, xp.zeros_like(g), g), s


def torchs_sparse_adam(p: Any, grads: Any, *, lr: float, betas: Any, eps: float) -> Any:
    """torch.optim.SparseAdam, which is given the other rows as a sparse gradient."""
    import torch

    leaf = torch.nn.Parameter(torch.tensor(p))
    optimizer = torch.optim.SparseAdam([leaf], lr=lr, betas=betas, eps=eps)
    with torch.sparse.check_sparse_tensor_invariants():
        for g in grads:
            (rows,) = np.nonzero(g.reshape(len(g), -1)[:, 0] >= 0)
            leaf.grad = torch.sparse_coo_tensor(torch.tensor(rows[None]), torch.tensor(g[rows]), g.shape)
            optimizer.step()
    return leaf.detach().numpy()


def _sparse(lr: float, betas: Any, eps: float) -> Any:
    adam = r.sparse_adam(beta1=betas[0], beta2=betas[1], epsilon_hat=eps)
    return r.chain(rows_dropped, adam).bind(lr=lr)


PAPERS = [
    Paper(_sparse, torchs_sparse_adam, {"lr": rates, "betas": betas, "eps": epsilons}),
    Paper(r.nadam, growing_nadam, {"lr": rates, "beta1": st.floats(0.5, 0.95), "momentum_decay": st.floats(0, 1)}),
    Paper(
        r.asgd,
        averaged_sgd,
        {"lr": rates, "lambd": st.floats(0, 0.1), "alpha": st.floats(0, 1), "weight_decay": decays},
    ),
    Paper(
        r.acprop(epsilon=0.1, epsilon_root=0.1),
        acprop_of_the_paper,
        {"lr": rates, "beta1": st.floats(0.5, 0.95), "first": st.floats(0.1, 2.0)},
    ),
    Paper(r.adopt, adopt_of_the_authors, {"lr": rates, "exponent": st.floats(0, 1), "weight_decay": decays}),
    Paper(r.radam(like="paper"), radam_of_the_paper, {"lr": rates, "beta2": st.floats(0.65, 0.999)}),
]


def _apart(peer: str, rule: Any, **options: Any) -> float:
    """Return the largest difference between an optimizer of pytorch_optimizer and a rule."""
    params, grads = problem(0)
    theirs, mine = peers(peer, options, params, grads), ours(rule, params, grads)
    return max(float(np.abs(x - y).max()) for x, y in zip(theirs, mine, strict=True))


def _apart_from_optax(name: str, rule: Any, **options: Any) -> float:
    """Return the largest difference between an optimizer of optax and a rule."""
    import jax.numpy as jnp
    import optax

    params, grads = problem(0)
    tx, tree = getattr(optax, name)(**options), [jnp.asarray(p) for p in params]
    state = tx.init(tree)
    for g in grads:
        updates, state = tx.update([jnp.asarray(x) for x in g], state, tree)
        tree = optax.apply_updates(tree, updates)
    return max(float(np.abs(np.asarray(x) - y).max()) for x, y in zip(tree, ours(rule, params, grads), strict=True))


DIFFERENCES = [
    Difference(
        "Adadelta",
        "Keras",
        "decay 0.95, epsilon 1e-7",
        '`adadelta(like="keras")`',
        lambda: gap(r.adadelta, r.adadelta(like="keras"), lr=1.0),
    ),
    Difference(
        "AdaMax",
        "Keras",
        "epsilon beside the maximum; torch and optax have it beside the gradient, and so in the state",
        '`adamax(like="keras")`',
        lambda: gap(r.adamax, r.adamax(like="keras"), lr=1e-2),
    ),
    Difference(
        "NAdam",
        "Keras",
        "momentum_decay 1: the momentum is grown after some dozens of steps; 4e-3 in the paper and torch",
        '`nadam(like="keras")`',
        lambda: gap(r.nadam, r.nadam(like="keras"), lr=1e-2),
    ),
    Difference(
        "NAdam",
        "optax",
        "constant momentum",
        '`nadam(like="optax")`',
        lambda: gap(r.nadam, r.nadam(like="optax"), lr=1e-2),
    ),
    Difference(
        "RAdam",
        "torch",
        "epsilon beside the uncorrected root",
        '`radam(like="torch")`',
        lambda: gap(r.radam, r.radam(like="torch"), lr=1e-2),
    ),
    Difference(
        "RAdam",
        "paper",
        "rectified from 4 degrees of freedom on; the authors' code and all libraries from 5",
        '`radam(like="paper")`',
        lambda: gap(r.radam, r.radam(like="paper"), lr=1e-2),
    ),
    Difference(
        "RAdam",
        "pytorch_optimizer",
        "steps that are not rectified are skipped",
        '`radam(like="pytorch_optimizer")`',
        lambda: gap(r.radam, r.radam(like="pytorch_optimizer"), lr=1e-2),
    ),
    Difference(
        "Rprop",
        "optax",
        "moves by the step of the gradient before: a defect, not reproduced",
        "`rprop`",
        lambda: _apart_from_optax("rprop", r.rprop(lr=1e-2), learning_rate=1e-2),
    ),
    Difference(
        "Adan",
        "optax",
        "the change of the gradient weighs 1 - beta2 = 0.08; beta2 = 0.92 in the paper and its code",
        '`adan(like="optax")`',
        lambda: gap(r.adan, r.adan(like="optax"), lr=1e-2),
    ),
    Difference(
        "ACProp",
        "optax",
        "the gradient's distance from the mean before it; after it in the paper and in optax' own documentation",
        '`acprop(like="optax")`',
        lambda: gap(r.acprop, r.acprop(like="optax"), lr=1e-2),
    ),
    Difference(
        "ADOPT",
        "paper",
        "no clipping; the authors' code and optax clip",
        '`adopt(like="paper")`',
        lambda: gap(r.adopt, r.adopt(like="paper"), lr=1e-2),
    ),
    Difference(
        "ADOPT",
        "pytorch_optimizer",
        "clips at t^0.25; (t - 1)^0.25 in the authors' code and optax",
        "`adopt`",
        lambda: _apart("ADOPT", r.adopt(lr=1e-2), lr=1e-2),
    ),
    Difference(
        "SimplifiedAdEMAMix",
        "pytorch_optimizer",
        "a mean where the paper and optax have a sum, divided by the correction where it is multiplied",
        "`simplified_ademamix`",
        lambda: _apart("SimplifiedAdEMAMix", r.simplified_ademamix(lr=1e-2, alpha=2.0), lr=1e-2, alpha=2.0),
    ),
    Difference(
        "FTRL",
        "Keras",
        "the accumulator starts at 0.1, beta is 0; 0 and 1 in the paper",
        '`ftrl(like="paper")`',
        lambda: gap(r.ftrl, r.ftrl(like="paper"), lr=0.1),
    ),
]
