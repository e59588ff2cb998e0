"""Where along a closed curve the samples lie: the density on the manifold, apart from the distance to it."""

from __future__ import annotations

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..core.seeding import numpy_generator
from .measurement import Group, Measurement, named
from .observation import Observation, as_numpy

#: Fewer samples than this within the tube say nothing of their angles.
MIN_SAMPLES = 20
#: Samples count as on the manifold within the tube, or within this where the tube is thinner.
MIN_RADIUS = 0.05
RESAMPLES = 200


def deviations(uniform: np.ndarray, axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """D+ and D-: how far the empirical law of `uniform` = F(angle) rises above and falls below the uniform law."""
    ordered = np.sort(uniform, axis=axis)
    n = uniform.shape[axis]
    rank = np.arange(n).reshape([-1 if d == axis % uniform.ndim else 1 for d in range(uniform.ndim)])
    return ((rank + 1) / n - ordered).max(axis=axis), (ordered - rank / n).max(axis=axis)


def kuiper(uniform: np.ndarray, axis: int = -1) -> np.ndarray:
    """D+ + D-, which does not depend on where the circle is cut (Kuiper 1960)."""
    above, below = deviations(uniform, axis)
    total: np.ndarray = above + below
    return total


def kolmogorov_smirnov(uniform: np.ndarray, axis: int = -1) -> np.ndarray:
    """max(D+, D-)."""
    largest: np.ndarray = np.maximum(*deviations(uniform, axis))
    return largest


_STATISTICS = {"angle_kuiper": kuiper, "angle_ks": kolmogorov_smirnov}


def angles(observed: Observation) -> dict[str, Measurement]:
    """Distances between the law of the angles of samples on the manifold and the truth's.

    "On the manifold" is within max(tube, .05) of it (as Horvat and Pfister 2021 restrict the model to the manifold);
    n counts these. Errors are bootstrapped over samples.
    """
    from scipy.stats import bootstrap

    if observed.tasks[0].intrinsic_coordinate != "angle":
        raise NotMeasured(f"{observed.tasks[0].name}: its answers have no angle")
    near = (
        observed.distance(observed.distinct_inputs, observed.samples)
        <= np.maximum(observed.tube, MIN_RADIUS)[:, None, None]
    )
    value, error = ({name: np.full(observed.replicates, np.nan) for name in _STATISTICS} for _ in range(2))
    n = near.sum(axis=(1, 2))
    draws = observed.samples.detach().cpu().double()
    for r, task in enumerate(observed.tasks):
        if n[r] < MIN_SAMPLES:
            continue
        angle = task.reference.angle(draws[r][torch.from_numpy(near[r])])
        uniform = as_numpy(task.reference.angle_cdf(angle))
        for name, statistic in _STATISTICS.items():
            rng = numpy_generator(observed.evaluation.seed, "bootstrap", observed.model.seeds[r])
            resampled = bootstrap(
                (uniform,), statistic, n_resamples=RESAMPLES, vectorized=True, method="percentile", rng=rng
            )
            value[name][r], error[name][r] = statistic(uniform), resampled.standard_error
    few = n < MIN_SAMPLES
    note = f"fewer than {MIN_SAMPLES} samples on the manifold" if few.any() else ""
    return {name: Measurement(value[name], error[name], n, note) for name in _STATISTICS}


GROUPS = (Group(named("angle_kuiper", "angle_ks"), angles),)
