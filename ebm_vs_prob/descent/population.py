"""Answers without gradients: a population that is resampled by its energies and moved by noise that shrinks."""

from __future__ import annotations

import torch
from torch import nn

from ..core.replicate_noise import Kind, ReplicateStreams, replicate_noise
from ..energies.evaluation import energy_in_blocks
from .compaction import State

#: Members of each start's population.
POPULATION = 256
#: The first noise moves by this share of the box's side; each iteration shrinks the noise by the factor.
FIRST_NOISE, SHRINK_NOISE = 0.33 / 2, 0.5
#: Numbers that the populations in work at once hold for each replicate.
BLOCK_NUMBERS = 1 << 20


@torch.no_grad()
def resample_and_shrink(
    module: nn.Module,
    state: State,
    bounds: tuple[torch.Tensor, torch.Tensor],
    max_steps: int,
    tolerance: float,
    seed: int,
) -> State:
    """Minimise E(x, .) by the derivative-free optimiser of implicit behavioural cloning (Florence et al. 2021, alg. 1).

    Each start has a population, itself and points drawn uniformly in the box. An iteration weighs the population by
    softmax(-E), draws it anew with these weights, moves all of it by normal noise, projects on the box, and halves the
    noise, whose first standard deviation is .165 of the box's side (both as published; there 3 iterations of 16384
    members). The answer is the member of lowest energy that was ever seen, which the published algorithm takes of the
    last iteration alone. Weights are those of temperature 1: energies of another scale choose more or less greedily.

    Iterations go on until the noise is below `tolerance`, when the answer has converged, or for `max_steps`. The
    uniform and normal numbers are the same for all replicates, so that none depends on company.

    Args:
        module: replicated energy.
        state: `x` (R, P, dx) and `y` (R, P, dy).
        bounds: low and high (dy,), finite.
        seed: of the populations and their noise.

    Returns:
        The state with `y`, `energy`, `steps` (iterations) and `converged`; a point whose starting energy is not finite
        stays where it is and has not converged.
    """
    y = state["y"]
    size = max(1, BLOCK_NUMBERS // (POPULATION * y.shape[-1]))
    found = []
    for number, (x, start) in enumerate(zip(state["x"].split(size, 1), y.split(size, 1), strict=True)):
        streams = ReplicateStreams(seed, "derivative free", seeds=(number,))
        found.append(_minimise(module, x, start, bounds, max_steps, tolerance, streams))
    best, energy, steps, settled = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    return {**state, "y": best, "energy": energy, "steps": steps, "converged": settled}


def _minimise(
    module: nn.Module,
    x: torch.Tensor,
    start: torch.Tensor,
    bounds: tuple[torch.Tensor, torch.Tensor],
    max_steps: int,
    tolerance: float,
    streams: ReplicateStreams,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    points, dim = start.shape[1:]
    low, side = bounds[0], bounds[1] - bounds[0]

    def numbers(kind: Kind, *shape: int) -> torch.Tensor:
        return replicate_noise(streams, (points, *shape), kind, dtype=start.dtype, device=start.device)

    drawn = low + side * numbers("uniform", POPULATION - 1, dim)
    population = torch.cat([start.unsqueeze(2), drawn.expand(len(start), -1, -1, -1)], 2)
    best, lowest = start, energy_in_blocks(module, x.unsqueeze(2), start.unsqueeze(2)).squeeze(2)
    known = lowest.isfinite()
    noise, steps = FIRST_NOISE, 0
    longest = float(side.max())
    while True:
        energies = energy_in_blocks(module, x.unsqueeze(2), population)
        energies = torch.where(energies.isfinite(), energies, torch.inf)
        least, which = energies.min(-1)
        better = known & (least < lowest)
        lowest = torch.where(better, least, lowest)
        member = population.gather(2, which[..., None, None].expand(-1, -1, 1, dim)).squeeze(2)
        best = torch.where(better.unsqueeze(-1), member, best)
        if noise * longest < tolerance or steps == max_steps:
            break
        steps += 1
        chosen = _resampled(energies, numbers("uniform", POPULATION))
        population = population.gather(2, chosen.unsqueeze(-1).expand(-1, -1, -1, dim))
        moved = population + noise * side * numbers("normal", POPULATION, dim)
        population = torch.clamp(moved, *bounds)
        noise *= SHRINK_NOISE
    settled = known & (noise * longest < tolerance)
    return best, lowest, torch.full_like(known, steps, dtype=torch.int64), settled


def _resampled(energies: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Members (R, P, K) int64 drawn with the weights softmax(-E), by inversion of uniform numbers (1, P, K)."""
    finite = energies.isfinite()
    weights = torch.where(finite.any(-1, keepdim=True), -energies, 0.0).softmax(-1)
    cumulative = weights.cumsum(-1)
    target = uniform * cumulative[..., -1:]
    return torch.searchsorted(cumulative, target.contiguous()).clamp_max(energies.shape[-1] - 1)
