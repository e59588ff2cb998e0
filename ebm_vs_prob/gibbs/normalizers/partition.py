"""What a normaliser is given and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from ...core.discrete_energies import DiscreteEnergy
from ...core.errors import invalid
from ...core.spaces import Box, Discrete
from ...energies.evaluation import block_size

#: `uniforms(*tail)` gives fresh uniforms on [0, 1), float64, of shape (B, draws, *tail), B the flattened batch.
Uniforms = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Target:
    """An unnormalised density: `log_density(y)` takes rows (*batch, K, dim) and gives -beta E as (*batch, K).

    A row is a point of a box, or the symbols of a discrete answer, int64, in one dimension whatever their event shape.

    Attributes:
        beta: (*batch,) what `log_density` has multiplied the energy with.
        graph: for an energy that has one, gives the factor graph of its energies (not multiplied with beta), whose
            batch is this batch; None for other energies.
        part: gives the same density of a slice of the last dimension of the batch; None where there is none.
    """

    log_density: Callable[[torch.Tensor], torch.Tensor]
    batch_shape: torch.Size
    space: Box | Discrete
    dtype: torch.dtype
    device: torch.device
    beta: torch.Tensor
    graph: Callable[[], DiscreteEnergy] | None = None
    part: Callable[[slice], Target] | None = None

    @property
    def dim(self) -> int:
        """Length of a row."""
        return self.space.dim if isinstance(self.space, Box) else self.space.num_variables

    @property
    def bounds(self) -> tuple[float, float]:
        """Of the box that `box` has found the space to be."""
        assert isinstance(self.space, Box)
        return self.space.bounds

    def box(self, normalizer: str) -> Box:
        """The box on which the density lives.

        Raises:
            ValueError: the answers are discrete.
        """
        if isinstance(self.space, Box):
            return self.space
        raise invalid("normalizer", normalizer, f"'enumeration', 'messages' or 'importance' over {self.space.kind}")

    def discrete(self, normalizer: str) -> Discrete:
        """The space of its discrete answers.

        Raises:
            ValueError: the answers are real vectors.
        """
        if isinstance(self.space, Discrete):
            return self.space
        raise invalid("normalizer", normalizer, f"'quadrature', 'importance' or 'annealed' over {self.space.kind}")

    def inside(self, y: torch.Tensor) -> torch.Tensor:
        """Whether rows (..., dim) lie in the space: (...) bool. NaN does not."""
        low, high = self.space.bounds if isinstance(self.space, Box) else (0, self.space.num_values - 1)
        return ((y >= low) & (y <= high)).all(-1)

    def at(self, y: torch.Tensor) -> torch.Tensor:
        """float64 log-density at y (B, K, dim), B the flattened batch: (B, K), in calls of bounded size."""
        if isinstance(self.space, Box):
            y = y.to(self.dtype)
        y = y.reshape(*self.batch_shape, *y.shape[1:])
        size = block_size(self.device, self.batch_shape.numel())
        parts = [self.log_density(part) for part in y.split(size, dim=-2)]
        return torch.cat(parts, dim=-1).double().reshape(self.batch_shape.numel(), -1)


def value_and_slope(
    log_density: Callable[[torch.Tensor], torch.Tensor], y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A log-density and its gradient in y, which is 0 where torch cannot differentiate it: the step is then blind."""
    with torch.enable_grad():
        point = y.detach().requires_grad_()
        value = log_density(point)
        if not value.requires_grad:
            return value, torch.zeros_like(y)
        (slope,) = torch.autograd.grad(value.sum(), point, materialize_grads=True)
    return value.detach(), slope


class Partition(Protocol):
    """One partition function: its value and error, what is known of their quality, and draws from the density."""

    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]:
        """ln Z, differentiable in what the log-density depends on, and its error: the batch shape, nats."""

    def diagnostics(self) -> dict[str, torch.Tensor]:
        """Named tensors of the batch shape."""

    def sample(self, uniforms: Uniforms) -> torch.Tensor:
        """(B, draws, dim) rows of the density, B the flattened batch."""


class ExactPartition(ABC):
    """The partition function of discrete answers, a sum without error; it has the energies that a density needs."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @abstractmethod
    def log_z(self) -> tuple[torch.Tensor, torch.Tensor]: ...

    @abstractmethod
    def log_prob(self, y: torch.Tensor) -> torch.Tensor:
        """-beta E - ln Z at rows (*batch, K, dim), which are answers of the space: (*batch, K)."""

    @abstractmethod
    def sample(self, uniforms: Uniforms) -> torch.Tensor: ...

    def diagnostics(self) -> dict[str, torch.Tensor]:
        return {}


class HasTarget(Protocol):
    """A density that can be handed to a normaliser."""

    @property
    def target(self) -> Target:
        """Its unnormalised density."""
        ...


class Normalizer(Protocol):
    """Anything that can make a `Partition` of a `Target`."""

    def partition(self, target: Target) -> Partition: ...
