"""Log-density of held-out data, absolutely and against the exact density. Normalised models only."""

from __future__ import annotations

import numpy as np

from ..errors import NoExactReference
from .measured import Group, Measured, mean, named, noted
from .observed import Observed, as_numpy


def log_score(observed: Observed) -> dict[str, Measured]:
    """Mean log-density of held-out data (Good 1952), the logarithmic score."""
    score = {"log_score": mean(observed.log_density)}
    return noted(score, observed.partition_note)


def likelihood_gap(observed: Observed) -> dict[str, Measured]:
    """Mean of ln p(y | x) - ln q(y | x) over held-out pairs: an unbiased estimate of KL(p || q), 0 for the truth.

    The same pairs under both, so that their scatter cancels where q is near p. NaN at thickness 0.
    """
    ours = observed.log_density
    gaps = np.full(ours.shape, np.nan)
    reasons = set()
    for r, task in enumerate(observed.tasks):
        x, y = (part[r, : ours.shape[1]] for part in observed.test)
        try:
            gaps[r] = as_numpy(task.reference.log_prob(x, y)) - ours[r]
        except NoExactReference as error:
            reasons.add(str(error))
    result = mean(gaps)
    gap = {"likelihood_gap": Measured(result.value, result.error, result.n, "; ".join(sorted(reasons)))}
    return noted(gap, observed.partition_note)


GROUPS = (Group(named("log_score"), log_score), Group(named("likelihood_gap"), likelihood_gap))
