"""Log-density of held-out data, absolutely and against the exact density. Normalised models only."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import NoExactReference
from .measured import Group, Measured, mean, named, noted
from .observed import Observed, as_numpy


def log_density(observed: Observed) -> np.ndarray:
    """ln q(y | x) of the held-out pairs, (R, N) nats.

    Raises:
        NotNormalised: the model has none.
    """
    with torch.no_grad():
        return as_numpy(observed.model.log_prob(*observed.test))


def log_score(observed: Observed) -> dict[str, Measured]:
    """Mean log-density of held-out data (Good 1952), the logarithmic score."""
    score = {"log_score": mean(log_density(observed))}
    return noted(score, observed.partition_note)


def likelihood_gap(observed: Observed) -> dict[str, Measured]:
    """Mean of ln p(y | x) - ln q(y | x) over held-out pairs: an unbiased estimate of KL(p || q), 0 for the truth.

    The same pairs under both, so that their scatter cancels where q is near p. NaN at thickness 0.
    """
    gaps = np.full(observed.test[1].shape[:2], np.nan)
    reasons = set()
    ours = log_density(observed)
    for r, task in enumerate(observed.tasks):
        try:
            gaps[r] = as_numpy(task.reference.log_prob(observed.test[0][r], observed.test[1][r])) - ours[r]
        except NoExactReference as error:
            reasons.add(str(error))
    result = mean(gaps)
    gap = {"likelihood_gap": Measured(result.value, result.error, result.n, "; ".join(sorted(reasons)))}
    return noted(gap, observed.partition_note)


GROUPS = (Group(named("log_score"), log_score), Group(named("likelihood_gap"), likelihood_gap))
