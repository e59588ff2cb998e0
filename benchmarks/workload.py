"""What every side of a comparison trains, and the package's own way of training it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ebm_vs_prob.core.budget import Budget
from ebm_vs_prob.energies.mlp import MLPEnergy, Network
from ebm_vs_prob.tasks import get_task
from ebm_vs_prob.tasks.base import Task
from ebm_vs_prob.training.fitting import get_method, prepare

LEARNING_RATE = 1e-2


@dataclass(frozen=True)
class Workload:
    """A 2-hid-hid-1 SiLU energy on the circle at thickness 0.1: minibatches of 64 of 1000 examples."""

    hidden: tuple[int, int]
    batch_size: int = 64
    examples: int = 1000

    @property
    def task(self) -> Task:
        return get_task("circle", thickness=0.1)

    @property
    def data(self) -> torch.Tensor:
        """Training answers, (examples, 2) float32."""
        _, y = self.task.sample(self.examples, 0)
        return y.float()

    @property
    def width(self) -> str:
        """The hidden layers as titles print them."""
        return "x".join(str(units) for units in self.hidden)

    def network(self) -> nn.Sequential:
        first, second = self.hidden
        return nn.Sequential(nn.Linear(2, first), nn.SiLU(), nn.Linear(first, second), nn.SiLU(), nn.Linear(second, 1))

    def energy(self) -> MLPEnergy:
        """The package's energy of one replicate."""
        return MLPEnergy((0,), 0, 2, Network(hidden=self.hidden))

    def twins(self) -> tuple[MLPEnergy, nn.Sequential]:
        """The package's energy and a plain network with the same weights."""
        energy, network = self.energy(), self.network()
        linears = [layer for layer in network if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for linear, weight, bias in zip(linears, energy.trunk.weights, energy.trunk.biases, strict=True):
                linear.weight.copy_(weight[0].T)
                linear.bias.copy_(bias[0, 0])
        return energy, network


def package(
    workload: Workload, name: str, options: Mapping[str, Any], replicates: int, compiled: bool = False
) -> Callable[[int], object]:
    """A method as a fit runs it: minibatches, noise, loss, backward, Adam, schedule and record of losses."""
    method = get_method(name)

    def setting(steps: int) -> Any:
        return prepare(
            method,
            workload.task,
            range(replicates),
            energy=None,
            network=Network(hidden=workload.hidden),
            budget=Budget(steps=steps, batch_size=workload.batch_size, examples=workload.examples),
            dtype=torch.float32,
            device="cpu",
            compile=compiled,
            options={"learning_rate": LEARNING_RATE, **options},
        )

    model = method.build(setting(1))

    def run(steps: int) -> object:
        model.setting = setting(steps)
        return method.train(model)

    return run
