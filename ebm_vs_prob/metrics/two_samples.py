"""One law against another by draws alone, or by draws and a score: Stein discrepancy and a classifier's accuracy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..energies.evaluation import energy_and_gradient
from ..models.energy_model import EnergyModel
from .measurement import Group, Measurement, mean, named, noted
from .observation import TUBE_RADIUS_AT_ZERO, Observation, as_numpy

#: Draws of an input that enter, since pairs of them do.
MOST_POINTS = 1024


def stein_kernel(y: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
    """u(y, y') of Liu, Lee and Jordan 2016, definition 3.2, for all pairs of y (m, d) with scores (m, d): (m, m).

    The kernel is the inverse multiquadric (1 + |y - y'|²)^(-1/2) of Gorham and Mackey 2017, which tells every law that
    is not the score's own, tails included. E u = 0 where both arguments are draws of the score's density.
    """
    apart = y.unsqueeze(1) - y.unsqueeze(0)
    squared = apart.square().sum(-1)
    base = 1 + squared
    towards = (score.unsqueeze(1) - score.unsqueeze(0)).mul(apart).sum(-1)
    trace = y.shape[-1] * base**-1.5 - 3 * squared * base**-2.5
    return score @ score.T * base**-0.5 + towards * base**-1.5 + trace


def stein_discrepancy(y: torch.Tensor, score: torch.Tensor) -> tuple[float, float]:
    """The mean of `stein_kernel` over pairs of different draws, unbiased for KSD², and its standard error."""
    m = len(y)
    kernel = stein_kernel(y, score)
    rows = (kernel.sum(1) - kernel.diagonal()) / (m - 1)
    return float(rows.mean()), 2 * float(rows.std()) / m**0.5 if m > 2 else float("nan")


def _of_the_truth(observed: Observation) -> torch.Tensor:
    """Draws of the truth at `distinct_inputs` of which none is another's copy, (R, K or 1, Q, dy) float64.

    Of rows of a user's own, without x, they are the held-out rows.

    Raises:
        NotMeasured: an x has no more draws than its few held-out rows.
    """
    task = observed.tasks[0]
    if task.has_truth:
        return observed.true_samples
    if observed.conditional:
        raise NotMeasured(f"{task.name}: of the answers to one x no more is known than its held-out rows")
    return observed.test[1].unsqueeze(1)


def of_samples(observed: Observation) -> dict[str, Measurement]:
    """The model's draws against the exact score."""

    def exact_score(r: int, k: int, y: torch.Tensor) -> torch.Tensor:
        point, x = y.requires_grad_(), observed.distinct_inputs[r, k].expand(len(y), -1)
        log_density = observed.tasks[r].reference.log_prob(x, point)
        (score,) = torch.autograd.grad(log_density.sum(), point)
        return score

    draws = observed.samples.detach().cpu().double()
    measured = {"stein_discrepancy_samples": _over_inputs(observed, draws, exact_score)}
    return noted(measured, observed.samples_note)


def of_data(observed: Observation) -> dict[str, Measurement]:
    """Draws of the truth against the model's score, -beta dE/dy."""
    model = observed.model
    if not model.normalised and not isinstance(model, EnergyModel):
        raise NotMeasured(f"{model.method.name} stands for no density")
    truth = _of_the_truth(observed)[:, :, :MOST_POINTS]
    with torch.no_grad():
        x, y = observed.placed(observed.distinct_inputs.unsqueeze(2)), observed.placed(truth)
        _, gradient = energy_and_gradient(model.module, x, y)
        scores = -gradient.cpu().double() * model.beta.cpu().double().reshape(-1, 1, 1, 1)

    return {"stein_discrepancy_data": _over_inputs(observed, truth, lambda r, k, y: scores[r, k])}


def _over_inputs(
    observed: Observation, draws: torch.Tensor, score: Callable[[int, int, torch.Tensor], torch.Tensor]
) -> Measurement:
    """`stein_discrepancy` of draws (R, K, m, dy), meaned over the inputs; `score(r, k, y)` gives scores (m, dy).

    The unit of length is the thickness: a kernel much wider than the data averages away what happens across them.
    """
    unit = np.where(observed.thickness > 0, observed.thickness, TUBE_RADIUS_AT_ZERO)
    draws = draws[:, :, :MOST_POINTS]
    values, errors = np.full(draws.shape[:2], np.nan), np.full(draws.shape[:2], np.nan)
    for r in range(observed.replicates):
        for k, y in enumerate(draws[r]):
            if not bool(y.isfinite().all()):  # of a replicate that failed: no score is asked there
                continue
            with torch.enable_grad():
                slopes = score(r, k, y.detach().clone())
            if bool(slopes.isfinite().all()):
                values[r, k], errors[r, k] = stein_discrepancy(y / unit[r], slopes * unit[r])
    found = mean(values)
    error = errors[:, 0] if draws.shape[1] == 1 else found.error
    return Measurement(found.value, error, np.full(len(values), draws.shape[1] * draws.shape[2]))


def classified(first: np.ndarray, second: np.ndarray) -> tuple[float, int]:
    """How often a classifier tells draws (m, d) from others (m, d), and of how many it was asked.

    The test of Lopez-Paz and Oquab 2017, section 3, with nearest neighbours: the vote of the sqrt(m) nearest of one
    half of the draws, asked for the other half. It is right half of the time where both have one law.
    """
    from scipy.spatial import cKDTree

    half = len(first) // 2
    label = np.repeat([0, 1], half)
    neighbours = max(1, round(half**0.5)) | 1  # odd, so that no vote is a tie
    _, nearest = cKDTree(np.concatenate([first[:half], second[:half]])).query(
        np.concatenate([first[half : 2 * half], second[half : 2 * half]]), np.arange(1, neighbours + 1)
    )
    voted = label[nearest].mean(1) > 0.5
    return float((voted == label).mean()), len(label)


def classifier_accuracy(observed: Observation) -> dict[str, Measurement]:
    """Accuracy of telling the model's draws from as many of the truth's, each with its x."""
    truth = _of_the_truth(observed)
    count = min(observed.samples.shape[2], truth.shape[2])
    if count * observed.distinct_inputs.shape[1] < 4:
        raise NotMeasured("too few draws for a classifier")
    values, n = np.full(observed.replicates, np.nan), np.zeros(observed.replicates, dtype=int)
    for r in range(observed.replicates):
        pairs = [_alternating(observed.distinct_inputs[r], y[r, :, :count]) for y in (observed.samples, truth)]
        if all(np.isfinite(each).all() for each in pairs):
            values[r], n[r] = classified(*pairs)
    error = np.sqrt(values * (1 - values) / np.maximum(n, 1))
    return {"two_sample_accuracy": Measurement(values, error, n, observed.samples_note)}


def _alternating(x: torch.Tensor, y: torch.Tensor) -> np.ndarray:
    """Pairs (m, dx + dy) of x (K, dx) and y (K, m, dy), the draws of one x apart, so that each half has every x."""
    pairs: Any = torch.cat([x.unsqueeze(1).expand(-1, y.shape[1], -1), y.detach().cpu().double()], -1)
    return as_numpy(pairs.transpose(0, 1).flatten(0, 1))


GROUPS = (
    Group(named("stein_discrepancy_samples"), of_samples),
    Group(named("stein_discrepancy_data"), of_data),
    Group(named("two_sample_accuracy"), classifier_accuracy),
)
