"""How far the importance-sampled ln Z that a posterior was trained on is from the ln Z that its draws have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch

from ...core.replicate_noise import replicate_generators
from ...energies.evaluation import distinct
from ...gibbs.normalizers import ImportanceSampling
from ...models.setting import training_data
from ...training.batches import Batch

if TYPE_CHECKING:
    from .posterior import PosteriorEnergy, PosteriorModel
    from .weight_posteriors import PosteriorLoss

#: Training x at which it is looked at, and minibatches whose importance samples are drawn anew there.
CHECKED, SETS = 8, 16


@torch.no_grad()
def fixed_gap(module: PosteriorEnergy, x: torch.Tensor, normalizer: ImportanceSampling) -> torch.Tensor:
    """Largest difference (R, S) at the first x of ln Z on samples drawn once from the draws' own, nats."""
    samples, log_density = _given(normalizer)
    rows = slice(0, min(CHECKED, samples.shape[1]))
    at = distinct(x)[:, rows]
    sampled = _sampled(module, at, samples[:, rows], log_density[:, rows])
    return (sampled - module.log_partition(at)[0]).abs().amax(-1)


@torch.no_grad()
def resampled_gap(model: PosteriorModel, posterior: PosteriorLoss) -> torch.Tensor:
    """|E ln Z^ - ln Z| (R, S) of a loss that draws its importance samples anew, the mean over the first x, nats.

    ln Z^ is that of minibatches of the training's own size, on noise of their own.
    """
    setting, module = model.setting, model.module
    x, y = (part[:, :CHECKED] for part in training_data(setting))
    rows = torch.arange(setting.budget.batch_size, device=x.device, dtype=torch.int64) % x.shape[1]
    exact = module.log_partition(distinct(x))[0]
    generators = {name: replicate_generators(setting.seeds, "partition gap", name) for name in posterior.proposal_noise}
    total = torch.zeros_like(exact[..., 0])
    for _ in range(SETS):
        noise = {name: spec.drawn(generators[name], setting)[0] for name, spec in posterior.proposal_noise.items()}
        batch = Batch(x[:, rows], y[:, rows], rows.expand(len(x), -1), noise)
        samples, log_density = _given(posterior.normalizer(batch))
        sampled = _sampled(module, distinct(batch.x), samples, log_density)
        total += (sampled - (exact[..., rows] if exact.shape[-1] == x.shape[1] else exact)).mean(-1)
    return (total / SETS).abs()


def _given(normalizer: ImportanceSampling) -> tuple[torch.Tensor, torch.Tensor]:
    return cast("torch.Tensor", normalizer.samples), cast("torch.Tensor", normalizer.log_density)


def _sampled(
    module: PosteriorEnergy, x: torch.Tensor, samples: torch.Tensor, log_density: torch.Tensor
) -> torch.Tensor:
    """ln Z^ (R, S, Q) of every draw at x (R, Q, dx) on samples (R, Q, M, dy) and their log-densities."""
    named = {name: value.movedim(1, 0) for name, value in module.space.named(module.draws).items()}
    energies = module.space.at(named)(x.unsqueeze(2).unsqueeze(0), samples.unsqueeze(0))
    return ((-energies - log_density).logsumexp(-1) - math.log(samples.shape[2])).movedim(0, 1)
