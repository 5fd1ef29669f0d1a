"""Literal scalar transcriptions of the papers, for laws that no library here has: one number at a time, float64.

Each class is one parameter array as nested loops see it: ``step(p, g, t)`` on flat lists of Python floats,
written from the source's equations and sharing nothing with the rules.
"""

from __future__ import annotations

import math


class AmsgradOfThePaper:
    """Reddi et al. 2018, alg. 2: no bias correction; epsilon as torch's."""

    def __init__(self, n: int, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> None:
        self.m, self.v, self.vmax = [0.0] * n, [0.0] * n, [0.0] * n
        self.b1, self.b2, self.eps = b1, b2, eps

    def step(self, p: list[float], g: list[float], t: int, lr: float) -> list[float]:
        out = []
        for i in range(len(p)):
            self.m[i] = self.b1 * self.m[i] + (1 - self.b1) * g[i]
            self.v[i] = self.b2 * self.v[i] + (1 - self.b2) * g[i] ** 2
            self.vmax[i] = max(self.vmax[i], self.v[i])
            out.append(p[i] - lr * self.m[i] / (math.sqrt(self.vmax[i]) + self.eps))
        return out


class AveragedMomentum:
    """The first moment of Kingma & Ba 2015, alg. 1, with its correction."""

    def __init__(self, n: int, beta: float = 0.9, debias: bool = False) -> None:
        self.m, self.beta, self.debias = [0.0] * n, beta, debias

    def step(self, p: list[float], g: list[float], t: int, lr: float) -> list[float]:
        self.m = [self.beta * m + (1 - self.beta) * x for m, x in zip(self.m, g, strict=True)]
        scale = 1 / (1 - self.beta**t) if self.debias else 1.0
        return [a - lr * m * scale for a, m in zip(p, self.m, strict=True)]


class ExponentiatedGradient:
    """Kivinen & Warmuth 1997, EGU."""

    def __init__(self, n: int) -> None:
        del n

    def step(self, p: list[float], g: list[float], t: int, lr: float) -> list[float]:
        return [a * math.exp(-lr * x) for a, x in zip(p, g, strict=True)]


class Cautious:
    """Liang et al. 2024, alg. 1, around Lion: mask by agreement, scale by size / (kept + 1)."""

    def __init__(self, n: int, b1: float = 0.9, b2: float = 0.99) -> None:
        self.m, self.b1, self.b2 = [0.0] * n, b1, b2

    def step(self, p: list[float], g: list[float], t: int, lr: float) -> list[float]:
        u = [_sign(self.b1 * m + (1 - self.b1) * x) for m, x in zip(self.m, g, strict=True)]
        self.m = [self.b2 * m + (1 - self.b2) * x for m, x in zip(self.m, g, strict=True)]
        mask = [1.0 if a * x > 0 else 0.0 for a, x in zip(u, g, strict=True)]
        scale = len(p) / (sum(mask) + 1)
        return [a - lr * d * k * scale for a, d, k in zip(p, u, mask, strict=True)]


class CautiousByMean(Cautious):
    """The authors' C-AdamW scaling: one over the kept share, at least 1e-3."""

    def step(self, p: list[float], g: list[float], t: int, lr: float) -> list[float]:
        u = [_sign(self.b1 * m + (1 - self.b1) * x) for m, x in zip(self.m, g, strict=True)]
        self.m = [self.b2 * m + (1 - self.b2) * x for m, x in zip(self.m, g, strict=True)]
        mask = [1.0 if a * x > 0 else 0.0 for a, x in zip(u, g, strict=True)]
        scale = 1 / max(sum(mask) / len(p), 1e-3)
        return [a - lr * d * k * scale for a, d, k in zip(p, u, mask, strict=True)]


class ProdigyOfTheAuthors:
    """konstmish/prodigy, with every switch and number of the authors' code."""

    def __init__(
        self, n: int, *, beta1: float, beta2: float, beta3: float | None, epsilon: float, d0: float,
        d_coefficient: float, growth: float, debias: bool, safeguard_warmup: bool, weight_decay: float,
    ) -> None:  # fmt: skip
        self.b1, self.b2 = beta1, beta2
        self.b3 = math.sqrt(beta2) if beta3 is None else beta3
        self.eps, self.d, self.d0, self.dmax, self.num = epsilon, d0, d0, d0, 0.0
        self.coef, self.growth, self.debias = d_coefficient, growth, debias
        self.safe, self.wd = safeguard_warmup, weight_decay
        self.m, self.v, self.s = [0.0] * n, [0.0] * n, [0.0] * n
        self.start: list[float] | None = None

    def step(self, p: list[float], g: list[float], t: int, lr: float) -> list[float]:
        self.start = list(p) if self.start is None else self.start
        dlr = self.d * lr
        if self.debias:
            dlr *= math.sqrt(1 - self.b2**t) / (1 - self.b1**t)
        inner = sum(x * (a0 - a) for x, a0, a in zip(g, self.start, p, strict=True))
        self.num = self.b3 * self.num + (self.d / self.d0) * dlr * inner
        self.m = [self.b1 * m + (1 - self.b1) * self.d * x for m, x in zip(self.m, g, strict=True)]
        self.v = [self.b2 * v + (1 - self.b2) * self.d**2 * x * x for v, x in zip(self.v, g, strict=True)]
        weight = (self.d / self.d0) * (self.d if self.safe else dlr)
        self.s = [self.b3 * s + weight * x for s, x in zip(self.s, g, strict=True)]
        estimate = self.coef * self.num / sum(abs(s) for s in self.s)
        self.dmax = max(self.dmax, estimate)
        first = max(self.d, estimate) if self.d == self.d0 else self.d
        new = min(self.dmax, first * self.growth)
        out = []
        for a, m, v in zip(p, self.m, self.v, strict=True):
            out.append(a - self.wd * dlr * a - dlr * m / (math.sqrt(v) + new * self.eps))
        self.d = new
        return out


class SoftClipped:
    """Zhang et al. 2020: g * gamma / (|g| + gamma)."""

    def __init__(self, n: int, max_norm: float = 1.0) -> None:
        self.gamma = max_norm

    def step(self, p: list[float], g: list[float], t: int, lr: float) -> list[float]:
        norm = math.sqrt(sum(x * x for x in g))
        return [a - lr * x * self.gamma / (norm + self.gamma) for a, x in zip(p, g, strict=True)]


class TrustRatio:
    """You et al. 2020: the step has the length of the parameter."""

    def __init__(self, n: int) -> None:
        del n

    def step(self, p: list[float], g: list[float], t: int, lr: float) -> list[float]:
        size, length = math.sqrt(sum(a * a for a in p)), math.sqrt(sum(x * x for x in g))
        return [a - lr * x * size / length for a, x in zip(p, g, strict=True)]


class AdafactorOfThePaper:
    """Shazeer & Stern 2018, alg. 4 for one matrix given row by row, alg. 5 for a vector, sec. 7's constants."""

    def __init__(self, n: int, columns: int | None = None) -> None:
        self.columns = columns
        self.r = [0.0] * (n // columns) if columns else []
        self.c = [0.0] * (columns or n)

    def step(self, p: list[float], g: list[float], t: int, lr: float) -> list[float]:
        b2, n = 1 - t**-0.8, len(p)
        square = [x * x + 1e-30 for x in g]
        if self.columns:
            k = self.columns
            rows = [square[i : i + k] for i in range(0, n, k)]
            self.r = [b2 * r + (1 - b2) * sum(row) / k for r, row in zip(self.r, rows, strict=True)]
            means = [sum(row[j] for row in rows) / len(rows) for j in range(k)]
            self.c = [b2 * c + (1 - b2) * mean for c, mean in zip(self.c, means, strict=True)]
            whole = sum(self.r) / len(self.r)
            v = [self.r[i // k] * self.c[i % k] / whole for i in range(n)]
        else:
            v = self.c = [b2 * c + (1 - b2) * x for c, x in zip(self.c, square, strict=True)]
        u = [x / math.sqrt(y) for x, y in zip(g, v, strict=True)]
        cut = max(1.0, math.sqrt(sum(x * x for x in u) / n))
        alpha = max(1e-3, math.sqrt(sum(a * a for a in p) / n)) * min(lr, t**-0.5)
        return [a - alpha * x / cut for a, x in zip(p, u, strict=True)]


def _sign(x: float) -> float:
    return (x > 0) - (x < 0)
