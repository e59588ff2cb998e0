"""A training step of the other objectives that torchebm has too: exact and sliced score matching, two divergences.

Its margins, noise-contrastive, importance-sampled and latent objectives the package has for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ebm_vs_prob.ebm.objectives.contrastive import contrastive_divergence_loss
from ebm_vs_prob.ebm.objectives.score import score_matching_loss, sliced_score_matching_loss
from ebm_vs_prob.energies.derivatives import gradient_and_products, gradient_and_trace

from . import torchebm_peer
from .timing import Arm, Section
from .workload import Workload, package

TORCHEBM = "torchebm"
PROJECTIONS = 1
CHAIN_STEPS, STEP_SIZE, BUFFER = 10, 0.1, 1024


@dataclass(frozen=True)
class Objective:
    """One objective on both sides.

    Attributes:
        method, options: the package's.
        peer: makes torchebm's loss of its energy. steps: trains with it.
        check: raises unless both sides give the same loss for the same weights, data and random numbers.
    """

    title: str
    method: str
    options: dict[str, Any]
    peer: Callable[[Any], Any]
    steps: Callable[[Workload, Callable[[Any], Any]], Callable[[int], object]]
    check: Callable[[Workload, Callable[[Any], Any]], None]


def _exact(energy: Any) -> Any:
    from torchebm.losses import ScoreMatching

    return ScoreMatching(energy, hessian_method="exact", device="cpu")


def _sliced(energy: Any) -> Any:
    from torchebm.losses import SlicedScoreMatching

    return SlicedScoreMatching(energy, n_projections=PROJECTIONS, device="cpu")


def langevin(energy: Any) -> Any:
    """torchebm's Langevin sampler with the step of the package's: noise of standard deviation `STEP_SIZE`."""
    from torchebm.samplers import LangevinDynamics

    return LangevinDynamics(energy, step_size=STEP_SIZE**2 / 2, device="cpu")


def _contrastive(energy: Any, persistent: bool = False) -> Any:
    from torchebm.losses import ContrastiveDivergence

    return ContrastiveDivergence(
        energy,
        langevin(energy),
        k_steps=CHAIN_STEPS,
        persistent=persistent,
        buffer_size=BUFFER,
        energy_reg_weight=0.0,
        device="cpu",
    )


def _persistent(energy: Any) -> Any:
    return _contrastive(energy, persistent=True)


def _same(own: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(own.detach().reshape(()), theirs.detach().reshape(()), rtol=1e-3, atol=1e-5)


def _check_exact(workload: Workload, peer: Callable[[Any], Any]) -> None:
    energy, network = workload.twins()
    y = workload.data[: workload.batch_size]
    own = score_matching_loss(*gradient_and_trace(energy, torch.zeros(1, len(y), 0), y[None]))
    _same(own, peer(torchebm_peer.energy_of(network))(y))


def _check_sliced(workload: Workload, peer: Callable[[Any], Any]) -> None:
    energy, network = workload.twins()
    y = workload.data[: workload.batch_size]
    drawn = torch.randn(PROJECTIONS * len(y), 2, generator=torch.Generator().manual_seed(0)).sign()
    projections = drawn.reshape(1, PROJECTIONS, len(y), 2)
    slopes = gradient_and_products(energy, torch.zeros(1, len(y), 0), y[None], projections)
    own = sliced_score_matching_loss(*slopes, projections, variance_reduced=False)
    theirs = peer(torchebm_peer.energy_of(network))(y, generator=torch.Generator().manual_seed(0))
    _same(own, theirs)


def _check_contrastive(workload: Workload, peer: Callable[[Any], Any]) -> None:
    energy, network = workload.twins()
    positive, negative = workload.data[: 2 * workload.batch_size].chunk(2)
    none = torch.zeros(1, workload.batch_size, 0)
    own = contrastive_divergence_loss(energy(none, positive[None]), energy(none, negative[None]))
    _same(own, peer(torchebm_peer.energy_of(network)).compute_loss(positive, negative))


_CHAIN = {"kernel": "langevin", "steps": CHAIN_STEPS, "step_size": STEP_SIZE}
_PROJECTED = {"projections": PROJECTIONS, "variance_reduced": False}
OBJECTIVES = (
    Objective("Exact score matching", "score_matching", {}, _exact, torchebm_peer.train_steps, _check_exact),
    Objective(
        "Sliced score matching", "sliced_score_matching", _PROJECTED, _sliced, torchebm_peer.train_steps, _check_sliced
    ),
    Objective(
        "Contrastive divergence",
        "contrastive_divergence",
        _CHAIN,
        _contrastive,
        torchebm_peer.contrastive_steps,
        _check_contrastive,
    ),
    Objective(
        "Persistent contrastive divergence",
        "persistent_contrastive_divergence",
        {**_CHAIN, "buffer": BUFFER},
        _persistent,
        torchebm_peer.contrastive_steps,
        _check_contrastive,
    ),
)


def sections(workload: Workload, replicates: Sequence[int]) -> list[Section]:
    """One section an objective: torchebm's trainer, and 1 and more replicates of the package's."""
    built = []
    for objective in OBJECTIVES:
        objective.check(workload, objective.peer)
        arms = [Arm(TORCHEBM, 1, objective.steps(workload, objective.peer))]
        for count in replicates:
            name = "1 replicate" if count == 1 else f"{count} replicates"
            arms.append(Arm(name, count, package(workload, objective.method, objective.options, count)))
        title = f"{objective.title}, hidden {workload.width}, batch {workload.batch_size}"
        built.append(Section(title, arms, baselines=(TORCHEBM,)))
    return built
