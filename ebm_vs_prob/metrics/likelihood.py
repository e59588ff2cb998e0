"""Log-density of held-out data, absolutely and against the exact density. Of densities and of energies read as such."""

from __future__ import annotations

import numpy as np

from ..core.errors import NoExactReference, NotMeasured
from ..core.spaces import Box
from ..models.model import EnergyModel
from .measurement import Group, Measurement, mean, named, noted
from .observation import Observation, as_numpy

#: Dimensions of y up to which the partition function of an energy is computed: beyond, proposals miss most of Z and a
#: gap would come out below 0, as if the energy were nearer to the truth than the truth.
MOST_DIMS = 16


def log_score(observed: Observation) -> dict[str, Measurement]:
    """Mean log-density of held-out data (Good 1952), the logarithmic score, in the units that the data came in."""
    return _score("log_score", observed, observed.log_density)


def gibbs_log_score(observed: Observation) -> dict[str, Measurement]:
    """`log_score` of the density that an energy stands for: exp(-beta E) / Z at the model's own beta.

    A normalised model is its own density. Nothing exact is needed, so that both families are compared on data of which
    nothing is known, and on the same rows of it: where y is real and there is an x, the first `partitions`, because
    each has a partition function to compute under an energy.
    """
    model = observed.model
    if model.normalised:
        few = observed.conditional and isinstance(observed.tasks[0].y_space, Box)
        rows = observed.evaluation.partitions if few else None
        return _score("gibbs_log_score", observed, observed.log_density[:, :rows])
    if not isinstance(model, EnergyModel):
        raise NotMeasured(f"{model.method.name} stands for no density")
    _check_dims(observed)
    return _score("gibbs_log_score", observed, observed.gibbs_log_density)


def _check_dims(observed: Observation) -> None:
    space = observed.tasks[0].y_space
    if isinstance(space, Box) and space.dim > MOST_DIMS:
        raise NotMeasured(
            f"{observed.model.method.name}: a partition function in {space.dim} dimensions is too dear: "
            f"at most {MOST_DIMS}"
        )


def _score(name: str, observed: Observation, log_density: np.ndarray) -> dict[str, Measurement]:
    """The mean of ln q (R, n), from the unit of each task to that of its data."""
    with np.errstate(invalid="ignore"):  # the spread of values of which some are -inf is none
        score = {name: mean(log_density - observed.log_unit[:, None])}
    return noted(noted(score, observed.partition_note), observed.outside_note)


def likelihood_gap(observed: Observation) -> dict[str, Measurement]:
    """Mean of ln p(y | x) - ln q(y | x) over held-out pairs: an unbiased estimate of KL(p || q), 0 for the truth.

    The same pairs under both, so that their scatter cancels where q is near p. NaN at thickness 0.
    """
    return _gap("likelihood_gap", observed, observed.log_density)


def gibbs_gap(observed: Observation) -> dict[str, Measurement]:
    """`likelihood_gap` of the density that an energy stands for: exp(-beta E) / Z at the model's own beta.

    A normalised model is its own density, so that both families have this number and a criterion can compare them.
    """
    model = observed.model
    if model.normalised:
        return _gap("gibbs_gap", observed, observed.log_density)
    if not isinstance(model, EnergyModel):
        raise NotMeasured(f"{model.method.name} stands for no density")
    x, y = (part[0, :1] for part in observed.test)
    reasons: list[NoExactReference] = []
    for task in observed.tasks:
        try:
            task.reference.log_prob(x, y)
        except NoExactReference as error:
            reasons.append(error)
    if len(reasons) == len(observed.tasks):  # asked first, because partition functions are dear
        raise reasons[0]
    _check_dims(observed)
    return _gap("gibbs_gap", observed, observed.gibbs_log_density)


def _gap(name: str, observed: Observation, ours: np.ndarray) -> dict[str, Measurement]:
    """The mean of ln p - `ours` over the first held-out pairs of each replicate, for ln q (R, n) of these."""
    gaps = np.full(ours.shape, np.nan)
    reasons = set()
    for r, task in enumerate(observed.tasks):
        x, y = (part[r, : ours.shape[1]] for part in observed.test)
        try:
            gaps[r] = as_numpy(task.reference.log_prob(x, y)) - ours[r]
        except NoExactReference as error:
            reasons.add(str(error))
    result = mean(gaps)
    gap = {name: Measurement(result.value, result.error, result.n, "; ".join(sorted(reasons)))}
    return noted(gap, observed.partition_note)


GROUPS = (
    Group(named("log_score"), log_score),
    Group(named("gibbs_log_score"), gibbs_log_score),
    Group(named("likelihood_gap"), likelihood_gap),
    Group(named("gibbs_gap"), gibbs_gap),
)
