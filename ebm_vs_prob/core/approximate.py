"""A number that knows what it may be off by."""

from __future__ import annotations

from typing import Any, Self

from .errors import invalid


class Approximate(float):
    """A float with an error: how far the truth may be from it, in the unit of the value.

    It is computed with as a float. Sums and products keep the error: as of bounds, those of two such numbers are the
    most that both can do. Any other operation gives a plain float.

    Args:
        value: the number.
        error: >= 0. The bound that a quadrature states, or the standard error of a mean; 0 of a closed form, which is
            off by rounding alone.

    Raises:
        ValueError: an error below 0, or that is no number.
    """

    error: float

    def __new__(cls, value: float, error: float = 0.0) -> Self:
        if not error >= 0:
            raise invalid("error", error, "a number >= 0")
        made = super().__new__(cls, value)
        made.error = float(error)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (float(self), self.error)

    def __add__(self, other: float) -> Approximate:
        if not isinstance(other, (float, int)):
            return NotImplemented
        return Approximate(float(self) + float(other), self.error + error_of(other))

    __radd__ = __add__

    def __mul__(self, factor: float) -> Approximate:
        if not isinstance(factor, (float, int)):
            return NotImplemented
        own, other, of_other = float(self), float(factor), error_of(factor)
        return Approximate(own * other, self.error * (abs(other) + of_other) + abs(own) * of_other)

    __rmul__ = __mul__


def error_of(value: float) -> float:
    """The error of an `Approximate`; 0 of a plain number."""
    return value.error if isinstance(value, Approximate) else 0.0
