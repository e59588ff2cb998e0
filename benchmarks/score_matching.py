"""Denoising score matching: replicates together, one after another, a plain torch loop, torchebm, a JAX scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from . import jax_peer, torchebm_peer
from .timing import Arm, Section
from .workload import LEARNING_RATE, Workload, package

METHOD, SIGMA = "denoising_score_matching", 0.1
ALONE, LOOP, TORCHEBM = "one after another", "torch loop", "torchebm train_step"


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


def check_same_loss(workload: Workload) -> None:
    """Raise unless package, torch loop, torchebm and JAX give the same loss for the same weights, data and noise."""
    from ebm_vs_prob.ebm.objectives.score import denoising_score_matching_loss

    energy, network = workload.twins()
    y = workload.data[: workload.batch_size]
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    peer = torchebm_loss(torchebm_peer.energy_of(network))
    theirs = peer(y, generator=torch.Generator().manual_seed(0)).detach() * SIGMA**2
    plain = torch_loss(network, y, noise).detach()
    _, gradient = energy.energy_and_gradient(torch.zeros(1, len(y), 0), (y + SIGMA * noise)[None])
    own = denoising_score_matching_loss(gradient, noise[None], torch.full((1, 1, 1), SIGMA)).detach()[0]
    scanned = own.new_tensor(jax_peer.same_loss(network, y.numpy(), noise.numpy(), SIGMA))
    torch.testing.assert_close(torch.stack([own, theirs, scanned]), plain.expand(3), rtol=1e-4, atol=1e-6)


def section(workload: Workload, replicates: Sequence[int], compiled: bool) -> Section:
    """The arms of one network: `replicates` models together, against one at a time by the same code and by others."""
    check_same_loss(workload)

    def ours(count: int, compiled: bool = False) -> Callable[[int], object]:
        return package(workload, METHOD, {"sigma": SIGMA}, count, compiled)

    arms = [
        Arm(LOOP, 1, torch_loop(workload)),
        Arm("torch loop, fused Adam", 1, torch_loop(workload, fused=True)),
        Arm(TORCHEBM, 1, torchebm_peer.train_steps(workload, torchebm_loss)),
        Arm("torchebm DataLoader", 1, torchebm_peer.train_epochs(workload, torchebm_loss)),
        Arm(ALONE, 1, ours(1)),
        *(Arm(f"{count} replicates", count, ours(count)) for count in replicates),
    ]
    arms += [Arm(f"JAX scan, {n} vmapped", n, jax_peer.scanned(workload, SIGMA, n)) for n in (1, *replicates)]
    if compiled:
        arms.append(Arm(f"{ALONE}, compiled", 1, ours(1, compiled=True)))
        arms += [Arm(f"{count} replicates, compiled", count, ours(count, compiled=True)) for count in replicates]
    title = f"Denoising score matching, hidden {workload.width}, batch {workload.batch_size}"
    return Section(title, arms, baselines=(ALONE, LOOP, TORCHEBM))
