"""The package's Adam is Adam: torch's own, replicate by replicate, each at its own rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ebm_vs_prob.training.optimizers import ReplicatedAdam, learning_rate_schedule


class Pair(nn.Module):
    """Three replicates of a matrix and a number."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(3, 4, 5, generator=generator, dtype=torch.float64))
        self.number = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))
        self.unused = nn.Parameter(torch.ones(3, 2, dtype=torch.float64))

    def losses(self) -> torch.Tensor:
        return (self.matrix**4).sum((1, 2)) + (self.number - 2) ** 2


def descend(model, optimizer, steps, weights=1.0):
    for step in range(steps):
        losses = (model.losses() * weights).sum()
        gradients = torch.autograd.grad(losses, optimizer.parameters, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            optimizer.move(gradients, optimizer.inputs(step, steps))


@pytest.mark.parametrize("rates", [(0.01, 0.01, 0.01), (0.01, 0.003, 0.1)])
def test_it_moves_as_torchs_adam_moves_each_replicate(rates):
    """Fifty steps of a few roundings each, on numbers of order 1: within 1e-13."""
    schedule = [learning_rate_schedule(step, 50) for step in range(50)]
    ours = Pair()
    descend(ours, ReplicatedAdam(ours, torch.tensor(rates, dtype=torch.float64)), 50)
    for r, rate in enumerate(rates):
        own = Pair()
        adam = torch.optim.Adam([own.matrix, own.number], lr=rate)
        for share in schedule:
            adam.param_groups[0]["lr"] = rate * share
            adam.zero_grad()
            own.losses().sum().backward()
            adam.step()
        for name in ("matrix", "number", "unused"):
            torch.testing.assert_close(getattr(ours, name)[r], getattr(own, name)[r], rtol=1e-13, atol=1e-13)


def test_a_gradient_that_is_not_finite_stays_in_its_replicate():
    sound, broken = Pair(), Pair()
    for model in (sound, broken):
        optimizer = ReplicatedAdam(model, torch.full((3,), 0.01, dtype=torch.float64))
        descend(model, optimizer, 3, torch.tensor([1.0, torch.nan if model is broken else 1.0, 1.0]))
    for r in (0, 2):
        assert torch.equal(sound.matrix[r], broken.matrix[r])
    assert bool(broken.matrix[1].isnan().all())
