"""What an energy over all strings of symbols answers exactly, whatever adds it up."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from .errors import invalid
from .process_state import holds

if TYPE_CHECKING:
    import torch


class DiscreteEnergy(ABC):
    """E(y) of all y of T symbols, each one of K, in a batch: `FactorGraph` adds it up along a tree, `Automaton` along
    the states that it passes."""

    @property
    @abstractmethod
    def num_variables(self) -> int:
        """T."""

    @property
    @abstractmethod
    def num_values(self) -> int:
        """K."""

    @property
    @abstractmethod
    def batch_shape(self) -> torch.Size:
        """The shape of the batch."""

    @property
    def log_answers(self) -> float:
        """ln K^T: of the number of answers."""
        return self.num_variables * math.log(self.num_values)

    @classmethod
    @abstractmethod
    def stacked(cls, parts: Sequence[Self]) -> Self:
        """Energies of one kind and shape as one, with a first dimension of the batch for them."""

    def at(self, beta: torch.Tensor | float) -> Self:
        """The energy of which exp(-beta E(y)) is the law at an inverse temperature: itself, but where E is a free
        energy over something besides y, which is then at that temperature too."""
        return self

    @abstractmethod
    def energy(self, y: torch.Tensor) -> torch.Tensor:
        """E of answers y (*sample, *batch, T) int64, whose leading dimensions broadcast: (*sample, *batch)."""

    def checked(self, y: torch.Tensor) -> torch.Tensor:
        """Answers y (*sample, *batch, T) int64, expanded to the batch.

        Raises:
            ValueError: another length or dtype, or symbols that do not exist.
        """
        import torch

        if y.ndim < 1 or y.shape[-1] != self.num_variables or y.dtype != torch.int64:
            raise invalid("y", (tuple(y.shape), y.dtype), f"(..., {self.num_variables}) int64")
        if not torch.compiler.is_compiling() and not holds(lambda: ((y >= 0) & (y < self.num_values)).all()):
            raise invalid("y", "symbols that do not exist", f"integers in 0 .. {self.num_values - 1}")
        return y.expand(*torch.broadcast_shapes(self.batch_shape, y.shape[:-1]), -1)

    @abstractmethod
    def min_sum(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The answer of least energy, (*batch, T) int64, and that energy, (*batch); of equal answers the first."""

    @abstractmethod
    def free_energy(self, beta: torch.Tensor | float) -> torch.Tensor:
        """-1/beta ln(K^-T Σ_y exp(-beta E(y))), (*batch): the least energy at beta = inf, the mean at 0.

        The measure over answers is normalised, as everywhere in the package; ln Z is `log_answers` - beta F.

        Args:
            beta: inverse temperature(s) in [0, inf] that broadcast with the batch.
        """

    @abstractmethod
    def sample(self, beta: torch.Tensor | float, uniform: torch.Tensor) -> torch.Tensor:
        """Exact draws from exp(-beta E) / Z made of given noise, (*sample, *batch, T) int64.

        Args:
            beta: inverse temperature(s) in [0, inf] that broadcast with the batch; at inf the answer of least energy.
            uniform: uniforms on [0, 1), (*sample, *batch, T, K).

        Raises:
            ValueError: beta negative or NaN, or a shape of `uniform` that does not fit.
        """
