"""Models whose metrics are known: a hand-made energy, sampler and log-density behind the Model interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count

import pytest
import torch
from torch import nn

from ebm_vs_prob.control.exact import Exact
from ebm_vs_prob.core.budget import Budget, Cost
from ebm_vs_prob.core.errors import NotNormalised
from ebm_vs_prob.models.model import Model
from ebm_vs_prob.models.record import ReplicateStatus, Training
from ebm_vs_prob.models.setting import Setting
from ebm_vs_prob.training.batches import Batch, Examples, Noise, draws
from ebm_vs_prob.training.fitting import prepare


def first_batch(setting: Setting, noise: Mapping[str, Noise]) -> Batch:
    """The minibatch and noise of the first step of a training."""
    return Examples(setting).batch(*next(draws(setting, noise, 1)))


def poisoned(monkeypatch: pytest.MonkeyPatch, replicate: int, at: int) -> None:
    """Let the answers of a replicate's minibatch be NaN at one step of the next training."""
    original, steps = Examples.batch, count()

    def batch(examples, rows, noise):
        found = original(examples, rows, noise)
        if next(steps) == at:
            found.y[replicate] = float("nan")
        return found

    monkeypatch.setattr(Examples, "batch", batch)


class Energy(nn.Module):
    """R energies from one function of (x, y, r) -> (...), r the replicate."""

    def __init__(self, function: Callable, replicates: int) -> None:
        super().__init__()
        self.function = function
        self.num_replicates = replicates

    def forward(self, x, y):
        def of(value, r):
            return value[r if value.shape[0] > 1 else 0]

        shape = torch.broadcast_shapes(x.shape[1:-1], y.shape[1:-1])
        rows = [self.function(of(x, r), of(y, r), r).expand(shape) for r in range(self.num_replicates)]
        return torch.stack(rows)


class HandMade(Model):
    """Answers with what it was given."""

    def __init__(self, tasks: Sequence, energy: Callable, sample=None, log_prob=None, failed=()) -> None:
        setting = prepare(
            Exact,
            tasks,
            range(len(tasks)),
            energy=None,
            network=None,
            budget=Budget(),
            dtype=torch.float64,
            device="cpu",
            compile=False,
            options={},
        )
        super().__init__(Exact, setting, Energy(energy, len(tasks)))
        self._sample, self._log_prob = sample, log_prob
        status = tuple(
            ReplicateStatus(False, 7, "loss is not finite") if r in failed else ReplicateStatus()
            for r in range(len(tasks))
        )
        cost = tuple(
            Cost(steps=5, energy_evaluations=30.0 + r, multiply_adds=1e6, seconds=0.5) for r in range(len(tasks))
        )
        self.finished(Training(torch.zeros(len(tasks), 5), status, cost))

    @property
    def normalised(self) -> bool:
        return self._log_prob is not None

    def log_prob(self, x, y):
        if self._log_prob is None:
            raise NotNormalised("hand-made: no density")
        return torch.stack([self._log_prob(x[r], y[r], r) for r in range(self.num_replicates)])

    def sample(self, x, num_samples=1, seed=0):
        if self._sample is None:
            raise NotNormalised("hand-made: no samples")
        return torch.stack([self._sample(x[r], num_samples, r) for r in range(self.num_replicates)])

    @property
    def sampling_kernel(self) -> str:
        return "exact"


def radius(y: torch.Tensor) -> torch.Tensor:
    """Distance from the origin, regular there."""
    return (y.square().sum(-1) + 1e-30).sqrt()
