"""A step of every sampler that torchebm has too: unadjusted Langevin and Hamiltonian Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ebm_vs_prob.core.seeding import torch_generator
from ebm_vs_prob.energies.mlp import MLPEnergy, Network
from ebm_vs_prob.samplers import HMC, ULA, Kernel, gibbs_potential, run

from . import torchebm_peer
from .timing import Arm, Section
from .workload import Workload

TORCHEBM = "torchebm sample"
LEAPFROG_STEPS, LENGTH = 10, 0.1
UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class Sampler:
    """One sampler on both sides, its step in the package's units: h, of which sqrt(2 h) is the length of a move."""

    title: str
    kernel: Kernel[Any]
    peer: Callable[[Any], Any]


def _langevin(energy: Any) -> Any:
    from torchebm.samplers import LangevinDynamics

    return LangevinDynamics(energy, step_size=LENGTH**2 / 2, device="cpu")


def _hamiltonian(energy: Any) -> Any:
    from torchebm.samplers import HamiltonianMonteCarlo

    return HamiltonianMonteCarlo(energy, step_size=LENGTH, n_leapfrog_steps=LEAPFROG_STEPS, device="cpu")


SAMPLERS = (
    Sampler("Unadjusted Langevin", ULA(), _langevin),
    Sampler(f"Hamiltonian Monte Carlo, {LEAPFROG_STEPS} leapfrog steps", HMC(LEAPFROG_STEPS), _hamiltonian),
)


def _package(workload: Workload, kernel: Kernel[Any], replicates: int) -> Callable[[int], object]:
    """Chains of the package's own energies, a minibatch of them for each replicate."""
    energy = MLPEnergy(range(replicates), 0, 2, Network(hidden=workload.hidden)).requires_grad_(False)
    potential = gibbs_potential(energy, torch.zeros(1, 1, 0))
    start = workload.data[: workload.batch_size].expand(replicates, -1, -1)
    generators = [torch_generator(seed, "benchmark") for seed in range(replicates)]

    @torch.no_grad()
    def steps_of(steps: int) -> None:
        state = kernel.init(potential, start, LENGTH**2 / 2)
        for after, _ in run(kernel, potential, state, steps, UNBOUNDED, generators):
            state = after

    return steps_of


def _torchebm(workload: Workload, sampler: Sampler) -> Callable[[int], object]:
    network = workload.network().requires_grad_(False)
    peer, start = sampler.peer(torchebm_peer.energy_of(network)), workload.data[: workload.batch_size]
    return lambda steps: peer.sample(x=start, n_steps=steps)


@torch.no_grad()
def check_same_step(workload: Workload, sampler: Sampler) -> None:
    """Raise unless one step of both sides from the same points with the same noise ends at the same points."""
    energy, network = workload.twins()
    start = workload.data[: workload.batch_size]
    drawn = torch.Generator().manual_seed(0)
    noise, uniform = torch.randn(start.shape, generator=drawn), torch.rand(len(start), generator=drawn)
    theirs = sampler.peer(torchebm_peer.energy_of(network)).sample(
        x=start, n_steps=1, generator=torch.Generator().manual_seed(0)
    )
    potential = gibbs_potential(energy, torch.zeros(1, 1, 0))
    state = sampler.kernel.init(potential, start[None], LENGTH**2 / 2)
    own, _ = sampler.kernel.step(potential, state, noise[None], uniform[None], UNBOUNDED)
    torch.testing.assert_close(own.y[0], theirs, rtol=1e-4, atol=1e-5)


def sections(workload: Workload, replicates: Sequence[int]) -> list[Section]:
    """One section a sampler: torchebm's, and the package's with 1 and more replicates."""
    built = []
    for sampler in SAMPLERS:
        check_same_step(workload, sampler)
        arms = [Arm(TORCHEBM, 1, _torchebm(workload, sampler))]
        for count in replicates:
            name = "1 replicate" if count == 1 else f"{count} replicates"
            arms.append(Arm(name, count, _package(workload, sampler.kernel, count)))
        title = f"{sampler.title}, {workload.batch_size} chains, hidden {workload.width}"
        built.append(Section(title, arms, baselines=(TORCHEBM,)))
    return built
