"""Samples of a model's Gibbs-Boltzmann density: chains that start where descent stopped."""

from __future__ import annotations

import torch
from torch import nn

from ..core.errors import invalid
from ..core.replicate_noise import Generators, replicate_points
from ..core.spaces import Box
from ..descent.answers import Search
from ..descent.search import descend
from .base import gibbs_potential
from .chains import get_kernel, run, warm_up
from .draws import Draws

#: What a model's `sampling_kernel` says of these chains where no other kernel is asked for.
MALA_FROM_DESCENT = "MALA from descent"
#: The places of a chain that its diagnostics see.
TRACE_EVERY = 5


def sample_from_descent(
    module: nn.Module,
    x: torch.Tensor,
    y_box: Box,
    num_samples: int,
    beta: torch.Tensor,
    generators: Generators,
    warmup: int = 150,
    steps: int = 100,
    descent_steps: int = 50,
    kernel: str = "mala",
) -> Draws:
    """Draws from exp(-beta E(x, .)) on the box: the ends of chains that start where descent from uniform points
    stopped.

    Each sample is its own chain: `descent_steps` of line search, `warmup` steps that adapt the chain's step, `steps`
    more with that step. Chains of most kernels rarely change basin, so how the samples share themselves out between far
    modes is that of the basins of descent and not that of the density: R-hat over the chains of one x shows it. Those
    of "tempering" do.

    Args:
        module: replicated energy.
        x: (R or 1, n, dx).
        y_box: where starts are drawn and chains stay.
        num_samples: draws for each x.
        beta: inverse temperature, (R,), or a number.
        generators: one a replicate.
        kernel: a name that `get_kernel` knows, of a kernel with a Metropolis test, whose steps can be adapted.

    Returns:
        Draws with y (R, n, num_samples, dy) in the dtype of x, and every fifth place of their chains. A replicate
        whose energy is not finite gives NaN.

    Raises:
        UnknownName: a kernel that does not exist.
        ValueError: num_samples < 1, not one generator a replicate, or a kernel without a Metropolis test.
    """
    chosen = get_kernel(kernel)
    if num_samples < 1:
        raise invalid("num_samples", num_samples, "an integer >= 1")
    starts = replicate_points(generators, y_box, (x.shape[1], num_samples)).to(x)
    given = x.unsqueeze(2)
    low, high = y_box.bounds
    # Chains start off the box's faces, where half of all proposals would be refused.
    inner = (low + 1e-3 * (high - low), high - 1e-3 * (high - low))
    start = descend(module, given, starts, inner, Search(max_steps=descent_steps))
    potential = gibbs_potential(module, given, beta)
    with torch.no_grad():
        state = chosen.init(potential, start.y, (1e-2 * (high - low)) ** 2)
        state = warm_up(chosen, potential, state, warmup, y_box.bounds, generators)
        acceptance = torch.zeros_like(state.log_step)
        trace = []
        for left, (after, info) in zip(
            reversed(range(steps)), run(chosen, potential, state, steps, y_box.bounds, generators), strict=True
        ):
            state = after
            acceptance += info.acceptance / steps
            if left % TRACE_EVERY == 0:
                trace.append(state.y)
    lost = ~state.potential.isfinite().unsqueeze(-1)
    y = state.y.masked_fill(lost, float("nan"))
    kept = torch.stack(trace, dim=-2).masked_fill(lost.unsqueeze(-1), float("nan"))
    return Draws(y, MALA_FROM_DESCENT if kernel == "mala" else f"{kernel} from descent", acceptance, kept)
