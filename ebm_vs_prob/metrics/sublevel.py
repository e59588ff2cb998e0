"""Precision and coverage of the set {y : F(x, y) <= tau(x)}: what an energy of any scale says the answers are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..core.memory import once
from ..core.seeding import stream, torch_generator
from ..core.spaces import Box
from .measurement import Group, Measurement, mean, named
from .observation import Observation, as_numpy

#: tau is this quantile of F over held-out answers.
LEVEL = 0.95
#: Points drawn from each part of the proposal, in all.
POINTS_PER_PART = 1024
#: Thicknesses of the proposal's parts: the task's own, or this where that is thinner, and its multiples up to the last.
THINNEST, THICKEST, RATIO = 1e-3, 0.5, 3.0


def sublevel(observed: Observation) -> dict[str, Measurement]:
    """Precision: the share of the volume of {F <= tau} that lies in the truth's tube. Coverage: the share of the
    noise-free answers that lies in {F <= tau}.

    tau(x) is the 95 % quantile of F(x, .) over exact draws of the truth at x, so that neither the scale of an energy
    nor what it adds at each x matters. Volumes are within the y-box, by importance sampling from a mixture of the
    uniform law and the task at several thicknesses (balance heuristic: Veach and Guibas 1995); inputs are pooled.
    """
    radius = observed.tube
    energy = np.where(np.isfinite(observed.energy_of_truth), observed.energy_of_truth, np.nan)
    half = math.sqrt(LEVEL * (1 - LEVEL) / energy.shape[2])
    below, tau, above = np.quantile(energy, [LEVEL - half, LEVEL, min(LEVEL + half, 1.0)], axis=2)[..., None]
    try:
        precision = _precision(observed, tau, radius)
    except NotMeasured as error:  # the coverage can be measured all the same
        nothing = np.full(observed.replicates, np.nan)
        precision = Measurement(nothing, nothing, np.zeros(observed.replicates, dtype=int), str(error))
    return {
        "sublevel_precision": precision,
        "sublevel_coverage": _coverage(observed, tau, below, above),
    }


def _precision(observed: Observation, tau: np.ndarray, radius: np.ndarray) -> Measurement:
    drawn = [_proposal(observed, r, task) for r, task in enumerate(observed.tasks)]
    # Tasks of different thickness have different numbers of parts: the shorter are padded with weight 0.
    most = max(y.shape[1] for y, _ in drawn)
    points = torch.stack([torch.nn.functional.pad(y, (0, 0, 0, most - y.shape[1])) for y, _ in drawn])
    weight = as_numpy(torch.stack([torch.nn.functional.pad(w, (0, most - w.shape[1])) for _, w in drawn]))
    energy = observed.energy(points)
    inside = weight * (energy <= tau)
    in_tube = observed.distance(observed.distinct_inputs, points) <= radius[:, None, None]
    count = np.array([w.numel() for _, w in drawn])
    volume = inside.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (inside * in_tube).sum(axis=(1, 2)) / volume
        # Linearised ratio; that the parts have fixed shares makes it, if anything, too large.
        residual = inside * (in_tube - value[:, None, None])
        error = np.sqrt((residual**2).sum(axis=(1, 2))) / volume
    known = np.isfinite(tau).all(axis=(1, 2)) & (volume > 0)
    return Measurement(np.where(known, value, np.nan), np.where(known, error, np.nan), count)


def _proposal(observed: Observation, r: int, task: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (k, m, dy) at each distinct input and their weights, 1/density (0 outside the box), (k, m) float64."""
    x, box = observed.distinct_inputs[r], observed.box
    seed = stream(observed.evaluation.seed, "sublevel", observed.model.seeds[r])
    return once(task, "sublevel proposal", x, *box.bounds, [seed], compute=lambda: _proposed(task, x, box, seed))


def _proposed(task: Any, x: torch.Tensor, box: Box, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    each = -(-POINTS_PER_PART // len(x))
    scales = [max(task.thickness, THINNEST)]
    while scales[-1] * RATIO <= THICKEST:
        scales.append(scales[-1] * RATIO)
    try:
        references = [task.with_thickness(scale).reference for scale in scales]
    except ValueError as error:
        raise NotMeasured(f"{task.name} is defined at its own thickness only: {' '.join(str(error).split())}") from None
    parts = [reference.sample(x, each, seed=stream(seed, k)) for k, reference in enumerate(references)]
    points = torch.cat([box.uniform((len(x), each), torch_generator(seed, "uniform")), *parts], dim=1)
    flat_x = x.unsqueeze(1).expand(-1, points.shape[1], -1).flatten(0, 1)
    flat_y = points.flatten(0, 1)
    densities = [reference.log_prob(flat_x, flat_y) for reference in references]
    uniform = torch.full_like(densities[0], -box.log_volume)
    log_density = torch.logsumexp(torch.stack([uniform, *densities]), dim=0) - math.log(len(densities) + 1)
    low, high = box.bounds
    in_box = ((flat_y >= low) & (flat_y <= high)).all(-1)
    # The common factor |Box| keeps the weights near 1.
    weight = torch.exp(uniform - log_density).where(in_box, 0.0)
    return points, weight.reshape(points.shape[:-1])


def _coverage(observed: Observation, tau: np.ndarray, below: np.ndarray, above: np.ndarray) -> Measurement:
    answers = observed.true_answers
    exists = as_numpy(answers.isnan().any(-1)) == 0
    energy = observed.energy(answers.nan_to_num())
    count = exists.sum(axis=2)

    def covered(level: np.ndarray) -> np.ndarray:
        share: np.ndarray = ((energy <= level) & exists).sum(axis=2) / count
        return np.where(np.isfinite(level[..., 0]), share, np.nan)

    across = mean(covered(tau))
    of_level = (covered(above) - covered(below)).mean(axis=1) / 2
    across_error = across.error if observed.conditional else np.zeros(observed.replicates)
    return Measurement(across.value, np.hypot(across_error, of_level), count.sum(axis=1))


GROUPS = (Group(named("sublevel_precision", "sublevel_coverage"), sublevel),)
