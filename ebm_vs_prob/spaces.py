"""What x, y and z are: boxes of real vectors, labels, or padded integer sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import invalid

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Box:
    """Real vectors of `dim` entries, each within `bounds` (the same interval for every entry, in the task's units).

    A box of `dim` 0 is the x of an unconditional task. The bounds are where uniform starts are drawn and where a
    Gibbs-Boltzmann density is normalised; observation noise may leave them with probability below 1e-8.
    """

    bounds: tuple[float, float]
    dim: int

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise invalid("Box.bounds", self.bounds, "two finite numbers, low < high")
        if not isinstance(self.dim, int) or self.dim < 0:
            raise invalid("Box.dim", self.dim, "an integer >= 0")

    @property
    def log_volume(self) -> float:
        """ln |Box|, in nats."""
        return self.dim * math.log(self.bounds[1] - self.bounds[0])

    def check(self, field: str, value: torch.Tensor) -> None:
        """Raise a `ValueError` unless `value` is (..., dim) and finite."""
        if value.ndim < 1 or value.shape[-1] != self.dim:
            raise invalid(f"{field}.shape", tuple(value.shape), f"(..., {self.dim})")
        if not bool(value.isfinite().all()):
            raise invalid(field, "non-finite entries", "finite numbers")

    def uniform(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Uniform points of shape (*shape, dim), float64, on the generator's device."""
        import torch

        low, high = self.bounds
        unit = torch.rand(*shape, self.dim, dtype=torch.float64, generator=generator, device=generator.device)
        return low + (high - low) * unit


@dataclass(frozen=True)
class Labels:
    """One of `n` classes, int64 in 0 .. n-1."""

    n: int

    def __post_init__(self) -> None:
        if not isinstance(self.n, int) or self.n < 1:
            raise invalid("Labels.n", self.n, "an integer >= 1")

    def check(self, field: str, value: torch.Tensor) -> None:
        """Raise a `ValueError` unless every entry of `value` is an integer in 0 .. n-1."""
        if value.is_floating_point() or not bool(((value >= 0) & (value < self.n)).all()):
            raise invalid(field, "entries outside the labels", f"integers in 0 .. {self.n - 1}")


@dataclass(frozen=True)
class Sequences:
    """Sequences of symbols 0 .. vocabulary-1, int64, padded to `max_length` and accompanied by their lengths."""

    vocabulary: int
    max_length: int

    def __post_init__(self) -> None:
        for field in ("vocabulary", "max_length"):
            if not isinstance(getattr(self, field), int) or getattr(self, field) < 1:
                raise invalid(f"Sequences.{field}", getattr(self, field), "an integer >= 1")

    def check(self, field: str, value: torch.Tensor, lengths: torch.Tensor) -> None:
        """Raise a `ValueError` unless `value` is (n, max_length) symbols and `lengths` (n,) in 0 .. max_length."""
        if value.ndim != 2 or value.shape[1] != self.max_length:
            raise invalid(f"{field}.shape", tuple(value.shape), f"(n, {self.max_length})")
        if lengths.shape != value.shape[:1] or not bool(((lengths >= 0) & (lengths <= self.max_length)).all()):
            raise invalid(f"{field}.lengths", tuple(lengths.shape), f"(n,) integers in 0 .. {self.max_length}")
        if value.is_floating_point() or not bool(((value >= 0) & (value < self.vocabulary)).all()):
            raise invalid(field, "entries outside the vocabulary", f"integers in 0 .. {self.vocabulary - 1}")


Space = Box | Labels | Sequences
