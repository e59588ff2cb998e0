"""Discrete answers: how often the answer of least energy is wrong, what that costs, and whether its chance is known.

All held-out pairs are used. A replicate whose energies are not finite has no answer, and so no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .measurement import Group, Measurement, clustered, mean, named, share
from .observation import Observation, as_numpy

if TYPE_CHECKING:
    from ..core.spaces import Discrete
    from ..tasks.reference import Reference

#: Equal bins of confidence.
BINS = 15


def decisions(observed: Observation) -> dict[str, Measurement]:
    """Answers that are wrong, and symbols of them that are."""
    wrong = _wrong(observed).double()
    return {
        "error_rate": share(as_numpy(wrong.amax(2)) + _blank(observed)),
        "hamming_distance": mean(as_numpy(wrong.mean(2)) + _blank(observed)),
    }


def excess_error(observed: Observation) -> dict[str, Measurement]:
    """What is lost against the Bayes answer.

    The loss is max_y P(y | x) - P(answer | x) under the exact posterior, so that the noise of the labels does not
    scatter it: 0 for the truth, and never below.
    """
    lost = observed.by_task(lambda r, task: _lost(task.reference, observed.test[0][r], observed.decided[r]))
    return {"excess_error": mean(as_numpy(lost) + _blank(observed))}


def right_answers(observed: Observation) -> dict[str, Measurement]:
    """Answers and draws that are none of the right ones: at a distance above 0 from the answer set of the task.

    At the first `inputs` held-out x; as many draws at each as `samples` has room for.
    """
    reference = [task.reference for task in observed.tasks]
    decided, drawn = observed.decided[:, : observed.evaluation.inputs], observed.samples.cpu()
    inputs, distinct = observed.inputs, observed.distinct_inputs
    blank = _blank(observed)
    wrong = np.stack([as_numpy(own.distance(inputs[r], decided[r]) > 0) for r, own in enumerate(reference)])
    draws = drawn.shape[2]
    missed = np.stack(
        [
            as_numpy(own.distance(distinct[r].repeat_interleave(draws, 0), drawn[r].flatten(0, 1)) > 0)
            for r, own in enumerate(reference)
        ]
    )
    return {
        "wrong_answers": share(wrong + blank),
        "wrong_draws": clustered(missed.reshape(*drawn.shape[:3]) + blank[..., None]),
    }


def _blank(observed: Observation) -> np.ndarray:
    """0 for a replicate that answers, NaN for one that does not, (R, 1)."""
    return np.where(observed.answered, 0.0, np.nan)[:, None]


def calibration(observed: Observation) -> dict[str, Measurement]:
    """Σ_b (n_b / n) |accuracy_b - confidence_b| over 15 equal bins of confidence (Guo et al. 2017, eq. 3).

    Confidence is the probability of the answer of least energy, as a whole, under the model's density, or under
    exp(-beta E) / Z. The error is that of the bins' accuracies, whose scatter also keeps a calibrated model above 0.
    """
    model, x = observed.model, observed.test[0]
    with torch.no_grad():
        decided = observed.decided
        log_prob = model.log_prob(x, decided) if model.normalised else model.gibbs(x).log_prob(decided)
        confidence = as_numpy(log_prob.exp())
    right = as_numpy(~_wrong(observed).any(2))
    bins = np.clip(np.ceil(np.nan_to_num(confidence) * BINS).astype(int) - 1, 0, BINS - 1)
    value, variance = np.zeros(len(right)), np.zeros(len(right))
    for b in range(BINS):
        inside = bins == b
        count = np.maximum(inside.sum(1), 1)
        weight, accuracy = inside.mean(1), (right * inside).sum(1) / count
        value += weight * np.abs(accuracy - (confidence * inside).sum(1) / count)
        variance += weight**2 * accuracy * (1 - accuracy) / count
    value = np.where(observed.answered, value, np.nan)
    return {"expected_calibration_error": Measurement(value, np.sqrt(variance), np.full(len(value), right.shape[1]))}


def _wrong(observed: Observation) -> torch.Tensor:
    """Which symbols of the answers are not the held-out ones, (R, N, T) bool."""
    space: Discrete = observed.tasks[0].y_space
    return space.to_variables(observed.decided) != space.to_variables(observed.test[1])


def _lost(reference: Reference, x: torch.Tensor, decided: torch.Tensor) -> torch.Tensor:
    best = reference.answers(x)[:, 0]
    return reference.log_prob(x, best).exp() - reference.log_prob(x, decided).exp()


GROUPS = (
    Group(named("error_rate", "hamming_distance"), decisions),
    Group(named("wrong_answers", "wrong_draws"), right_answers),
    Group(named("excess_error"), excess_error),
    Group(named("expected_calibration_error"), calibration),
)
