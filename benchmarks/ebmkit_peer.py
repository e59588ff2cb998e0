"""ebmkit's side of a comparison: its losses and samplers, trained by its own `Trainer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .workload import LEARNING_RATE, Workload


def energy_of(network: nn.Module) -> nn.Module:
    """A network as ebmkit's energies are: y (B, 2) -> (B,)."""
    return nn.Sequential(network, nn.Flatten(0))


def train_steps(workload: Workload, loss: Callable[[], Any]) -> Callable[[int], object]:
    """`Trainer.fit` on the data, whose minibatches it draws itself; `loss()` makes the loss."""
    from ebm import Trainer

    trainer = Trainer(energy_of(workload.network()), loss(), lr=LEARNING_RATE, device="cpu")
    return lambda steps: trainer.fit(workload.data, steps=steps, batch_size=workload.batch_size, verbose=False)


def value(network: nn.Module, loss: Any, y: torch.Tensor) -> torch.Tensor:
    """The loss of a network at a minibatch, with the noise of seed 0."""
    torch.manual_seed(0)
    found: torch.Tensor = loss(energy_of(network), y).loss
    return found.detach()


def chain(energy: nn.Module, sampler: Any, start: torch.Tensor, steps: int) -> torch.Tensor:
    """Where a sampler's chains end."""
    found: torch.Tensor = sampler.sample(energy, start, steps=steps)
    return found
