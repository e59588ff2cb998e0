"""What every side of a comparison trains, and the package's own way of training it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ebm_vs_prob.energies.mlp import MLPEnergy, Network
from ebm_vs_prob.tasks import get_task
from ebm_vs_prob.tasks.base import Task

from .timing import Arm
from .trainings import Plan, Trainings

LEARNING_RATE, THICKNESS = 1e-2, 0.1


@dataclass(frozen=True)
class Workload:
    """A 2-hid-hid-1 SiLU energy on the circle at thickness 0.1: minibatches of 64 of 1000 examples."""

    hidden: tuple[int, int]
    batch_size: int = 64
    examples: int = 1000

    @property
    def task(self) -> Task:
        return get_task("circle", thickness=THICKNESS)

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
    trainings: Trainings, workload: Workload, name: str, options: Mapping[str, Any], replicates: int, mode: str
) -> Arm:
    """A method as `fit` trains it, in a process of its own, which begins to be prepared now."""
    plan = Plan(
        name,
        ("circle", {"thickness": THICKNESS}),
        replicates,
        mode,
        workload.hidden,
        {"learning_rate": LEARNING_RATE, **options},
        batch_size=workload.batch_size,
        examples=workload.examples,
    )
    training = trainings.begin(plan)
    return Arm(arm_name(replicates, mode), replicates, training.take, training.ready, training.end)


def arm_name(replicates: int, mode: str) -> str:
    """How an arm of the package is printed."""
    return f"{replicates} replicate{'s' * (replicates > 1)}, {mode}"


def modes(compiled: bool) -> tuple[str, ...]:
    """How the package's arms do their steps."""
    return ("recorded", "compiled") if compiled else ("recorded",)
