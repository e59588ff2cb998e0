"""Quadrature to a stated tolerance, for what a task knows exactly as an integral."""

from __future__ import annotations

from collections.abc import Callable


def refined(rule: Callable[[int], float], start: int, tolerance: float = 1e-10, doublings: int = 5) -> float:
    """The value of a quadrature rule, its number of nodes doubled until the value stays within `tolerance`.

    Raises:
        ArithmeticError: it still moves at the last doubling; no inexact value is returned.
    """
    value = rule(start)
    for doubling in range(1, doublings + 1):
        previous, value = value, rule(start * 2**doubling)
        if abs(value - previous) <= tolerance:
            return value
    raise ArithmeticError(
        f"quadrature moved by {abs(value - previous):.1e} at its last doubling: expected {tolerance:.0e}"
    )
