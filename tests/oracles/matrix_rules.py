"""The rows of matrix laws and of Sophia: Muon, Shampoo, SOAP, GaLore, Scion, Adafactor's further options."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import optcore
import oracles
from optcore.compose import Wrapped, combinator
from oracles import MATRICES, SHAPES, Difference, Paper, Peer, Rounding, Row, betas, decays, gap, ours, problem, rates
from oracles.matrix_papers import (
    adafactor_of_optax,
    adamuon_of_the_paper,
    descended_and_shrunk,
    galore_of_the_paper,
    grafted,
    muon_in_bfloat16,
    muon_of_its_authors,
    muon_of_torch,
    scion_of_the_paper,
    shampoo_of_the_paper,
    soap_of_the_authors,
    sophia_of_optax,
    sophia_of_pytorch_optimizer,
    sophia_of_the_paper,
)

r = optcore
first = st.floats(0.5, 0.95)
second = st.floats(0.8, 0.999)
moderate = st.floats(-2.0, 0.0).map(lambda e: 10.0**e)
"""An epsilon under a root of 2k: smaller ones raise the rounding of gradients by epsilon^(-1/2k) and are no test."""
KELLER = (3.4445, -4.7750, 2.0315)
polynomials = st.tuples(st.floats(3.0, 3.45), st.floats(-4.9, -4.7), st.floats(1.9, 2.04))
"""Around Keller Jordan's; larger ones raise some singular values above the point from which they diverge."""

TORCH_BFLOAT = (
    "torch iterates in bfloat16, which five iterations raise to 0.5 of a singular value, times 15 steps of lr"
)
TORCH = [
    Row("Muon", {"lr": 1e-4, "weight_decay": decays, "nesterov": False}, (), 1e-3, TORCH_BFLOAT, MATRICES),
    Row("Muon", {"lr": 1e-4, "momentum": first, "adjust_lr_fn": "match_rms_adamw"}, (), 1e-3, TORCH_BFLOAT, MATRICES),
    Row("Muon", {"lr": 1e-4, "ns_coefficients": polynomials, "ns_steps": 3}, (), 1e-3, TORCH_BFLOAT, MATRICES),
    Row("Muon", {"lr": 1e-4, "eps": 0.1, "adjust_lr_fn": "original"}, (), 1e-3, TORCH_BFLOAT, MATRICES),
]

OPTAX_TIME = "optax forms beta2_t in float32: 2^-24 of relative error in each of 15 steps of size lr * RMS(p) < 2"
OPTAX_SVD = "optax decomposes in float32: singular vectors are off by 2^-24 over their distance, here up to 1e-4"
adam = {"adam_b1": first, "adam_b2": second, "adam_weight_decay": decays}
OPTAX = [
    Row("muon", {"learning_rate": rates, "preconditioning": "spectral", "consistent_rms": st.floats(0.1, 0.5)}),
    Row("muon", {"learning_rate": rates, "preconditioning": "aol", "adaptive": True, "ns_coeffs": "dion"}),
    Row(
        "muon",
        {
            "learning_rate": rates,
            "preconditioning": "schatten",
            "nesterov": False,
            "ns_coeffs": polynomials,
            "ns_steps": 3,
            "beta": first,
            "adam_learning_rate": rates,
        },
    ),
    Row(
        "muon", {"learning_rate": rates, "ns_coeffs": (KELLER,) * 4, "eps": moderate, "adam_eps_root": moderate, **adam}
    ),
    Row(
        "adafactor",
        {
            "learning_rate": rates,
            "multiply_by_parameter_scale": False,
            "momentum": first,
            "weight_decay_rate": 0.01,
            "min_dim_size_to_factor": 2,
        },
        tolerance=2e-6,
        why=OPTAX_TIME,
    ),
    Row(
        "adafactor",
        {
            "learning_rate": rates,
            "decay_rate": 0.7,
            "clipping_threshold": None,
            "factored": False,
            "eps": 1e-3,
        },
        tolerance=2e-6,
        why=OPTAX_TIME,
    ),
    Row(
        "galore",
        {"learning_rate": 1e-3, "rank": 2, "scale": st.floats(0.1, 2), "weight_decay": decays},
        tolerance=1e-4,
        why=OPTAX_SVD,
    ),
]

KERAS_TIME = "Keras computes its scalars in float32, worth 2^-24 of a step here"
KERAS = [
    Row("Muon", {"nesterov": False, "rms_rate": None, "momentum": first}, tolerance=1e-8, why=KERAS_TIME),
    Row("Muon", {"ns_steps": 3, "muon_a": 3.0, "muon_b": -4.5, "muon_c": 2.0}, tolerance=1e-8, why=KERAS_TIME),
    Row("Muon", {"exclude_layers": ["v1"], "adam_weight_decay": decays, "rms_rate": 0.3}, (), 1e-8, KERAS_TIME),
    Row("Muon", {"adam_beta_1": first, "adam_beta_2": second, "epsilon": 1e-3}, (), 1e-8, KERAS_TIME),
]


def _shampoo(o: Any) -> Any:
    return r.shampoo(lr=o["lr"], epsilon=o["matrix_eps"], weight_decay=o["weight_decay"])


def _galore(o: Any) -> Any:
    numbers = dict(lr=o["lr"], beta1=o["betas"][0], beta2=o["betas"][1], epsilon_hat=o["eps"], rank=o["rank"])
    return r.galore(scale=o["scale"], weight_decay=o["weight_decay"], **numbers)


def _scion(o: Any) -> Any:
    """Return pytorch_optimizer's Scion as our rule: its constrained form is a decay of 1, LMONorm names the norm."""
    norm = {1: "spectral", 4: "sign", 6: "column", 7: "row"}[o["norm_type"]]
    plain = o.get("norm_kwargs", {}).get("normalize", o.get("norm_kwargs", {}).get("normalized", True))
    decay = 1.0 if o.get("constraint") else o.get("weight_decay", 0.0)
    rule = r.scion(norm=norm, normalize=plain, lr=o["lr"], scale=o["scale"], beta=1.0 - o["momentum"])
    return rule.bind(weight_decay=decay, layout="out_in")


def _soap(o: Any) -> Any:
    numbers = dict(lr=o["lr"], beta1=o["betas"][0], beta2=o["betas"][1], epsilon_hat=o["eps"], interval=100)
    switches = dict(
        correct_bias=o["correct_bias"], normalize=o["normalize_gradient"], max_dim=o["max_precondition_dim"]
    )
    switches |= dict(precondition_1d=o["precondition_1d"], epsilon_normalize=o["eps"])
    return r.soap(shampoo_beta=o["shampoo_beta"], weight_decay=o["weight_decay"], **numbers, **switches)


scion = {"lr": rates, "momentum": st.floats(0.05, 1.0, exclude_max=False), "scale": st.floats(0.5, 5)}
PO_SVD = "pytorch_optimizer decomposes in float32: singular vectors are off by 2^-24 over their distance"
SQUARES = ((3, 3), (4, 3), (2,))
"""Leaves whose first gram matrices have no null space of two dimensions, in which any basis is right."""
PEERS = [
    Peer("Shampoo", {"lr": rates, "matrix_eps": moderate, "weight_decay": decays}, _shampoo),
    Peer(
        "GaLore",
        {
            "lr": 1e-3,
            "betas": betas,
            "eps": st.floats(1e-6, 1e-3),
            "weight_decay": decays,
            "rank": 2,
            "update_proj_gap": 100,
            "scale": st.floats(0.1, 2),
            "projection_type": "std",
        },
        _galore,
        tolerance=1e-4,
        why=PO_SVD,
    ),
    Peer("SCION", {"norm_type": 4, "weight_decay": decays, **scion}, _scion, shapes=MATRICES),
    Peer("SCION", {"norm_type": 4, "norm_kwargs": {"normalize": False}, **scion}, _scion, shapes=MATRICES),
    Peer("SCION", {"norm_type": 6, "constraint": True, **scion}, _scion, shapes=MATRICES),
    Peer("SCION", {"norm_type": 7, **scion}, _scion, shapes=MATRICES),
    Peer("SCION", {"norm_type": 7, "norm_kwargs": {"normalized": False}, **scion}, _scion, shapes=MATRICES),
    Peer("SCION", {"norm_type": 1, **scion}, _scion, shapes=((7,), (3,))),
    Peer(
        "SOAP",
        {
            "lr": st.floats(1e-3, 1e-2),
            "betas": betas,
            "shampoo_beta": second,
            "weight_decay": decays,
            "eps": moderate,
            "precondition_frequency": 100,
            "max_precondition_dim": st.sampled_from([3, 10000]),
            "precondition_1d": st.booleans(),
            "correct_bias": st.booleans(),
            "normalize_gradient": st.booleans(),
        },
        _soap,
        tolerance=1e-9,
        why="eigenvectors of the first gram matrix are off by 2^-53 over the distance of its eigenvalues",
        shapes=SQUARES,
    ),
]


def _muon(polynomial: Any, beta: float, lr: float, weight_decay: float, **numbers: Any) -> Any:
    a, b, c = polynomial
    rule = r.muon(a=a, b=b, c=c, layout="out_in", rms=0.3, beta=beta, **numbers)
    return r.matrices(rule, r.adam, use="first").bind(lr=lr, weight_decay=weight_decay)


def _muon_of_torch(ns_coefficients: Any, ns_steps: int, eps: float, adjust_lr_fn: str | None, **options: Any) -> Any:
    a, b, c = ns_coefficients
    scale = "rms" if adjust_lr_fn == "match_rms_adamw" else "aspect"
    rule = r.muon(like="torch", a=a, b=b, c=c, iterations=ns_steps, floor=eps, scale=scale, layout="out_in")
    options["beta"] = options.pop("momentum")
    return rule.bind(decay="before", **options)


def _of_scion(polynomial: Any, **numbers: Any) -> Any:
    a, b, c = polynomial
    return r.scion(a=a, b=b, c=c, **numbers)


def _adamuon(polynomial: Any, **numbers: Any) -> Any:
    a, b, c = polynomial
    return r.adamuon(a=a, b=b, c=c, **numbers)


@combinator()
def estimated(inner: Any, xp: Any, p: Any, g: Any, s: Wrapped, t: Any) -> Any:
    """A combinator that does the caller's part of Sophia: before each step it writes g^2 into the estimate."""
    d, state = yield from inner(xp, p, g, s.inner._replace(estimate=g * g), t)
    return d, Wrapped(state)


def _sophia_h(lr: float, betas: Any, bound: float, eps: float, interval: int, weight_decay: float) -> Any:
    """Return SophiaH as a rule: clipping ``m / max(h, eps)`` at p is the paper's law with gamma = p, divided by p."""
    numbers = dict(gamma=bound, epsilon=bound * eps, interval=interval, beta1=betas[0], beta2=betas[1])
    return estimated(r.sophia(**numbers)).bind(lr=lr * bound, weight_decay=weight_decay / bound)


def _sophia_of_optax(
    learning_rate: float, b1: float, b2: float, eps: float, clip_threshold: Any, **numbers: Any
) -> Any:
    rule = r.sophia(like="optax", beta1=b1, beta2=b2, epsilon=eps, threshold=clip_threshold, gamma=numbers["gamma"])
    return estimated(rule(interval=numbers["update_interval"])).bind(
        lr=learning_rate, weight_decay=numbers["weight_decay"], decay="with"
    )


def _adafactor_of_optax(lr: float, offset: int, scaled: bool) -> Any:
    if scaled:
        return r.adafactor(like="optax", min_dim=2, offset=float(offset)).bind(lr=lr)
    return r.factored_rms(factored="largest", min_dim=2, offset=float(offset)).bind(lr=lr)


sophia = {"beta1": first, "beta2": second, "interval": st.integers(1, 5), "weight_decay": decays, "lr": rates}
newton = {"polynomial": polynomials, "iterations": st.integers(3, 6)}
SVD = "the polynomial of singular values and of matrices are the same to their rounding, raised 3.5 times a step"
PAPERS = [
    Paper(
        r.shampoo,
        shampoo_of_the_paper,
        {
            "lr": rates,
            "beta": st.one_of(st.none(), second),
            "epsilon": moderate,
            "interval": st.integers(1, 4),
            "weight_decay": decays,
        },
    ),
    Paper(
        r.galore,
        galore_of_the_paper,
        {
            "lr": rates,
            "beta1": first,
            "beta2": second,
            "epsilon_hat": moderate,
            "rank": st.integers(1, 3),
            "scale": st.floats(0.1, 2),
            "side": st.sampled_from(["smaller", "larger"]),
            "weight_decay": decays,
        },
    ),
    Paper(
        _muon,
        muon_of_its_authors,
        {
            "lr": rates,
            "beta": first,
            "nesterov": st.booleans(),
            "momentum": st.sampled_from(["ema", "sum"]),
            "scale": st.sampled_from(["aspect", "rms", "spectral", "none"]),
            "weight_decay": decays,
            **newton,
        },
        tolerance=1e-10,
        why=SVD,
        shapes=((4, 3), (3, 5), (5, 3, 2, 2)),
    ),
    Paper(
        _muon_of_torch,
        muon_of_torch,
        {
            "lr": rates,
            "momentum": first,
            "nesterov": st.booleans(),
            "weight_decay": decays,
            "ns_coefficients": polynomials,
            "ns_steps": st.integers(3, 6),
            "eps": st.one_of(moderate, st.just(10.0)),
            "adjust_lr_fn": st.sampled_from([None, "original", "match_rms_adamw"]),
        },
        shapes=MATRICES,
    ),
    Paper(
        _of_scion,
        scion_of_the_paper,
        {
            "lr": rates,
            "beta": first,
            "scale": st.floats(0.5, 5),
            "cap": st.booleans(),
            "normalize": st.booleans(),
            "layout": st.sampled_from(["out_in", "in_out"]),
            "epsilon_spectral": moderate,
            **newton,
        },
        tolerance=1e-10,
        why=SVD,
    ),
    Paper(
        _adamuon,
        adamuon_of_the_paper,
        {
            "lr": rates,
            "beta1": first,
            "beta2": second,
            "epsilon": moderate,
            "sign": st.booleans(),
            "nesterov": st.booleans(),
            "rms": st.floats(0.1, 1),
            **newton,
        },
        tolerance=1e-9,
        why=SVD + "; AdaMuon divides by small elements of it",
        shapes=MATRICES,
    ),
    Paper(
        r.soap,
        soap_of_the_authors,
        {
            "lr": st.floats(1e-3, 1e-2),
            "beta1": first,
            "beta2": second,
            "shampoo_beta": second,
            "interval": st.integers(2, 5),
            "max_dim": st.sampled_from([3, 10000]),
            "correct_bias": st.booleans(),
            "weight_decay": decays,
        },
        tolerance=1e-8,
        why="a basis that is turned is off by 2^-53 over the distance of eigenvalues at each turn",
        shapes=((3, 3), (4, 3), (7,)),
    ),
    Paper(
        lambda **numbers: estimated(r.sophia(**numbers)),
        sophia_of_the_paper,
        {"gamma": st.floats(1e-3, 0.1), "epsilon": moderate, "threshold": st.floats(0.5, 2), **sophia},
    ),
    Paper(
        lambda **numbers: estimated(r.sophia(**numbers)),
        sophia_of_the_paper,
        {"gamma": st.floats(0.1, 1), "epsilon": moderate, "threshold": None, **sophia},
    ),
    Paper(
        _sophia_h,
        sophia_of_pytorch_optimizer,
        {
            "lr": rates,
            "betas": betas,
            "bound": st.floats(1e-3, 0.1),
            "eps": moderate,
            "interval": st.integers(1, 5),
            "weight_decay": decays,
        },
    ),
    Paper(
        _sophia_of_optax,
        sophia_of_optax,
        {
            "learning_rate": rates,
            "b1": first,
            "b2": second,
            "eps": moderate,
            "weight_decay": decays,
            "gamma": st.floats(1e-3, 0.1),
            "clip_threshold": st.floats(0.5, 2),
            "update_interval": st.integers(1, 5),
        },
    ),
    Paper(
        _adafactor_of_optax,
        adafactor_of_optax,
        {"lr": rates, "offset": st.integers(0, 6), "scaled": st.booleans()},
        tolerance=2e-6,
        why=OPTAX_TIME,
    ),
    Paper(
        lambda lr, beta: r.graft(r.momentum(beta=beta), r.signum(beta=beta)).bind(lr=lr, decay="with"),
        grafted,
        {"lr": rates, "beta": first},
    ),
    Paper(
        lambda lr, rate: r.chain(r.rate, r.decayed_weights(rate=rate)).bind(lr=lr),
        descended_and_shrunk,
        {"lr": rates, "rate": st.floats(0, 0.1)},
    ),
]


def _apart(rule: Any, law: Any, shapes: Any = SHAPES) -> float:
    """Return the largest difference between a rule and another implementation after 15 steps."""
    params, grads = problem(0, shapes)
    return oracles.largest(ours(rule, params, grads), [law(p, [g[i] for g in grads]) for i, p in enumerate(params)])


_torchs_muon = r.muon(like="torch", layout="out_in", decay="before")
DIFFERENCES = [
    Difference(
        "Muon",
        "torch",
        "iterates in bfloat16; here in the leaf's precision",
        '`muon(like="torch")`',
        lambda: _apart(_torchs_muon, muon_in_bfloat16, MATRICES),
        Rounding("bfloat16", 2.0**-9, lambda: oracles.walked(_torchs_muon, MATRICES)),
    ),
    Difference(
        "GaLore",
        "optax",
        "projects the larger side, without the factor 0.25, epsilon 1e-8 after the correction",
        '`galore(like="optax")`',
        lambda: gap(r.galore(rank=2), r.galore(rank=2, like="optax"), lr=1e-3),
    ),
    Difference(
        "Sophia",
        "optax",
        "steps by the average from before this step's estimate, momentum corrected: the first step is of signs",
        '`sophia(like="optax")`',
        lambda: gap(estimated(r.sophia), estimated(r.sophia(like="optax")), lr=1e-3, weight_decay=0.0),
    ),
    Difference(
        "Adafactor",
        "optax",
        "NaN in the first `decay_offset` steps, here an average that starts anew after them",
        "`adafactor(offset=...)`",
        lambda: gap(r.adafactor, r.adafactor(offset=5.0), lr=0.01),
    ),
]
