"""Where the energy must be high, found by chains that sample from it; and what contrasts them with the data."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ...samplers import Kernel, gibbs_potential


@torch.no_grad()
def chain_ends(
    energy: nn.Module,
    x: torch.Tensor,
    start: torch.Tensor,
    kernel: Kernel[Any],
    step_size: torch.Tensor,
    normal: torch.Tensor,
    uniform: torch.Tensor | None,
    bounds: tuple[float, float],
) -> torch.Tensor:
    """Where chains for exp(-E(x, .)) are after as many steps as there is noise, (R, B, dy), without gradient.

    A chain stays where its energy or gradient is not finite.

    Args:
        x: (R, B, dx). start: (R, B, dy).
        step_size: h in units of y squared, (R, 1).
        normal: standard normals, (R, steps, B, dy). uniform: on [0, 1), (R, steps, B), for a Metropolis test.
    """
    potential = gibbs_potential(energy, x)
    state = kernel.init(potential, start, step_size)
    for k in range(normal.shape[1]):
        own = None if uniform is None else uniform[:, k]
        state, _ = kernel.step(potential, state, normal[:, k], own, bounds)
    end: torch.Tensor = state.y
    return end


class ReplayBuffer:
    """The chains that persist from one training step to the next: y (R, slots, dy)."""

    def __init__(self, y: torch.Tensor) -> None:
        self.y = y

    def take(self, slots: torch.Tensor) -> torch.Tensor:
        """The chains in the given slots (R, B): (R, B, dy)."""
        return self.y.gather(1, slots.unsqueeze(-1).expand(-1, -1, self.y.shape[-1]))

    def put(self, slots: torch.Tensor, y: torch.Tensor) -> None:
        """Store chains y (R, B, dy) in their slots (R, B); of two in one slot the later one stays."""
        position = torch.arange(slots.shape[1], device=slots.device, dtype=torch.int64).expand_as(slots)
        # Every chain of a slot writes the same value, so the result does not depend on the order of the writes.
        last = torch.zeros(self.y.shape[:2], dtype=torch.int64, device=slots.device)
        last = last.scatter_reduce(1, slots, position, "amax").gather(1, slots).unsqueeze(-1).expand_as(y)
        self.y.scatter_(1, slots.unsqueeze(-1).expand_as(y), y.gather(1, last))


def random_slots(uniform: torch.Tensor, slots: int) -> torch.Tensor:
    """B different ones of `slots` slots, spread evenly and each as likely as any: (R, B) from uniforms (R, B + 1).

    One from each of B strata of equal length, which begin anywhere and go round.
    """
    count = uniform.shape[1] - 1
    stride = slots // count
    start = (uniform[:, :1] * slots).long()
    strata = stride * torch.arange(count, device=uniform.device, dtype=torch.int64)
    return (start + strata + (uniform[:, 1:] * stride).long()) % slots
