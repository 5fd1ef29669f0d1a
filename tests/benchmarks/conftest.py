"""Benchmarks: ``pytest tests/benchmarks -n0``. A plain ``pytest`` does not look in here."""

from __future__ import annotations

from typing import Any


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("optcore")
    group.addoption("--size", type=int, default=None, help="elements of the one tensor")
    group.addoption("--rounds", type=int, default=9, help="rounds; the median counts")
    group.addoption("--check", action="store_true", help="fail where a target is missed")
