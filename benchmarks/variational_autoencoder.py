"""Steps of variational inference: the package's `vae` against a plain Pyro loop and NumPyro's compiled scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam  # type: ignore[attr-defined]
from torch import nn

from ebm_vs_prob.core.budget import Budget
from ebm_vs_prob.energies.mlp import Network, ReplicatedMLP
from ebm_vs_prob.prob.latents.noise import SuppliedNoise
from ebm_vs_prob.prob.objectives.bounds import ReplicatedELBO
from ebm_vs_prob.training.fitting import fit

from .results import installed
from .timing import Arm, Section, looped
from .trainings import Trainings
from .workload import LEARNING_RATE, Workload, modes, package

LATENT_DIM, Y_DIM, SIGMA = 2, 2, 0.1
OPTIONS: dict[str, Any] = {"latent_dim": LATENT_DIM, "initial_sigma": SIGMA}
SVI_LOOP = "Pyro SVI loop"
WORKLOAD = Workload((32, 32))


class PlainVAE(nn.Module):
    """The same model and guide for one replicate, as Pyro's tutorial writes them, with Pyro's own defaults."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.encoder = _perceptron((Y_DIM, *workload.hidden, 2 * LATENT_DIM))
        self.decoder = _perceptron((LATENT_DIM, *workload.hidden, Y_DIM))
        self.log_sigma = nn.Parameter(torch.tensor(SIGMA).log())

    def model(self, y: torch.Tensor) -> None:
        pyro.module("vae", self)
        with pyro.plate("data", y.shape[0]):
            zero = y.new_zeros(y.shape[0], LATENT_DIM)
            z = pyro.sample("z", dist.Normal(zero, torch.ones_like(zero)).to_event(1))
            pyro.sample("y", dist.Normal(self.decoder(z), self.log_sigma.exp()).to_event(1), obs=y)

    def guide(self, y: torch.Tensor) -> None:
        pyro.module("vae", self)
        with pyro.plate("data", y.shape[0]):
            loc, log_scale = self.encoder(y).chunk(2, dim=-1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def _perceptron(sizes: Sequence[int]) -> nn.Sequential:
    first, second, third, last = sizes
    return nn.Sequential(
        nn.Linear(first, second), nn.SiLU(), nn.Linear(second, third), nn.SiLU(), nn.Linear(third, last)
    )


def svi_loop() -> Callable[[int], object]:
    """`pyro.infer.SVI` with `Trace_ELBO` and `pyro.optim.Adam`."""
    pyro.clear_param_store()
    vae, data = PlainVAE(WORKLOAD), WORKLOAD.data
    svi = SVI(vae.model, vae.guide, Adam({"lr": LEARNING_RATE}), Trace_ELBO())

    def run(steps: int) -> None:
        for _ in range(steps):
            svi.step(data[torch.randint(len(data), (WORKLOAD.batch_size,))])

    return run


def weights() -> Any:
    """The package's module for one replicate after a first step, whose weights all sides are compared at."""
    budget = Budget(steps=1, batch_size=WORKLOAD.batch_size, examples=WORKLOAD.examples)
    model = fit("vae", WORKLOAD.task, budget=budget, network=Network(hidden=WORKLOAD.hidden), **OPTIONS)
    return model.module


def numpyro_parameters(energy: Any) -> dict[str, Any]:
    """The weights of replicate 0 of the package's module, as NumPyro's side takes them."""

    def layers(network: ReplicatedMLP) -> list[tuple[Any, Any]]:
        pairs = zip(network.weights, network.biases, strict=True)
        return [(weight[0].detach().numpy(), bias[0, 0].detach().numpy()) for weight, bias in pairs]

    return {
        "encoder": layers(energy.guide.encoder),
        "decoder": layers(energy.decoder.trunk),
        "log_sigma": energy.log_sigma[0].detach().numpy(),
    }


def check_same_loss(energy: Any) -> None:
    """Raise unless all sides give the same -ELBO for the same weights, data and noise."""
    plain = PlainVAE(WORKLOAD)
    for stacked, single in ((energy.guide.encoder, plain.encoder), (energy.decoder.trunk, plain.decoder)):
        linears = [layer for layer in single if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for linear, weight, bias in zip(linears, stacked.weights, stacked.biases, strict=True):
                linear.weight.copy_(weight[0].T)
                linear.bias.copy_(bias[0, 0])
    y = WORKLOAD.data[: WORKLOAD.batch_size]
    noise = torch.randn(len(y), LATENT_DIM, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain.log_sigma.copy_(energy.log_sigma[0])
        with SuppliedNoise({"z": noise}):
            expected = Trace_ELBO().differentiable_loss(plain.model, plain.guide, y)
            own = ReplicatedELBO().replicate_losses(energy.model, energy.guide, y.new_empty(1, len(y), 0), y[None])
        loc, log_scale = plain.encoder(y).chunk(2, dim=-1)
        z = (loc + log_scale.exp() * noise).numpy()
    torch.testing.assert_close(own[0], expected, rtol=1e-4, atol=1e-3)
    if installed("numpyro"):
        from . import numpyro_peer

        theirs = numpyro_peer.loss(numpyro_parameters(energy), np.asarray(y), z)
        torch.testing.assert_close(torch.tensor(theirs), expected, rtol=1e-4, atol=1e-3)
    pyro.clear_param_store()


def section(trainings: Trainings, replicates: Sequence[int], compiled: bool) -> Section:
    """1 and more models of the package together against a plain SVI loop and NumPyro's compiled scan of as many."""
    energy = weights()
    check_same_loss(energy)
    arms, baselines = [Arm(SVI_LOOP, 1, looped(svi_loop()))], [SVI_LOOP]
    if installed("numpyro"):
        from . import numpyro_peer

        parameters = numpyro_parameters(energy)
        for count in replicates:
            run = numpyro_peer.scanned(WORKLOAD, parameters, LATENT_DIM, count)
            arms.append(Arm(f"NumPyro scan, {count} by vmap", count, looped(run)))
            baselines.append(arms[-1].name)
    for mode in modes(compiled):
        arms += [package(trainings, WORKLOAD, "vae", OPTIONS, count, mode) for count in replicates]
    title = f"vae, y {Y_DIM}, z {LATENT_DIM}, hidden {WORKLOAD.width} each way, batch {WORKLOAD.batch_size}"
    return Section(title, arms, tuple(baselines))
