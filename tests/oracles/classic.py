"""The rows of SGD, Adam and their first relatives."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

import optcore
from oracles import MATRICES, Difference, Paper, Row, betas, decays, epsilons, gap, rates, transcriptions

momenta = st.floats(0.1, 0.99)
adam = {"betas": betas, "eps": epsilons, "lr": rates, "weight_decay": decays}
b = {"b1": st.floats(0.5, 0.95), "b2": st.floats(0.8, 0.999)}
beta = {"beta_1": st.floats(0.5, 0.95), "beta_2": st.floats(0.8, 0.999)}

TORCH = [
    Row("SGD", {"lr": rates}),
    Row("SGD", {"lr": rates, "momentum": momenta, "dampening": 0.3, "weight_decay": decays}),
    Row("SGD", {"momentum": momenta, "nesterov": True, "weight_decay": decays, "maximize": True}),
    Row("Adam", adam),
    Row("Adam", {"amsgrad": True, "decoupled_weight_decay": True, **adam}),
    Row("AdamW", {"betas": (0.8, 0.95), "eps": 1e-3}),
    Row("AdamW", {"amsgrad": True, "maximize": True, **adam}),
    Row("RMSprop", {"lr": rates, "alpha": momenta, "eps": epsilons}),
    Row("RMSprop", {"momentum": momenta, "centered": True, "weight_decay": decays, "eps": st.floats(1e-4, 0.1)}),
    Row("Adagrad", {"lr_decay": st.floats(0, 0.5), "weight_decay": decays, "lr": rates, "eps": epsilons}),
    Row("Adagrad", {"initial_accumulator_value": st.floats(0, 1), "maximize": True}),
    Row("Adam", {"maximize": True}),
    Row("RMSprop", {"maximize": True}),
    Row("Adafactor", {"maximize": True}),
    Row("Adafactor", {"weight_decay": decays, "lr": rates}),
    Row("Adafactor", {"eps": (1e-6, 1e-2), "d": st.floats(1, 2), "beta2_decay": st.floats(-0.9, -0.5)}),
]
OPTAX_TIME = "optax forms beta2_t in float32: 2^-24 of relative error in each of 15 steps of size lr * RMS(p) < 2"
OPTAX = [
    Row("sgd", {"learning_rate": rates}),
    Row("sgd", {"learning_rate": rates, "momentum": momenta}),
    Row("sgd", {"learning_rate": rates, "momentum": momenta, "nesterov": True}),
    Row("adam", {"learning_rate": rates, "eps_root": epsilons, **b}),
    Row("adam", {"learning_rate": rates, "nesterov": True}),
    Row("adam", {"learning_rate": rates, "nesterov": True, "eps": epsilons, "eps_root": epsilons, **b}),
    Row("amsgrad", {"learning_rate": rates, "eps": epsilons, "eps_root": epsilons, **b}),
    Row("amsgrad", {"learning_rate": 0.1}),
    Row("lamb", {"learning_rate": rates, "eps": epsilons, "eps_root": epsilons, "weight_decay": decays, **b}),
    Row("adamw", {"learning_rate": rates, "weight_decay": decays, "mask": {"a": True, "b": False, "c": True}}),
    Row("rmsprop", {"learning_rate": rates, "momentum": momenta, "centered": True, "eps": st.floats(1e-4, 0.1)}),
    Row("rmsprop", {"learning_rate": rates, "momentum": momenta, "nesterov": True, "eps": epsilons}),
    Row("rmsprop", {"learning_rate": rates, "eps_in_sqrt": False, "initial_scale": st.floats(0, 1)}),
    Row("adagrad", {"learning_rate": rates, "eps": epsilons, "initial_accumulator_value": st.floats(0, 1)}),
    Row("lion", {"learning_rate": rates, **b}),
    Row("sign_sgd", {"learning_rate": rates}),
    Row("signum", {"learning_rate": rates, "beta": momenta}),
    Row(
        "adafactor",
        {"learning_rate": rates, "momentum": momenta, "weight_decay_rate": 0.01, "min_dim_size_to_factor": 2},
        tolerance=2e-6,
        why=OPTAX_TIME,
    ),
    Row("adafactor", tolerance=2e-6, why=OPTAX_TIME),
    Row(
        "adafactor",
        {"learning_rate": rates, "multiply_by_parameter_scale": False, "min_dim_size_to_factor": 2},
        tolerance=2e-6,
        why=OPTAX_TIME,
    ),
    Row("muon", {"learning_rate": rates, "weight_decay": decays, "adam_weight_decay": decays}),
    Row("muon", {"learning_rate": rates, "nesterov": False, "consistent_rms": st.floats(0.1, 0.5)}),
    Row("prodigy", {"weight_decay": decays, "estim_lr0": 0.01}),
    Row(
        "prodigy", {"betas": betas, "beta3": st.floats(0.5, 0.9), "eps": 1e-4, "estim_lr_coef": 1.5, "estim_lr0": 0.01}
    ),
    Row("prodigy", {"safeguard_warmup": True, "estim_lr0": 0.01}),
    Row("lion", {"learning_rate": rates, "weight_decay": decays}),
]
KERAS_TIME = "Keras computes its scalars in float32, worth 2^-24 of a step here"
KERAS = [
    Row("SGD", {}),
    Row("SGD", {"momentum": momenta, "weight_decay": decays}),
    Row("SGD", {"momentum": momenta, "nesterov": True}),
    Row("Adam", {"weight_decay": decays, "epsilon": epsilons, **beta}),
    Row("Adam", {"amsgrad": True, **beta}),
    Row("AdamW", {}),
    Row("RMSprop", {"rho": momenta, "epsilon": epsilons}),
    Row("RMSprop", {"momentum": momenta, "centered": True}),
    Row("Adagrad", {"initial_accumulator_value": st.floats(0, 1), "epsilon": epsilons}),
    Row("Lion", {"weight_decay": decays, **beta}),
    Row("Lamb", {"weight_decay": decays, **beta}),
    Row("Adafactor", {}, tolerance=2e-9, why=KERAS_TIME),
    Row(
        "Adafactor",
        {
            "weight_decay": decays,
            "learning_rate": st.floats(0.1, 1),
            "epsilon_2": st.floats(0.01, 1),
            "clip_threshold": st.floats(0.5, 2),
            "beta_2_decay": st.floats(-0.9, -0.5),
        },
        tolerance=1e-6,
        why=KERAS_TIME,
    ),
    Row("AdamW", {"amsgrad": True, "epsilon": epsilons, "weight_decay": decays, **beta}),
    Row("Lamb", {"epsilon": epsilons}),
    Row("Muon", {"adam_lr_ratio": st.floats(0.1, 1)}, tolerance=1e-8, why=KERAS_TIME),
    Row("AdamW", {"global_clipnorm": 1.0, "use_ema": True, "gradient_accumulation_steps": 3}),
    Row("AdamW", {"clipvalue": 0.5, "loss_scale_factor": 4.0}),
]


def _turned(rule: object, steps: int = 10) -> object:
    """Return a rule with a rate that falls to a tenth at the tenth step."""
    rate = optcore.schedules.piecewise(start=0.1, points=[(steps, 0.01)])
    return rule.bind(lr=rate)  # type: ignore[attr-defined]


r = optcore
DIFFERENCES = [
    Difference(
        "momentum",
        "Keras",
        "the learning rate goes into the buffer: another path once it changes",
        "`velocity`, `nesterov_velocity`",
        lambda: gap(_turned(r.momentum), _turned(r.velocity)),
    ),
    Difference(
        "Adam",
        "Keras",
        "epsilon 1e-7 beside the uncorrected root",
        '`adam(like="keras")`',
        lambda: gap(r.adam, r.adam(like="keras"), lr=1e-3),
    ),
    Difference(
        "AdamW",
        "torch / optax / Keras",
        "decay 1e-2 / 1e-4 / 4e-3",
        "`like=` in the adapters",
        lambda: gap(r.adamw(weight_decay=1e-2), r.adamw(weight_decay=1e-4), lr=1e-3),
    ),
    Difference(
        "AMSGrad", "paper", "no bias correction", "`amsgrad`", lambda: gap(r.amsgrad, r.amsgrad(like="torch"), lr=1e-3)
    ),
    Difference(
        "AMSGrad",
        "optax",
        "the maximum of corrected moments; torch and Keras correct the maximum",
        '`amsgrad(like="optax")`',
        lambda: gap(r.amsgrad(like="optax"), r.amsgrad(like="torch"), lr=1e-3),
    ),
    Difference(
        "RMSprop",
        "torch",
        "decay 0.99, epsilon outside the root, momentum without the rate",
        '`rmsprop(like="torch")`',
        lambda: gap(r.rmsprop(like="torch"), r.rmsprop(like="keras"), lr=1e-2),
    ),
    Difference(
        "RMSprop",
        "optax, Keras",
        "decay 0.9, epsilon inside the root, momentum with the rate",
        "`rmsprop(like=...)`",
        lambda: gap(r.rmsprop, r.rmsprop(like="optax"), lr=1e-2),
    ),
    Difference(
        "Adagrad",
        "optax, Keras",
        "starts at 0.1, epsilon 1e-7 inside the root; torch at 0, 1e-10 outside",
        "`adagrad(like=...)`",
        lambda: gap(r.adagrad, r.adagrad(like="keras"), lr=1e-2),
    ),
    Difference(
        "LAMB",
        "Keras",
        "decay before, ratio without it; the paper and optax have it inside",
        '`chain(adam, trust_ratio)`, decay "before"',
        lambda: gap(
            r.lamb(weight_decay=0.1),
            r.chain(r.adam(epsilon=1e-6), r.trust_ratio).bind(weight_decay=0.1, decay="before"),
            lr=1e-2,
        ),
    ),
    Difference(
        "Adafactor",
        "torch",
        "clamps denominators at 1e-7 of them, here with gradients of 1e-8; the paper and Keras add 1e-30",
        '`adafactor(like="torch")`',
        lambda: gap(r.adafactor, r.adafactor(like="torch"), scale=1e-8),
    ),
    Difference(
        "Adafactor",
        "optax",
        "no relative step; the largest two axes of at least 128",
        '`adafactor(like="optax")`',
        lambda: gap(r.adafactor, r.adafactor(like="optax"), lr=0.01),
    ),
    Difference(
        "Muon",
        "optax",
        "bias-corrected mean where Keller Jordan has a mean",
        '`muon(like="optax")`',
        lambda: gap(r.muon, r.muon(like="optax"), MATRICES),
    ),
    Difference(
        "Muon",
        "Keras, Moonlight",
        "scaled by 0.2 sqrt(max(out, in)) to Adam's step size",
        '`muon(like="keras")`',
        lambda: gap(r.muon, r.muon(like="keras"), MATRICES, lr=0.02, weight_decay=0.0),
    ),
    Difference(
        "Prodigy",
        "optax",
        "bias correction on; off in the paper",
        '`prodigy(like="optax")`',
        lambda: gap(r.prodigy(d0=0.01), r.prodigy(like="optax", d0=0.01)),
    ),
]


def one_by_one(make: Any, columns: bool = False) -> Any:
    """Return a transcription on flat lists of Python floats as a law on one leaf."""

    def law(p: Any, grads: Any, *, lr: float, **numbers: Any) -> Any:
        shape = {"columns": p.shape[1]} if columns and p.ndim == 2 else {}
        running, at = make(p.size, **numbers, **shape), p.ravel().tolist()
        for t, g in enumerate(grads, 1):
            at = running.step(at, g.ravel().tolist(), t, lr)
        return np.reshape(at, p.shape)

    law.__name__ = make.__name__
    return law


def at_rate(rule: Any, **fixed: Any) -> Any:
    """Return a function that binds drawn numbers to a rule, which may have other names for them."""
    return lambda lr, **numbers: rule(**{RENAMED.get(k, k): v for k, v in numbers.items()}, **fixed).bind(lr=lr)


RENAMED = {"b1": "beta1", "b2": "beta2", "eps": "epsilon"}
PAPERS = [
    Paper(at_rate(r.amsgrad), one_by_one(transcriptions.AmsgradOfThePaper), {"lr": rates, **b, "eps": epsilons}),
    Paper(
        at_rate(r.averaged_momentum),
        one_by_one(transcriptions.AveragedMomentum),
        {"lr": rates, "beta": momenta, "debias": st.booleans()},
    ),
    Paper(at_rate(r.exponentiated_gradient), one_by_one(transcriptions.ExponentiatedGradient), {"lr": rates}),
    Paper(
        at_rate(r.clip_by_norm_soft),
        one_by_one(transcriptions.SoftClipped),
        {"lr": rates, "max_norm": st.floats(0.1, 9)},
    ),
    Paper(at_rate(r.trust_ratio), one_by_one(transcriptions.TrustRatio), {"lr": rates}),
    Paper(at_rate(lambda **n: r.cautious(r.lion(**n))), one_by_one(transcriptions.Cautious), {"lr": rates, **b}),
    Paper(
        at_rate(lambda **n: r.cautious(r.lion(**n), scaling="mean")),
        one_by_one(transcriptions.CautiousByMean),
        {"lr": rates, **b},
    ),
    Paper(
        at_rate(r.adafactor),
        one_by_one(transcriptions.AdafactorOfThePaper, columns=True),
        {"lr": rates},
        shapes=((6,), (4, 3)),
    ),
]
