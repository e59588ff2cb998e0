"""Log-density of held-out data, absolutely and against the exact density. Of densities and of energies read as such."""

from __future__ import annotations

import math

import numpy as np

from ..core.errors import NoExactReference, NotMeasured
from ..core.spaces import Box, Sequences
from .measurement import Group, Measurement, mean, named, noted, scaled
from .observation import Observation


def log_score(observed: Observation) -> dict[str, Measurement]:
    """Mean log-density of held-out data (Good 1952), the logarithmic score, in the units that the data came in."""
    return _score("log_score", observed, observed.log_density)


def gibbs_log_score(observed: Observation) -> dict[str, Measurement]:
    """`log_score` of exp(-beta E) / Z at the beta that validation data ask for, of a density and of an energy alike.

    Nothing exact is needed, so that both families are compared on data of which nothing is known.
    """
    return _score("gibbs_log_score", observed, observed.gibbs_log_density)


def gibbs_log_score_unit_beta(observed: Observation) -> dict[str, Measurement]:
    """The same at beta = 1, where a normalised model is its own density."""
    return _score("gibbs_log_score_unit_beta", observed, observed.unit_log_density)


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
    """`likelihood_gap` of exp(-beta E) / Z at the beta that validation data ask for, of a density and an energy alike.

    So a density that is too sharp or too flat is given the same help as an energy whose scale means nothing.
    """
    _check_truth(observed)
    return _gap("gibbs_gap", observed, observed.gibbs_log_density)


def gibbs_gap_unit_beta(observed: Observation) -> dict[str, Measurement]:
    """The same at beta = 1, where a normalised model is its own density."""
    _check_truth(observed)
    return _gap("gibbs_gap_unit_beta", observed, observed.unit_log_density)


def _check_truth(observed: Observation) -> None:
    """Raises `NoExactReference` where no replicate's task has a density: asked first, as partition functions are dear.

    And `NotMeasured` where the model stands for none.
    """
    observed.check_gibbs()
    x, y = (part[0, :1] for part in observed.test)
    reasons: list[NoExactReference] = []
    for task in observed.tasks:
        try:
            task.reference.log_prob(x, y)
        except NoExactReference as error:
            reasons.append(error)
    if len(reasons) == len(observed.tasks):
        raise reasons[0]


def gap_per_symbol(observed: Observation) -> dict[str, Measurement]:
    """The gap of strings over their length, so that longer ones can be held to the same number.

    At beta = 1 of a normalised model, because not each knows its partition function at another; else at a fitted one.
    """
    space = observed.tasks[0].y_space
    if not isinstance(space, Sequences):
        raise NotMeasured(f"{observed.tasks[0].name}: answers have no symbols")
    gap = (
        gibbs_gap_unit_beta(observed)["gibbs_gap_unit_beta"]
        if observed.model.normalised
        else gibbs_gap(observed)["gibbs_gap"]
    )
    return {"gap_per_symbol": scaled(gap, np.full(len(gap.value), 1.0 / space.num_variables), gap.note)}


def learned_share(observed: Observation) -> dict[str, Measurement]:
    """Of the nats that the truth is ahead of a uniform law over all answers, the share that the density has.

    1 - KL(p || q) / KL(p || u) over the same pairs, q that of `gibbs_gap`: 1 for the truth, 0 for an energy that has
    collapsed, which is constant, or at its own beta no better than that.
    """
    found = gibbs_gap(observed)["gibbs_gap"]
    uniform = np.full(found.value.shape, np.nan)
    for r, task in enumerate(observed.tasks):
        count, space = int(found.n[r]), task.y_space
        if not count or not np.isfinite(found.value[r]):
            continue
        size = space.log_volume if isinstance(space, Box) else math.log(space.num_answers)
        uniform[r] = observed.true_log_prob(r, count).mean() + size
    return {"learned_share": Measurement(1 - found.value / uniform, found.error / uniform, found.n, found.note)}


def _gap(name: str, observed: Observation, ours: np.ndarray) -> dict[str, Measurement]:
    """The mean of ln p - `ours` over the first held-out pairs of each replicate, for ln q (R, n) of these."""
    gaps = np.full(ours.shape, np.nan)
    reasons = set()
    for r in range(observed.replicates):
        try:
            gaps[r] = observed.true_log_prob(r, ours.shape[1]) - ours[r]
        except NoExactReference as error:
            reasons.add(str(error))
    result = mean(gaps)
    gap = {name: Measurement(result.value, result.error, result.n, "; ".join(sorted(reasons)))}
    return noted(gap, observed.partition_note)


GROUPS = (
    Group(named("log_score"), log_score),
    Group(named("gibbs_log_score"), gibbs_log_score),
    Group(named("gibbs_log_score_unit_beta"), gibbs_log_score_unit_beta),
    Group(named("likelihood_gap"), likelihood_gap),
    Group(named("gibbs_gap"), gibbs_gap),
    Group(named("gibbs_gap_unit_beta"), gibbs_gap_unit_beta),
    Group(named("gap_per_symbol"), gap_per_symbol),
    Group(named("learned_share"), learned_share),
)
