"""Pyro's NUTS over an energy's weights: chains of one replicate, on a log-posterior without noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro.infer import MCMC, NUTS

from ...core.seeding import forked
from ...gibbs.trust import doubts_asked_for
from .weight_guides import LatentSpace


@dataclass(frozen=True)
class Chain:
    """One chain after warm-up, T transitions: `weights` (T, P), `potential` -ln posterior up to a constant (T,) nats
    float64, `diverging` (T,) bool, the share of transitions that moved, and gradients evaluated, warm-up included."""

    weights: torch.Tensor
    potential: torch.Tensor
    diverging: torch.Tensor
    acceptance: float
    gradients: int


def nuts_chain(
    model: Callable[[], Any],
    latent: LatentSpace,
    start: torch.Tensor,
    *,
    warmup: int,
    draws: int,
    max_tree_depth: int,
    target_acceptance: float,
    seed: int,
) -> Chain:
    """Run `pyro.infer.NUTS` (Hoffman and Gelman 2014) with a diagonal mass matrix that warm-up adapts.

    Pyro draws from torch's global generator, which is given back as it was. Partition functions are taken as they are,
    without a warning.

    Args:
        model: the Pyro model, its data and normaliser fixed: the potential must be the same at every call.
        latent: of its sites. start: unconstrained vector (Q,) of the first state.
    """
    calls = 0

    def counted() -> None:
        nonlocal calls
        calls += 1
        model()

    potential = []

    def record(kernel: NUTS, sample: dict[str, torch.Tensor], stage: str, step: int) -> None:
        nonlocal calls
        if stage == "Sample":
            with torch.no_grad():
                potential.append(float(kernel.potential_fn(sample)))
            calls -= 1

    # NUTS counts a state whose energy overflows as a divergence; torch's validation would raise.
    with forked(seed, start.device), pyro.validation_enabled(False), doubts_asked_for():
        kernel = NUTS(
            counted,
            max_tree_depth=max_tree_depth,
            target_accept_prob=target_acceptance,
            max_plate_nesting=3,
        )
        chain = MCMC(
            kernel,
            num_samples=draws,
            warmup_steps=warmup,
            initial_params=latent.unconstrained(start.reshape(1, 1, -1)),
            hook_fn=record,
            disable_progbar=True,
        )
        chain.run()
    found = chain.diagnostics()
    values = {name: value.reshape(draws, 1, *latent.shape(name)) for name, value in chain.get_samples().items()}
    diverging = torch.zeros(draws, dtype=torch.bool, device="cpu")
    diverging[found["divergences"]["chain 0"]] = True
    return Chain(
        latent.weights_of(values).squeeze(1),
        torch.tensor(potential, dtype=torch.float64, device="cpu"),
        diverging,
        float(found["acceptance rate"]["chain 0"]),
        calls,
    )
