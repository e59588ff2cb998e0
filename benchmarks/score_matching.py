"""Denoising score matching: the package, a plain torch loop, torchebm, ebmkit, a scan written by hand in JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from . import ebmkit_peer, torchebm_peer
from .results import installed
from .timing import Arm, Section, looped
from .trainings import Trainings
from .workload import LEARNING_RATE, Workload, modes, package

METHOD, SIGMA = "denoising_score_matching", 0.1
LOOP, TORCHEBM, EBMKIT = "torch loop", "torchebm train_step", "ebmkit Trainer"


def torch_loss(network: nn.Module, y: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The package's loss as it is usually written: autograd for the score, differentiated once more by backward."""
    noisy = (y + SIGMA * noise).requires_grad_()
    (gradient,) = torch.autograd.grad(network(noisy).sum(), noisy, create_graph=True)
    return 0.5 * (SIGMA * gradient - noise).square().sum(-1).mean()


def torch_loop(workload: Workload, fused: bool | None = None) -> Callable[[int], object]:
    """One `nn.Sequential`, autograd twice, `torch.optim.Adam`."""
    network, data = workload.network(), workload.data
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=fused)

    def run(steps: int) -> None:
        for _ in range(steps):
            y = data[torch.randint(len(data), (workload.batch_size,))]
            optimizer.zero_grad()
            torch_loss(network, y, torch.randn_like(y)).backward()
            optimizer.step()

    return run


def torchebm_loss(energy: Any) -> Any:
    """torchebm's denoising score matching, without its factor sigma²."""
    from torchebm.losses import DenoisingScoreMatching

    return DenoisingScoreMatching(energy, noise_scale=SIGMA, device="cpu")


def ebmkit_loss() -> Any:
    """ebmkit's, likewise without the factor sigma²."""
    from ebm import DenoisingScoreMatching

    return DenoisingScoreMatching(SIGMA)


def check_same_loss(workload: Workload) -> None:
    """Raise unless package, torch loop and the peers give the same loss for the same weights, data and noise."""
    from ebm_vs_prob.ebm.objectives.score import denoising_score_matching_loss

    energy, network = workload.twins()
    y = workload.data[: workload.batch_size]
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    plain = torch_loss(network, y, noise).detach()
    _, gradient = energy.energy_and_gradient(torch.zeros(1, len(y), 0), (y + SIGMA * noise)[None])
    found = [denoising_score_matching_loss(gradient, noise[None], torch.full((1, 1, 1), SIGMA)).detach()[0]]
    if installed("torchebm"):
        peer = torchebm_loss(torchebm_peer.energy_of(network))
        found.append(peer(y, generator=torch.Generator().manual_seed(0)).detach() * SIGMA**2)
    if installed("ebmkit"):
        found.append(ebmkit_peer.value(network, ebmkit_loss(), y) * SIGMA**2)
    if installed("jax"):
        from . import jax_peer

        found.append(torch.tensor(jax_peer.same_loss(network, y.numpy(), noise.numpy(), SIGMA)))
    torch.testing.assert_close(torch.stack(found), plain.expand(len(found)), rtol=1e-4, atol=1e-6)


def section(trainings: Trainings, workload: Workload, replicates: Sequence[int], compiled: bool) -> Section:
    """The arms of one network: 1 and more models of the package together, and what others would write or install."""
    check_same_loss(workload)
    arms = [
        Arm(LOOP, 1, looped(torch_loop(workload))),
        Arm("torch loop, fused Adam", 1, looped(torch_loop(workload, fused=True))),
    ]
    if installed("torchebm"):
        arms += [
            Arm(TORCHEBM, 1, looped(torchebm_peer.train_steps(workload, torchebm_loss))),
            Arm("torchebm DataLoader", 1, looped(torchebm_peer.train_epochs(workload, torchebm_loss))),
        ]
    if installed("ebmkit"):
        arms.append(Arm(EBMKIT, 1, looped(ebmkit_peer.train_steps(workload, ebmkit_loss))))
    baselines = [arm.name for arm in arms if arm.name in (LOOP, TORCHEBM, EBMKIT)]
    if installed("jax"):
        from . import jax_peer

        for count in replicates:
            scan = Arm(f"JAX scan, {count} by vmap", count, looped(jax_peer.scanned(workload, SIGMA, count)))
            arms.append(scan)
            baselines.append(scan.name)
    for mode in modes(compiled):
        arms += [package(trainings, workload, METHOD, {"sigma": SIGMA}, count, mode) for count in replicates]
    title = f"Denoising score matching, hidden {workload.width}, batch {workload.batch_size}"
    return Section(title, arms, tuple(baselines))
