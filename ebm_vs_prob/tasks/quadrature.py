"""Quadrature to a stated tolerance, for what a task knows exactly as an integral."""

from __future__ import annotations

from collections.abc import Callable

from ..core.approximate import Approximate, error_of

#: What rules may leave out beyond their reach, and rounding.
LEFT_OUT = 1e-10


def refined(
    rule: Callable[[int], float], start: int, tolerance: float = 1e-10, doublings: int = 5, of_integrand: float = 0.0
) -> Approximate:
    """The value of a quadrature rule, its number of nodes doubled until the value stays within `tolerance`.

    Its error is by how much the last doubling moved it, which bounds what a rule that converges is still off by; with
    what the integrand and the rule's own value are off by, and 1e-10 for what rules leave out.

    Args:
        rule: the value with so many nodes.
        start: nodes of the first value.
        tolerance: by how much the last doubling may move it.
        doublings: at most.
        of_integrand: what errors of the integrand may add up to.

    Raises:
        ArithmeticError: it still moves at the last doubling; no inexact value is returned.
    """
    value = rule(start)
    for doubling in range(1, doublings + 1):
        previous, value = value, rule(start * 2**doubling)
        moved = abs(float(value) - float(previous))
        if moved <= tolerance:
            return Approximate(value, moved + error_of(value) + of_integrand + LEFT_OUT)
    raise ArithmeticError(
        f"quadrature moved by {abs(value - previous):.1e} at its last doubling: expected {tolerance:.0e}"
    )
