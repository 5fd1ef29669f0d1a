"""Proofs for your own rules, on your own machine.

``check_rule(rule, backends=["numpy", "torch"])`` tests every law and reports; ``optcore.testing.laws`` holds the
laws one by one, ``optcore.testing.strategies`` the Hypothesis strategies, ``optcore.testing.bound`` the arrays that
carry certified error bounds. This package stands above the backends, which it compares.
"""

from optcore.testing.bound import Bounded, BoundNamespace
from optcore.testing.check import Report, check_rule, subjects
from optcore.testing.strategies import Case, cases, dyadic_cases, hyper_parameters

__all__ = [
    "BoundNamespace",
    "Bounded",
    "Case",
    "Report",
    "cases",
    "check_rule",
    "dyadic_cases",
    "hyper_parameters",
    "subjects",
]
