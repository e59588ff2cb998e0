"""A variational autoencoder in Pyro: R in a replicate plate against a plain SVI loop, one model at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam  # type: ignore[attr-defined]
from torch import nn

from ebm_vs_prob.budget import Budget
from ebm_vs_prob.energies import Network, ReplicatedMLP
from ebm_vs_prob.method import Method, MethodOptions, Setting
from ebm_vs_prob.model import Model, Training
from ebm_vs_prob.options import OptionBatch
from ebm_vs_prob.prob.noise import SuppliedNoise
from ebm_vs_prob.prob.objectives import ReplicatedELBO
from ebm_vs_prob.tasks import get_task
from ebm_vs_prob.tasks.base import Task
from ebm_vs_prob.training import Batch, Noise, train

from .timing import Arm, Section

LEARNING_RATE = 1e-3
ALONE, SVI_LOOP = "one after another", "Pyro SVI loop"


@dataclass(frozen=True)
class Workload:
    """p(z) = N(0, I), p(y | z) = N(f(z), s² I), q(z | y) = N(m(y), diag v(y)); f and (m, v) are SiLU networks."""

    hidden: tuple[int, int] = (32, 32)
    latent_dim: int = 2
    y_dim: int = 2
    observation_scale: float = 0.1
    batch_size: int = 64
    examples: int = 1000

    @property
    def encoder_sizes(self) -> tuple[int, ...]:
        return (self.y_dim, *self.hidden, 2 * self.latent_dim)

    @property
    def decoder_sizes(self) -> tuple[int, ...]:
        return (self.latent_dim, *self.hidden, self.y_dim)

    @property
    def task(self) -> Task:
        return get_task("circle", thickness=self.observation_scale)

    def setting(self, replicates: int, steps: int) -> Setting:
        seeds = tuple(range(replicates))
        return Setting(
            tasks=(self.task,) * replicates,
            seeds=seeds,
            options=OptionBatch.from_given(MethodOptions, {"learning_rate": LEARNING_RATE}, replicates, "VAE"),
            network=Network(hidden=self.hidden),
            budget=Budget(steps=steps, batch_size=self.batch_size, examples=self.examples),
            dtype=torch.float32,
            device="cpu",
            compile=False,
        )


WORKLOAD = Workload()


class ReplicatedVAE(nn.Module):
    """R autoencoders with stacked weights; model and guide live in a replicate plate around the data plate."""

    def __init__(self, workload: Workload, seeds: Sequence[int]) -> None:
        super().__init__()
        self.workload = workload
        self.num_replicates = len(seeds)
        self.encoder = ReplicatedMLP(seeds, workload.encoder_sizes)
        self.decoder = ReplicatedMLP(seeds, workload.decoder_sizes)

    @property
    def multiply_adds(self) -> float:
        return self.encoder.multiply_adds + self.decoder.multiply_adds

    def plates(self, y: torch.Tensor) -> tuple[pyro.plate, pyro.plate]:
        return pyro.plate("replicate", y.shape[0], dim=-2), pyro.plate("data", y.shape[1], dim=-1)

    def model(self, y: torch.Tensor) -> None:
        replicate, data = self.plates(y)
        with replicate, data:
            zero = y.new_zeros(*y.shape[:-1], self.workload.latent_dim)
            z = pyro.sample("z", dist.Normal(zero, 1.0, validate_args=False).to_event(1))
            loc = self.decoder(z)
            pyro.sample("y", dist.Normal(loc, self.workload.observation_scale, validate_args=False).to_event(1), obs=y)

    def guide(self, y: torch.Tensor) -> None:
        replicate, data = self.plates(y)
        with replicate, data:
            loc, log_scale = self.encoder(y).chunk(2, dim=-1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp(), validate_args=False).to_event(1))


class VariationalAutoencoder(Method):
    """The negative ELBO of every replicate, with noise supplied from outside, by the package's own training loop."""

    name = "variational_autoencoder"
    family = "prob"
    principle = "likelihood"
    normalised = True
    summary = "variational autoencoder by the ELBO (Kingma and Welling 2014)"

    @classmethod
    def energy_evaluations(cls, options: Any) -> float:
        return 3.0

    @classmethod
    def build(cls, setting: Setting) -> Model:
        return Model(cls, setting, ReplicatedVAE(WORKLOAD, setting.seeds))

    @classmethod
    def train(cls, model: Model) -> Training:
        vae: Any = model.module
        elbo, workload = ReplicatedELBO(), vae.workload

        def loss(batch: Batch) -> torch.Tensor:
            with SuppliedNoise(batch.noise):
                return elbo.replicate_losses(vae.model, vae.guide, batch.y) / workload.batch_size

        return train(model, loss, {"z": Noise("normal", (workload.batch_size, workload.latent_dim))})


def replicated(replicates: int) -> Callable[[int], object]:
    """The package's training loop on Pyro's ELBO, one number a replicate."""
    model = VariationalAutoencoder.build(WORKLOAD.setting(replicates, 1))

    def run(steps: int) -> object:
        model.setting = WORKLOAD.setting(replicates, steps)
        return VariationalAutoencoder.train(model)

    return run


class PlainVAE(nn.Module):
    """The same model and guide for one replicate, as Pyro's tutorial writes them, with Pyro's own defaults."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.workload = workload
        self.encoder = _perceptron(workload.encoder_sizes)
        self.decoder = _perceptron(workload.decoder_sizes)

    def model(self, y: torch.Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", y.shape[0]):
            zero = y.new_zeros(y.shape[0], self.workload.latent_dim)
            z = pyro.sample("z", dist.Normal(zero, torch.ones_like(zero)).to_event(1))
            pyro.sample("y", dist.Normal(self.decoder(z), self.workload.observation_scale).to_event(1), obs=y)

    def guide(self, y: torch.Tensor) -> None:
        pyro.module("encoder", self.encoder)
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
    vae = PlainVAE(WORKLOAD)
    svi = SVI(vae.model, vae.guide, Adam({"lr": LEARNING_RATE}), Trace_ELBO())
    _, data = WORKLOAD.task.sample(WORKLOAD.examples, 0)
    data = data.float()

    def run(steps: int) -> None:
        for _ in range(steps):
            svi.step(data[torch.randint(len(data), (WORKLOAD.batch_size,))])

    return run


def check_same_loss() -> None:
    """Raise unless both ways give the same ELBO for the same weights, data and noise."""
    together, plain = ReplicatedVAE(WORKLOAD, (0,)), PlainVAE(WORKLOAD)
    for stacked, single in ((together.encoder, plain.encoder), (together.decoder, plain.decoder)):
        linears = [layer for layer in single if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for linear, weight, bias in zip(linears, stacked.weights, stacked.biases, strict=True):
                linear.weight.copy_(weight[0].T)
                linear.bias.copy_(bias[0, 0])
    _, y = WORKLOAD.task.sample(WORKLOAD.batch_size, 0)
    y = y.float()
    noise = torch.randn(WORKLOAD.batch_size, WORKLOAD.latent_dim, generator=torch.Generator().manual_seed(0))
    with SuppliedNoise({"z": noise}):
        expected = Trace_ELBO().differentiable_loss(plain.model, plain.guide, y)
        own = ReplicatedELBO().replicate_losses(together.model, together.guide, y[None])
    torch.testing.assert_close(own[0], expected, rtol=1e-4, atol=1e-3)
    pyro.clear_param_store()


def section(replicates: Sequence[int]) -> Section:
    """`replicates` models together against a plain SVI loop, and against the same code one model at a time."""
    check_same_loss()
    arms = [Arm(SVI_LOOP, 1, svi_loop()), Arm(ALONE, 1, replicated(1))]
    arms += [Arm(f"{count} replicates", count, replicated(count)) for count in replicates]
    width = "x".join(str(units) for units in WORKLOAD.hidden)
    title = (
        f"Pyro VAE, y {WORKLOAD.y_dim}, z {WORKLOAD.latent_dim}, hidden {width} each way, batch {WORKLOAD.batch_size}"
    )
    return Section(title, arms, baselines=(SVI_LOOP, ALONE))
