"""A step of the samplers that torchebm or ebmkit have too: Langevin, Hamiltonian Monte Carlo, NUTS, tempering.

Trees of NUTS and exchanges of a ladder read their random numbers in an order of their own, so that no single step of
two sides can be the same: both have the same step, the same ladder, and trees that are cut off before they turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ebm_vs_prob.core.seeding import torch_generator
from ebm_vs_prob.energies.mlp import MLPEnergy, Network
from ebm_vs_prob.samplers import HMC, MALA, NUTS, ULA, Kernel, Tempering, gibbs_potential, run

from . import ebmkit_peer, torchebm_peer
from .results import installed
from .timing import Arm, Section, looped
from .workload import Workload, arm_name

TORCHEBM, EBMKIT = "torchebm", "ebmkit"
LEAPFROG_STEPS, LENGTH, DOUBLINGS, RUNGS = 10, 0.1, 3, 4
UNBOUNDED = (-math.inf, math.inf)
#: More steps than any turn asks for: chains stay where they are between two.
ENDLESS = 10**9


@dataclass(frozen=True)
class Sampler:
    """One sampler on all sides, its step in the package's units: h, of which sqrt(2 h) is the length of a move.

    `torchebm` makes torchebm's of its energy, where it has one, and `ebmkit` makes ebmkit's. `alike` says whether a
    step from the same points with the same noise ends at the same points.
    """

    title: str
    kernel: Kernel[Any]
    torchebm: Callable[[Any], Any] | None
    ebmkit: Callable[[], Any]
    alike: bool = True


def _langevin(energy: Any) -> Any:
    from torchebm.samplers import LangevinDynamics

    return LangevinDynamics(energy, step_size=LENGTH**2 / 2, device="cpu")


def _hamiltonian(energy: Any) -> Any:
    from torchebm.samplers import HamiltonianMonteCarlo

    return HamiltonianMonteCarlo(energy, step_size=LENGTH, n_leapfrog_steps=LEAPFROG_STEPS, device="cpu")


def _ebmkit(name: str, *given: Any, **options: Any) -> Callable[[], Any]:
    def make() -> Any:
        import ebm

        return getattr(ebm, name)(*given, **options)

    return make


def _ladder() -> Any:
    from ebm import MALA as Adjusted
    from ebm import ParallelTempering

    return ParallelTempering(Adjusted(LENGTH**2 / 2), tuple(2.0**rung for rung in range(RUNGS)))


SAMPLERS = (
    Sampler("Unadjusted Langevin", ULA(), _langevin, _ebmkit("LangevinDynamics", LENGTH**2 / 2)),
    Sampler("Metropolis-adjusted Langevin", MALA(), None, _ebmkit("MALA", LENGTH**2 / 2)),
    Sampler(
        f"Hamiltonian Monte Carlo, {LEAPFROG_STEPS} leapfrog steps",
        HMC(LEAPFROG_STEPS),
        _hamiltonian,
        _ebmkit("HMC", LENGTH, LEAPFROG_STEPS),
    ),
    Sampler(
        f"NUTS, {2**DOUBLINGS - 1} leapfrog steps at most",
        NUTS(DOUBLINGS),
        None,
        _ebmkit("NUTS", LENGTH, warmup=0, max_depth=DOUBLINGS),
        alike=False,
    ),
    Sampler(f"Tempering, {RUNGS} rungs of MALA", Tempering(RUNGS, 2.0 ** (1 - RUNGS)), None, _ladder, alike=False),
)


def _package(workload: Workload, kernel: Kernel[Any], replicates: int, compiled: bool) -> Callable[[int], object]:
    """Chains of the package's own energies, a minibatch of them for each replicate."""
    energy = MLPEnergy(range(replicates), 0, 2, Network(hidden=workload.hidden)).requires_grad_(False)
    potential = gibbs_potential(energy, torch.zeros(1, 1, 0))
    start = workload.data[: workload.batch_size].expand(replicates, -1, -1)
    generators = [torch_generator(seed, "benchmark") for seed in range(replicates)]
    state = kernel.init(potential, start, LENGTH**2 / 2)
    chains = run(kernel, potential, state, ENDLESS, UNBOUNDED, generators, compiled)

    @torch.no_grad()
    def steps_of(steps: int) -> None:
        for _ in range(steps):
            next(chains)

    return steps_of


def _theirs(workload: Workload, sampler: Sampler) -> list[Arm]:
    network, start = workload.network().requires_grad_(False), workload.data[: workload.batch_size]
    arms = []
    if sampler.torchebm is not None and installed(TORCHEBM):
        peer = sampler.torchebm(torchebm_peer.energy_of(network))
        arms.append(Arm(TORCHEBM, 1, looped(lambda steps: peer.sample(x=start, n_steps=steps))))
    if installed(EBMKIT):
        energy, chains = ebmkit_peer.energy_of(network), sampler.ebmkit()
        arms.append(Arm(EBMKIT, 1, looped(lambda steps: ebmkit_peer.chain(energy, chains, start, steps))))
    return arms


@torch.no_grad()
def check_same_step(workload: Workload, sampler: Sampler) -> None:
    """Raise unless one step of all sides from the same points with the same noise ends at the same points."""
    energy, network = workload.twins()
    start = workload.data[: workload.batch_size]
    drawn = torch.Generator().manual_seed(0)
    noise, uniform = torch.randn(start.shape, generator=drawn), torch.rand(len(start), generator=drawn)
    potential = gibbs_potential(energy, torch.zeros(1, 1, 0))
    state = sampler.kernel.init(potential, start[None], LENGTH**2 / 2)
    own, _ = sampler.kernel.step(potential, state, noise[None], uniform[None], UNBOUNDED)
    if sampler.torchebm is not None and installed(TORCHEBM):
        peer = sampler.torchebm(torchebm_peer.energy_of(network))
        theirs = peer.sample(x=start, n_steps=1, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(own.y[0], theirs, rtol=1e-4, atol=1e-5)
    if installed(EBMKIT):
        torch.manual_seed(0)
        theirs = ebmkit_peer.chain(ebmkit_peer.energy_of(network), sampler.ebmkit(), start, 1)
        torch.testing.assert_close(own.y[0], theirs, rtol=1e-4, atol=1e-5)


def sections(workload: Workload, replicates: Sequence[int], compiled: bool) -> Iterator[Section]:
    """One section a sampler: the peers', and the package's with 1 and more replicates; none without a peer."""
    for sampler in SAMPLERS:
        if sampler.alike:
            check_same_step(workload, sampler)
        arms = _theirs(workload, sampler)
        baselines = tuple(arm.name for arm in arms)
        if not baselines:
            continue
        for mode in ("written", "compiled") if compiled else ("written",):
            for count in replicates:
                chains = _package(workload, sampler.kernel, count, mode == "compiled")
                arms.append(Arm(arm_name(count, mode), count, looped(chains)))
        yield Section(f"{sampler.title}, {workload.batch_size} chains, hidden {workload.width}", arms, baselines)
