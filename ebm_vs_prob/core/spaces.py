"""What x, y and z are: boxes of real vectors, labels, or padded integer sequences."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .errors import invalid
from .process_state import holds

if TYPE_CHECKING:
    import torch


def check_tensor(field: str, value: object) -> None:
    """Raise a `ValueError` unless `value` is a tensor."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise invalid(field, value, "a torch.Tensor")


def reflected(y: torch.Tensor, bounds: tuple[float, float]) -> torch.Tensor:
    """y with each entry beyond a bound mirrored at it, and at the other where that takes it too far; then clamped."""
    import torch

    low, high = bounds
    if low == -math.inf and high == math.inf:
        return y
    y = torch.maximum(y, 2 * low - y)
    return torch.minimum(y, 2 * high - y).clamp(low, high)


@dataclass(frozen=True)
class Box:
    """Real vectors of `dim` entries, each within `bounds` (the same interval for every entry, in the task's units).

    A box of `dim` 0 is the x of an unconditional task. The bounds are where uniform starts are drawn and where a
    Gibbs-Boltzmann density is normalised; observation noise may leave them with probability below 1e-8.
    """

    bounds: tuple[float, float]
    dim: int

    kind: ClassVar[str] = "real vectors"

    def __post_init__(self) -> None:
        try:
            low, high = (float(bound) for bound in self.bounds)
        except (TypeError, ValueError):
            raise invalid("Box.bounds", self.bounds, "two finite numbers, low < high") from None
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise invalid("Box.bounds", self.bounds, "two finite numbers, low < high")
        if not isinstance(self.dim, int) or self.dim < 0:
            raise invalid("Box.dim", self.dim, "an integer >= 0")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one value."""
        return (self.dim,)

    @property
    def log_volume(self) -> float:
        """ln |Box|, in nats."""
        return self.dim * math.log(self.bounds[1] - self.bounds[0])

    def check(self, field: str, value: torch.Tensor) -> None:
        """Raise a `ValueError` unless `value` is (..., dim) and finite."""
        check_tensor(field, value)
        if value.ndim < 1 or value.shape[-1] != self.dim:
            raise invalid(f"{field}.shape", tuple(value.shape), f"(..., {self.dim})")
        if not holds(lambda: value.isfinite().all()):
            raise invalid(field, "non-finite entries", "finite numbers")

    def uniform(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Uniform points of shape (*shape, dim), float64, on the generator's device."""
        import torch

        low, high = self.bounds
        unit = torch.rand(*shape, self.dim, dtype=torch.float64, generator=generator, device=generator.device)
        return low + (high - low) * unit


class Discrete(ABC):
    """Answers made of finitely many symbols: `num_variables` of them, each one of `num_values`, int64 from 0 up."""

    kind: ClassVar[str]
    event_shape: tuple[int, ...]  # of one answer

    @property
    @abstractmethod
    def num_variables(self) -> int:
        """Symbols of one answer."""

    @property
    @abstractmethod
    def num_values(self) -> int:
        """What one symbol can be."""

    @property
    def num_answers(self) -> int:
        """How many answers there are, K^T."""
        return int(self.num_values**self.num_variables)

    def every_answer(self) -> torch.Tensor:
        """All answers, (num_answers, *event_shape) int64, the last symbol running fastest."""
        import torch

        symbols = torch.cartesian_prod(
            *[torch.arange(self.num_values, dtype=torch.int64, device="cpu")] * self.num_variables
        )
        return self.from_variables(symbols.reshape(-1, self.num_variables))

    @abstractmethod
    def check(self, field: str, value: torch.Tensor) -> None:
        """Raise a `ValueError` unless `value` is symbols of the space, in its shape."""

    def to_variables(self, y: torch.Tensor) -> torch.Tensor:
        """Answers (..., *event_shape) as (..., num_variables)."""
        return y.reshape(*y.shape[: y.ndim - len(self.event_shape)], self.num_variables)

    def from_variables(self, variables: torch.Tensor) -> torch.Tensor:
        """What `to_variables` made, back as (..., *event_shape)."""
        return variables.reshape(*variables.shape[:-1], *self.event_shape)

    def _check_symbols(self, field: str, value: torch.Tensor) -> None:
        check_tensor(field, value)
        import torch

        if value.dtype != torch.int64:
            raise invalid(f"{field}.dtype", value.dtype, "torch.int64: answers are symbols")
        if not holds(lambda: ((value >= 0) & (value < self.num_values)).all()):
            raise invalid(field, "entries outside the symbols", f"integers in 0 .. {self.num_values - 1}")


@dataclass(frozen=True)
class Labels(Discrete):
    """One of `n` classes, int64 in 0 .. n-1; n examples are (n,)."""

    n: int

    kind: ClassVar[str] = "labels"
    event_shape = ()
    num_variables = 1

    def __post_init__(self) -> None:
        if not isinstance(self.n, int) or self.n < 1:
            raise invalid("Labels.n", self.n, "an integer >= 1")

    @property
    def num_values(self) -> int:
        return self.n

    def check(self, field: str, value: torch.Tensor) -> None:
        """Raise a `ValueError` unless every entry of `value` is an integer in 0 .. n-1."""
        self._check_symbols(field, value)


@dataclass(frozen=True)
class Sequences(Discrete):
    """Sequences of symbols 0 .. vocabulary-1, int64, padded to `max_length` and accompanied by their lengths.

    Where all are of one length, that is `max_length`, and none accompany them.
    """

    vocabulary: int
    max_length: int

    kind: ClassVar[str] = "sequences of symbols"

    def __post_init__(self) -> None:
        for field in ("vocabulary", "max_length"):
            if not isinstance(getattr(self, field), int) or getattr(self, field) < 1:
                raise invalid(f"Sequences.{field}", getattr(self, field), "an integer >= 1")

    @property
    def event_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.max_length,)

    @property
    def num_variables(self) -> int:
        return self.max_length

    @property
    def num_values(self) -> int:
        return self.vocabulary

    def check(self, field: str, value: torch.Tensor, lengths: torch.Tensor | None = None) -> None:
        """Raise a `ValueError` unless `value` is (..., max_length) symbols and `lengths` (...) in 0 .. max_length."""
        check_tensor(field, value)
        if value.ndim < 1 or value.shape[-1] != self.max_length:
            raise invalid(f"{field}.shape", tuple(value.shape), f"(..., {self.max_length})")
        if lengths is not None and (
            lengths.shape != value.shape[:-1]
            or not holds(lambda: ((lengths >= 0) & (lengths <= self.max_length)).all())
        ):
            raise invalid(f"{field}.lengths", tuple(lengths.shape), f"(...) integers in 0 .. {self.max_length}")
        self._check_symbols(field, value)


Space = Box | Labels | Sequences
