"""torchebm's side of a comparison: its energies, its losses and samplers, its trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .workload import LEARNING_RATE, Workload


def energy_of(network: nn.Module) -> Any:
    """A network as torchebm's `BaseModel`: y (B, 2) -> (B,)."""
    from torchebm.core import BaseModel

    class Energy(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            value: torch.Tensor = self.network(x)
            return value.squeeze(-1)

    return Energy()


def optimizer_of(energy: Any) -> torch.optim.Adam:
    """What torchebm's examples train with."""
    return torch.optim.Adam(energy.parameters(), lr=LEARNING_RATE)


def trainer_of(energy: Any, loss: Any) -> Any:
    """torchebm's trainer for a loss."""
    precision = torch.get_float32_matmul_precision()
    from torchebm.core.base_trainer import BaseTrainer

    # Importing the trainer changes this for the whole process, the other arms included.
    torch.set_float32_matmul_precision(precision)
    return BaseTrainer(model=energy, optimizer=optimizer_of(energy), loss_fn=loss, device="cpu")


def train_steps(
    workload: Workload, loss: Callable[[Any], Any], energy_of: Callable[[nn.Module], Any] = energy_of
) -> Callable[[int], object]:
    """`train_step` of the trainer on ready minibatches; `loss(energy)` makes the loss, `energy_of` the energy."""
    energy, data = energy_of(workload.network()), workload.data
    trainer = trainer_of(energy, loss(energy))

    def run(steps: int) -> None:
        energy.train()
        for _ in range(steps):
            trainer.train_step(data[torch.randint(len(data), (workload.batch_size,))])

    return run


def contrastive_steps(
    workload: Workload, loss: Callable[[Any], Any], energy_of: Callable[[nn.Module], Any] = energy_of
) -> Callable[[int], object]:
    """A torch loop round a loss that also gives its negatives.

    The trainer that torchebm 0.8.9 has for these cannot be built: it passes its loss an argument that it refuses.
    """
    energy, data = energy_of(workload.network()), workload.data
    optimizer, contrast = optimizer_of(energy), loss(energy)

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            value, _ = contrast(data[torch.randint(len(data), (workload.batch_size,))])
            value.backward()
            optimizer.step()

    return run


def train_epochs(workload: Workload, loss: Callable[[Any], Any]) -> Callable[[int], object]:
    """Epochs of a `DataLoader` with as many minibatches as steps."""
    energy, data = energy_of(workload.network()), workload.data
    trainer = trainer_of(energy, loss(energy))

    def run(steps: int) -> None:
        from torch.utils.data import DataLoader, RandomSampler

        sampler = RandomSampler(data, replacement=True, num_samples=steps * workload.batch_size)
        trainer.train_epoch(DataLoader(data, batch_size=workload.batch_size, sampler=sampler))  # type: ignore[arg-type]

    return run
