"""A training step of the other objectives that torchebm and ebmkit have too: score matching, two divergences.

Margins, latent and importance-sampled objectives the package has for itself; ebmkit's noise contrast draws from a
Gaussian where the package's draws from kernels round the data, so that they are not the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ebm_vs_prob.ebm.objectives.contrastive import contrastive_divergence_loss
from ebm_vs_prob.ebm.objectives.score import score_matching_loss, sliced_score_matching_loss
from ebm_vs_prob.energies.derivatives import gradient_and_products, gradient_and_trace

from . import ebmkit_peer, torchebm_peer
from .timing import Arm, Section
from .workload import Workload, package

TORCHEBM, EBMKIT = "torchebm", "ebmkit"
PROJECTIONS = 1
CHAIN_STEPS, STEP_SIZE, BUFFER = 10, 0.1, 1024


@dataclass(frozen=True)
class Objective:
    """One objective on all sides.

    Attributes:
        method, options: the package's.
        torchebm: makes torchebm's loss of its energy. steps: trains with it. ebmkit: makes ebmkit's loss.
        check: raises unless all sides give the same loss for the same weights, data and random numbers.
    """

    title: str
    method: str
    options: dict[str, Any]
    torchebm: Callable[[Any], Any]
    steps: Callable[[Workload, Callable[[Any], Any]], Callable[[int], object]]
    ebmkit: Callable[[], Any]
    check: Callable[[Workload, Objective], None]


def _exact_torchebm(energy: Any) -> Any:
    from torchebm.losses import ScoreMatching

    return ScoreMatching(energy, hessian_method="exact", device="cpu")


def _sliced_torchebm(energy: Any) -> Any:
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


def _exact_ebmkit() -> Any:
    from ebm import ExactScoreMatching

    return ExactScoreMatching()


def _sliced_ebmkit() -> Any:
    from ebm import SlicedScoreMatching

    return SlicedScoreMatching(PROJECTIONS, vr=False)


def _contrastive_ebmkit() -> Any:
    """Chains that start from draws of N(0, I), since ebmkit has none that start from the data."""
    from ebm import ContrastiveDivergence, LangevinDynamics

    return ContrastiveDivergence(LangevinDynamics(STEP_SIZE**2 / 2, CHAIN_STEPS))


def _persistent_ebmkit() -> Any:
    from ebm import ContrastiveDivergence, LangevinDynamics, ReplayBuffer

    return ContrastiveDivergence(LangevinDynamics(STEP_SIZE**2 / 2, CHAIN_STEPS), ReplayBuffer(BUFFER, (2,)))


def _same(own: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(own.detach().reshape(()), theirs.detach().reshape(()), rtol=1e-3, atol=1e-5)


def _check_exact(workload: Workload, objective: Objective) -> None:
    energy, network = workload.twins()
    y = workload.data[: workload.batch_size]
    own = score_matching_loss(*gradient_and_trace(energy, torch.zeros(1, len(y), 0), y[None]))
    _same(own, objective.torchebm(torchebm_peer.energy_of(network))(y))
    _same(own, ebmkit_peer.value(network, objective.ebmkit(), y))


def _check_sliced(workload: Workload, objective: Objective) -> None:
    """torchebm projects on random signs, ebmkit on normal draws."""
    energy, network = workload.twins()
    y = workload.data[: workload.batch_size]
    drawn = torch.randn(PROJECTIONS * len(y), 2, generator=torch.Generator().manual_seed(0))

    def own(directions: torch.Tensor) -> torch.Tensor:
        projections = directions.reshape(1, PROJECTIONS, len(y), 2)
        slopes = gradient_and_products(energy, torch.zeros(1, len(y), 0), y[None], projections)
        return sliced_score_matching_loss(*slopes, projections, variance_reduced=False)

    theirs = objective.torchebm(torchebm_peer.energy_of(network))(y, generator=torch.Generator().manual_seed(0))
    _same(own(drawn.sign()), theirs)
    _same(own(drawn), ebmkit_peer.value(network, objective.ebmkit(), y))


def _check_contrastive(workload: Workload, objective: Objective) -> None:
    from ebm import ContrastiveDivergence, LangevinDynamics

    energy, network = workload.twins()
    positive, negative = workload.data[: 2 * workload.batch_size].chunk(2)
    none = torch.zeros(1, workload.batch_size, 0)
    own = contrastive_divergence_loss(energy(none, positive[None]), energy(none, negative[None]))
    _same(own, objective.torchebm(torchebm_peer.energy_of(network)).compute_loss(positive, negative))
    still = ContrastiveDivergence(LangevinDynamics(STEP_SIZE**2 / 2, 0), init_fn=lambda _: negative)
    _same(own, ebmkit_peer.value(network, still, positive))


_CHAIN = {"kernel": "langevin", "steps": CHAIN_STEPS, "step_size": STEP_SIZE}
_PROJECTED = {"projections": PROJECTIONS, "variance_reduced": False}
OBJECTIVES = (
    Objective(
        "Exact score matching",
        "score_matching",
        {},
        _exact_torchebm,
        torchebm_peer.train_steps,
        _exact_ebmkit,
        _check_exact,
    ),
    Objective(
        "Sliced score matching",
        "sliced_score_matching",
        _PROJECTED,
        _sliced_torchebm,
        torchebm_peer.train_steps,
        _sliced_ebmkit,
        _check_sliced,
    ),
    Objective(
        "Contrastive divergence",
        "contrastive_divergence",
        _CHAIN,
        _contrastive,
        torchebm_peer.contrastive_steps,
        _contrastive_ebmkit,
        _check_contrastive,
    ),
    Objective(
        "Persistent contrastive divergence",
        "persistent_contrastive_divergence",
        {**_CHAIN, "buffer": BUFFER},
        _persistent,
        torchebm_peer.contrastive_steps,
        _persistent_ebmkit,
        _check_contrastive,
    ),
)


def sections(workload: Workload, replicates: Sequence[int], compiled: bool) -> list[Section]:
    """One section an objective: the peers' trainers, and 1 and more replicates of the package's."""
    built = []
    for objective in OBJECTIVES:
        objective.check(workload, objective)
        arms = [
            Arm(TORCHEBM, 1, objective.steps(workload, objective.torchebm)),
            Arm(EBMKIT, 1, ebmkit_peer.train_steps(workload, objective.ebmkit)),
        ]
        for mode in ("recorded", "compiled") if compiled else ("recorded",):
            for count in replicates:
                run = package(workload, objective.method, objective.options, count, mode == "compiled")
                arms.append(Arm(f"{count} replicate{'s' * (count > 1)}, {mode}", count, run))
        title = f"{objective.title}, hidden {workload.width}, batch {workload.batch_size}"
        built.append(Section(title, arms, baselines=(TORCHEBM, EBMKIT)))
    return built
