"""A training step of the other objectives that torchebm or ebmkit have too: scores, divergences, contrasts.

What is no objective of real vectors they have on other data than the package (`PseudoLikelihood` on bits), and margins,
latent variables and likelihoods by importance sampling not at all. Flow and energy matching the package has not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ebm_vs_prob.ebm.objectives.contrastive import (
    binary_noise_contrastive_loss,
    contrastive_divergence_loss,
    energy_discrepancy_loss,
)
from ebm_vs_prob.ebm.objectives.equilibrium import equilibrium_matching_loss
from ebm_vs_prob.ebm.objectives.score import (
    denoising_score_matching_loss,
    score_matching_loss,
    sliced_score_matching_loss,
)
from ebm_vs_prob.energies.derivatives import gradient_and_products, gradient_and_trace
from ebm_vs_prob.energies.mlp import MLPEnergy

from . import ebmkit_peer, torchebm_peer
from .results import installed
from .timing import Arm, Section, looped
from .trainings import Trainings
from .workload import Workload, modes, package

TORCHEBM, EBMKIT = "torchebm", "ebmkit"
PROJECTIONS = 1
CHAIN_STEPS, STEP_SIZE, BUFFER = 10, 0.1, 1024
LEVELS, LOW, HIGH = 10, 0.03, 0.5
PERTURBATION, RIVALS = 0.3, 16
NOISE_DRAWS = 8
PLATEAU, MULTIPLIER = 0.8, 4.0


@dataclass(frozen=True)
class Sides:
    """A minibatch y (B, 2), and the same weights as the package's energy and as a plain network."""

    energy: MLPEnergy
    network: nn.Sequential
    y: torch.Tensor

    def gradient(self, y: torch.Tensor) -> torch.Tensor:
        """The package's dE/dy at y (B, 2), of its one replicate: (1, B, 2)."""
        return self.energy.energy_and_gradient(torch.zeros(1, len(y), 0), y[None])[1]

    def at(self, y: torch.Tensor) -> torch.Tensor:
        """The package's energies of y (n, 2), (1, n)."""
        return self.energy(torch.zeros(1, len(y), 0), y[None])


@dataclass(frozen=True)
class Objective:
    """One objective on all sides.

    Attributes:
        method, options: the package's.
        same: raises unless the sides give the same loss for the same weights, data and random numbers.
        torchebm, ebmkit: make their losses, torchebm's of its energy; None where they have none.
        steps, energy: torchebm's training, and what it takes for an energy.
    """

    title: str
    method: str
    options: dict[str, Any]
    same: Callable[[Objective, Sides], None]
    torchebm: Callable[[Any], Any] | None = None
    ebmkit: Callable[[], Any] | None = None
    steps: Callable[..., Callable[[int], object]] = torchebm_peer.train_steps
    energy: Callable[[nn.Module], Any] = torchebm_peer.energy_of

    def torchebm_value(self, sides: Sides, **given: Any) -> torch.Tensor | None:
        """torchebm's loss at the minibatch with the random numbers of seed 0; None where it is not installed."""
        if self.torchebm is None or not installed(TORCHEBM):
            return None
        drawn = torch.Generator().manual_seed(0)
        value: torch.Tensor = self.torchebm(self.energy(sides.network))(sides.y, generator=drawn, **given)
        return value.detach()

    def ebmkit_value(self, sides: Sides) -> torch.Tensor | None:
        """ebmkit's, likewise."""
        if self.ebmkit is None or not installed(EBMKIT):
            return None
        return ebmkit_peer.value(sides.network, self.ebmkit(), sides.y)


def _torchebm(name: str, **options: Any) -> Callable[[Any], Any]:
    def make(energy: Any) -> Any:
        from torchebm import losses

        return getattr(losses, name)(energy, device="cpu", **options)

    return make


def _ebmkit(name: str, *given: Any, **options: Any) -> Callable[[], Any]:
    def make() -> Any:
        import ebm

        return getattr(ebm, name)(*given, **options)

    return make


def _contrastive(energy: Any, persistent: bool = False) -> Any:
    """With torchebm's Langevin sampler of the package's step: noise of standard deviation `STEP_SIZE`."""
    from torchebm.losses import ContrastiveDivergence
    from torchebm.samplers import LangevinDynamics

    return ContrastiveDivergence(
        energy,
        LangevinDynamics(energy, step_size=STEP_SIZE**2 / 2, device="cpu"),
        k_steps=CHAIN_STEPS,
        persistent=persistent,
        buffer_size=BUFFER,
        energy_reg_weight=0.0,
        device="cpu",
    )


def _persistent(energy: Any) -> Any:
    return _contrastive(energy, persistent=True)


def _contrastive_ebmkit() -> Any:
    """Chains that start from draws of N(0, I), since ebmkit has none that start from the data."""
    from ebm import ContrastiveDivergence, LangevinDynamics

    return ContrastiveDivergence(LangevinDynamics(STEP_SIZE**2 / 2, CHAIN_STEPS))


def _persistent_ebmkit() -> Any:
    from ebm import ContrastiveDivergence, LangevinDynamics, ReplayBuffer

    return ContrastiveDivergence(LangevinDynamics(STEP_SIZE**2 / 2, CHAIN_STEPS), ReplayBuffer(BUFFER, (2,)))


def _multiscale_ebmkit() -> Any:
    from ebm import MultiSigmaDenoisingScoreMatching, geometric_sigmas

    loss = MultiSigmaDenoisingScoreMatching(geometric_sigmas(HIGH, LOW, LEVELS))

    class OfOneEnergy(nn.Module):
        """ebmkit's loss tells the energy the level; the package's energy is one for all levels."""

        def forward(self, energy: nn.Module, y: torch.Tensor) -> Any:
            return loss(lambda y, level: energy(y), y)

    return OfOneEnergy()


def _slope_of(network: nn.Module) -> nn.Module:
    """The energy's gradient, as torchebm's implicit equilibrium matching takes a field, whatever the time."""

    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, y: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            y = y.detach().requires_grad_()
            return torch.autograd.grad(self.network(y).sum(), y, create_graph=True)[0]

    return Slope()


def _same(own: torch.Tensor, theirs: torch.Tensor | None) -> None:
    if theirs is not None:
        torch.testing.assert_close(own.detach().reshape(()), theirs.detach().reshape(()), rtol=1e-3, atol=1e-5)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _check_exact(objective: Objective, sides: Sides) -> None:
    own = score_matching_loss(*gradient_and_trace(sides.energy, torch.zeros(1, len(sides.y), 0), sides.y[None]))
    _same(own, objective.torchebm_value(sides))
    _same(own, objective.ebmkit_value(sides))


def _check_sliced(objective: Objective, sides: Sides) -> None:
    """torchebm projects on random signs, ebmkit on normal draws."""
    energy, y = sides.energy, sides.y
    drawn = torch.randn(PROJECTIONS * len(y), 2, generator=_seeded())

    def own(directions: torch.Tensor) -> torch.Tensor:
        projections = directions.reshape(1, PROJECTIONS, len(y), 2)
        slopes = gradient_and_products(energy, torch.zeros(1, len(y), 0), y[None], projections)
        return sliced_score_matching_loss(*slopes, projections, variance_reduced=False)

    _same(own(drawn.sign()), objective.torchebm_value(sides))
    _same(own(drawn), objective.ebmkit_value(sides))


def _check_multiscale(objective: Objective, sides: Sides) -> None:
    """ebmkit draws a level for each example, the package spreads them evenly: with the same levels it is the same."""
    drawn = _seeded()
    level = torch.logspace(math.log10(HIGH), math.log10(LOW), LEVELS)
    sigma = level[torch.randint(LEVELS, (len(sides.y),), generator=drawn)].unsqueeze(-1)
    noise = torch.randn(sides.y.shape, generator=drawn)
    gradient = sides.gradient(sides.y + sigma * noise)
    _same(denoising_score_matching_loss(gradient, noise[None], sigma[None]), objective.ebmkit_value(sides))


def _check_equilibrium(objective: Objective, sides: Sides) -> None:
    """torchebm takes the mean over coordinates, the package their sum."""
    noise = torch.randn(sides.y.shape, generator=torch.Generator().manual_seed(1))
    share = torch.rand(len(sides.y), generator=_seeded()).unsqueeze(-1)
    gradient = sides.gradient(share * sides.y + (1 - share) * noise)
    slope = MULTIPLIER * ((1 - share) / (1 - PLATEAU)).clamp_max(1.0)
    own = equilibrium_matching_loss(gradient, sides.y[None], noise[None], slope[None])
    _same(own / sides.y.shape[1], objective.torchebm_value(sides, x0=noise))


def _check_discrepancy(objective: Objective, sides: Sides) -> None:
    """ebmkit leaves out that the sum over rivals is a mean, which is a constant."""
    drawn, y = _seeded(), sides.y
    moved = torch.randn(y.shape, generator=drawn).unsqueeze(1)
    back = torch.randn(len(y), RIVALS, 2, generator=drawn)
    rivals = sides.at((y.unsqueeze(1) + PERTURBATION * (moved + back)).flatten(0, 1)).reshape(1, len(y), RIVALS)
    own = energy_discrepancy_loss(sides.at(y), rivals, torch.ones(1, 1))
    _same(own + torch.tensor(float(RIVALS)).log(), objective.ebmkit_value(sides))


def _check_noise_contrast(objective: Objective, sides: Sides) -> None:
    """On ebmkit's noise, N(0, I), and with its log-normaliser, which is 0 at first."""
    law = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), 1)
    y, noise = sides.y, torch.randn(NOISE_DRAWS * len(sides.y), 2, generator=_seeded())
    own = binary_noise_contrastive_loss(
        sides.at(y), sides.at(noise)[:, None], law.log_prob(y)[None], law.log_prob(noise)[None, None], torch.zeros(1, 1)
    )
    _same(own, objective.ebmkit_value(sides))


def _check_contrastive(objective: Objective, sides: Sides) -> None:
    """The loss of given ends of chains."""
    positive, negative = sides.y, sides.y.flip(0)[: len(sides.y) // 2].repeat(2, 1)
    own = contrastive_divergence_loss(sides.at(positive), sides.at(negative))
    if objective.torchebm is not None and installed(TORCHEBM):
        _same(own, objective.torchebm(torchebm_peer.energy_of(sides.network)).compute_loss(positive, negative))
    if installed(EBMKIT):
        from ebm import ContrastiveDivergence, LangevinDynamics

        still = ContrastiveDivergence(LangevinDynamics(STEP_SIZE**2 / 2, 0), init_fn=lambda _: negative)
        _same(own, ebmkit_peer.value(sides.network, still, positive))


_CHAIN = {"kernel": "langevin", "steps": CHAIN_STEPS, "step_size": STEP_SIZE}
OBJECTIVES = (
    Objective(
        "Exact score matching",
        "score_matching",
        {},
        _check_exact,
        _torchebm("ScoreMatching", hessian_method="exact"),
        _ebmkit("ExactScoreMatching"),
    ),
    Objective(
        "Sliced score matching",
        "sliced_score_matching",
        {"projections": PROJECTIONS, "variance_reduced": False},
        _check_sliced,
        _torchebm("SlicedScoreMatching", n_projections=PROJECTIONS),
        _ebmkit("SlicedScoreMatching", PROJECTIONS, vr=False),
    ),
    Objective(
        "Denoising at many noise levels",
        "multiscale_denoising_score_matching",
        {"sigma_min": LOW, "sigma_max": HIGH, "levels": LEVELS},
        _check_multiscale,
        ebmkit=_multiscale_ebmkit,
    ),
    Objective(
        "Equilibrium matching",
        "equilibrium_matching",
        {"plateau": PLATEAU, "multiplier": MULTIPLIER},
        _check_equilibrium,
        _torchebm("EquilibriumMatchingLoss", ct_threshold=PLATEAU, ct_multiplier=MULTIPLIER),
        energy=_slope_of,
    ),
    Objective(
        "Energy discrepancy",
        "energy_discrepancy",
        {"perturbation": PERTURBATION, "draws": RIVALS},
        _check_discrepancy,
        ebmkit=_ebmkit("EnergyDiscrepancy", PERTURBATION, RIVALS, 1.0),
    ),
    Objective(
        "Noise contrast",
        "noise_contrastive_estimation",
        {"proposals": NOISE_DRAWS},
        _check_noise_contrast,
        ebmkit=_ebmkit("NoiseContrastiveEstimation", noise_ratio=NOISE_DRAWS),
    ),
    Objective(
        "Contrastive divergence",
        "contrastive_divergence",
        _CHAIN,
        _check_contrastive,
        _contrastive,
        _contrastive_ebmkit,
        torchebm_peer.contrastive_steps,
    ),
    Objective(
        "Persistent contrastive divergence",
        "persistent_contrastive_divergence",
        {**_CHAIN, "buffer": BUFFER},
        _check_contrastive,
        _persistent,
        _persistent_ebmkit,
        torchebm_peer.contrastive_steps,
    ),
)


def sections(trainings: Trainings, workload: Workload, replicates: Sequence[int], compiled: bool) -> Iterator[Section]:
    """One section an objective: the peers' trainers, and 1 and more replicates of the package's.

    An objective of which no peer is installed has none.
    """
    for objective in OBJECTIVES:
        objective.same(objective, Sides(*workload.twins(), workload.data[: workload.batch_size]))
        arms = []
        if objective.torchebm is not None and installed(TORCHEBM):
            run = objective.steps(workload, objective.torchebm, objective.energy)
            arms.append(Arm(TORCHEBM, 1, looped(run)))
        if objective.ebmkit is not None and installed(EBMKIT):
            arms.append(Arm(EBMKIT, 1, looped(ebmkit_peer.train_steps(workload, objective.ebmkit))))
        baselines = tuple(arm.name for arm in arms)
        if not baselines:
            continue
        for mode in modes(compiled):
            for count in replicates:
                arms.append(package(trainings, workload, objective.method, objective.options, count, mode))
        yield Section(f"{objective.title}, hidden {workload.width}, batch {workload.batch_size}", arms, baselines)
