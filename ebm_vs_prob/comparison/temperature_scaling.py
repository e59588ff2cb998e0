"""Temperature scaling by scikit-learn's own calibrator, of scores that no classifier of its has made."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator


class _Scores(ClassifierMixin, BaseEstimator):
    """A classifier that is fitted, whose decision function of scores (n, K) is these."""

    def __init__(self, count: int) -> None:
        self.count = count

    @property
    def classes_(self) -> np.ndarray:
        return np.arange(self.count)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, scores: np.ndarray, labels: np.ndarray) -> _Scores:
        return self

    def predict(self, scores: np.ndarray) -> np.ndarray:
        """The class of the largest score, (n,)."""
        return np.asarray(scores.argmax(-1))

    def decision_function(self, scores: np.ndarray) -> np.ndarray:
        """Scores (n, K) as they are; of two classes that of the second, as scikit-learn has it."""
        return scores[:, 1] if self.count == 2 else scores


def inverse_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The factor of scores (n, K) at which their softmax is likeliest, labels (n,) given (Guo et al. 2017, section
    4.2); between e^-10 and e^10."""
    # Rows that sum to 0 are never taken for probabilities, and two classes then have scores of opposite signs.
    centred = scores - scores.mean(-1, keepdims=True)
    every = np.arange(len(labels))
    calibrated = CalibratedClassifierCV(
        FrozenEstimator(_Scores(scores.shape[1])), method="temperature", cv=[(every, every)], ensemble=False
    ).fit(centred, labels)
    (classifier,) = calibrated.calibrated_classifiers_
    (calibrator,) = classifier.calibrators
    return float(calibrator.beta_)
