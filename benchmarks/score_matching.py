"""Denoising score matching: replicates together, one model after another, a plain torch loop, torchebm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ebm_vs_prob.budget import Budget
from ebm_vs_prob.energies import MLPEnergy, Network
from ebm_vs_prob.fitting import get_method, prepare
from ebm_vs_prob.tasks import get_task
from ebm_vs_prob.tasks.base import Task

from .timing import Arm, Section

METHOD = "denoising_score_matching"
LEARNING_RATE = 1e-2
ALONE, LOOP, TORCHEBM = "one after another", "torch loop", "torchebm train_step"


@dataclass(frozen=True)
class Workload:
    """What every arm trains: a 2-hid-hid-1 SiLU energy on the circle, by denoising score matching at one sigma."""

    hidden: tuple[int, int]
    batch_size: int = 64
    examples: int = 1000
    sigma: float = 0.1

    @property
    def task(self) -> Task:
        return get_task("circle", thickness=0.1)

    @property
    def data(self) -> torch.Tensor:
        """Training answers, (examples, 2) float32."""
        _, y = self.task.sample(self.examples, 0)
        return y.float()

    def network(self) -> nn.Sequential:
        first, second = self.hidden
        return nn.Sequential(nn.Linear(2, first), nn.SiLU(), nn.Linear(first, second), nn.SiLU(), nn.Linear(second, 1))


def package(workload: Workload, replicates: int, compiled: bool = False) -> Callable[[int], object]:
    """The package's own training: minibatches, noise, loss, backward, Adam, schedule and record of losses."""
    method = get_method(METHOD)

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
            options={"learning_rate": LEARNING_RATE, "sigma": workload.sigma},
        )

    model = method.build(setting(1))

    def run(steps: int) -> object:
        model.setting = setting(steps)
        return method.train(model)

    return run


def torch_loss(network: nn.Module, y: torch.Tensor, noise: torch.Tensor, sigma: float) -> torch.Tensor:
    """The package's loss as it is usually written: autograd for the score, differentiated once more by backward."""
    noisy = (y + sigma * noise).requires_grad_()
    (gradient,) = torch.autograd.grad(network(noisy).sum(), noisy, create_graph=True)
    return 0.5 * (sigma * gradient - noise).square().sum(-1).mean()


def torch_loop(workload: Workload, fused: bool | None = None) -> Callable[[int], object]:
    """One `nn.Sequential`, autograd twice, `torch.optim.Adam`."""
    network, data = workload.network(), workload.data
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=fused)

    def run(steps: int) -> None:
        for _ in range(steps):
            y = data[torch.randint(len(data), (workload.batch_size,))]
            optimizer.zero_grad()
            torch_loss(network, y, torch.randn_like(y), workload.sigma).backward()
            optimizer.step()

    return run


def torchebm_trainer(workload: Workload, loader: bool) -> Callable[[int], object]:
    """torchebm's `BaseTrainer` with its `DenoisingScoreMatching`: by `train_step`, or epochs of a `DataLoader`."""
    precision = torch.get_float32_matmul_precision()
    from torchebm.core import BaseModel
    from torchebm.core.base_trainer import BaseTrainer
    from torchebm.losses import DenoisingScoreMatching

    # Importing the trainer changes this for the whole process, the other arms included.
    torch.set_float32_matmul_precision(precision)

    class Energy(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.network = workload.network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x).squeeze(-1)

    energy, data = Energy(), workload.data
    trainer = BaseTrainer(
        model=energy,
        optimizer=torch.optim.Adam(energy.parameters(), lr=LEARNING_RATE),
        loss_fn=DenoisingScoreMatching(energy, noise_scale=workload.sigma, device="cpu"),
        device="cpu",
    )

    def run_steps(steps: int) -> None:
        energy.train()
        for _ in range(steps):
            trainer.train_step(data[torch.randint(len(data), (workload.batch_size,))])

    def run_epoch(steps: int) -> None:
        from torch.utils.data import DataLoader, RandomSampler

        sampler = RandomSampler(data, replacement=True, num_samples=steps * workload.batch_size)
        trainer.train_epoch(DataLoader(data, batch_size=workload.batch_size, sampler=sampler))  # type: ignore[arg-type]

    return run_epoch if loader else run_steps


def check_same_loss(workload: Workload) -> None:
    """Raise unless package, torch loop and torchebm give the same loss for the same weights, data and noise."""
    from torchebm.core import BaseModel
    from torchebm.losses import DenoisingScoreMatching

    from ebm_vs_prob.ebm.score_objectives import denoising_score_matching_loss

    energy = MLPEnergy((0,), 0, 2, Network(hidden=workload.hidden))
    network = workload.network()
    linears = [layer for layer in network if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for linear, weight, bias in zip(linears, energy.trunk.weights, energy.trunk.biases, strict=True):
            linear.weight.copy_(weight[0].T)
            linear.bias.copy_(bias[0, 0])

    class Energy(BaseModel):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return network(x).squeeze(-1)

    sigma, y = workload.sigma, workload.data[: workload.batch_size]
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    peer = DenoisingScoreMatching(Energy(), noise_scale=sigma, device="cpu")
    theirs = peer(y, generator=torch.Generator().manual_seed(0)).detach() * sigma**2
    plain = torch_loss(network, y, noise, sigma).detach()
    _, gradient = energy.energy_and_gradient(torch.zeros(1, len(y), 0), (y + sigma * noise)[None])
    own = denoising_score_matching_loss(gradient, noise[None], torch.full((1, 1, 1), sigma)).detach()[0]
    torch.testing.assert_close(torch.stack([own, theirs]), plain.expand(2), rtol=1e-4, atol=1e-6)


def section(workload: Workload, replicates: Sequence[int], compiled: bool) -> Section:
    """The arms of one network: `replicates` models together, against one at a time by the same code and by others."""
    check_same_loss(workload)
    arms = [
        Arm(LOOP, 1, torch_loop(workload)),
        Arm("torch loop, fused Adam", 1, torch_loop(workload, fused=True)),
        Arm(TORCHEBM, 1, torchebm_trainer(workload, loader=False)),
        Arm("torchebm DataLoader", 1, torchebm_trainer(workload, loader=True)),
        Arm(ALONE, 1, package(workload, 1)),
        *(Arm(f"{count} replicates", count, package(workload, count)) for count in replicates),
    ]
    if compiled:
        arms.append(Arm(f"{ALONE}, compiled", 1, package(workload, 1, compiled=True)))
        arms += [
            Arm(f"{count} replicates, compiled", count, package(workload, count, compiled=True)) for count in replicates
        ]
    width = "x".join(str(units) for units in workload.hidden)
    title = f"Denoising score matching, hidden {width}, batch {workload.batch_size}"
    return Section(title, arms, baselines=(ALONE, LOOP, TORCHEBM))
