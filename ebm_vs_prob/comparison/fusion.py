"""Putting classifiers together that were trained apart, each on a view of its own: sums of scores, and what mends them.

A score of a class is what a system says for it: minus its energy or its log-probability, in whatever unit. Sums of
scores need one unit (`rescaled`); products of probabilities need calibrated ones (`temperature`, `isotonic`) and count
the prior as often as there are views, unless it is divided out (`over_prior`), which is Bayes' rule where views are
independent given the class. `stacked` learns the weights from examples and needs neither.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import check_count, invalid, unknown
from ..core.seeding import random_module_restored

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What makes fused log-probabilities (n, K) of scores (views, n, K).
Fused = Callable[[np.ndarray], np.ndarray]
#: What makes log-probabilities (n, K) of each view of scores (views, n, K).
Calibrated = Callable[[np.ndarray], np.ndarray]


def fit_fusion(rule: str, scores: np.ndarray, labels: np.ndarray) -> Fused:
    """A rule that makes one system of several, fitted to examples that none of them was trained on.

    Args:
        rule: one of `FUSIONS`: "raw", "rescaled", "temperature", "isotonic", each of which sums and takes the softmax,
            "temperature_over_prior", "isotonic_over_prior" or "stacked".
        scores: (views, n, K) of the examples, the larger the likelier.
        labels: (n,) integers in 0 .. K-1, in which each class occurs.

    Returns:
        A function of scores (views, m, K) that gives log-probabilities (m, K) in nats.

    Raises:
        UnknownName: a rule that does not exist.
        ValueError: scores that are not finite or of another shape, labels that do not fit or lack a class.
    """
    if rule not in FUSIONS:
        raise unknown("rule of fusion", rule, FUSIONS)
    scores = _checked("scores", scores)
    views, n, count = scores.shape
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iu" or set(labels.tolist()) != set(range(count)):
        raise invalid("labels", labels, f"({n},) integers from 0 to {count - 1}, each of them at least once")
    with random_module_restored():  # scikit-learn draws names from it as it is imported
        fused = FUSIONS[rule](scores, labels.astype(np.int64))  # NumPy counts no uint64

    return partial(_applied, fused, (views, count))


# What a rule has learned is an argument of a function of this module, so that a model with it can be copied.


def _applied(fused: Fused, sizes: tuple[int, int], given: np.ndarray) -> np.ndarray:
    given = _checked("scores", given)
    if (given.shape[0], given.shape[2]) != sizes:
        raise invalid("scores.shape", given.shape, f"({sizes[0]}, n, {sizes[1]})")
    return fused(given)


def divergence(log_posterior: np.ndarray, log_fused: np.ndarray) -> tuple[float, float]:
    """Mean of KL(P(. | x) || Q(. | x)) over x in nats, and its standard error: what fusing by Q loses of Bayes' rule.

    Args:
        log_posterior, log_fused: ln P and ln Q of every class, (n, K), n > 1.
    """
    gaps = (np.exp(log_posterior) * (log_posterior - log_fused)).sum(-1)
    check_count("n - 1", len(gaps) - 1)
    return float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))


def fit_temperatures(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The inverse temperature of each view of highest likelihood, (views,) (Guo et al. 2017, section 4.2)."""
    from .temperature_scaling import inverse_temperature

    return np.array([inverse_temperature(view, labels) for view in scores])


def _rescaled(scores: np.ndarray, labels: np.ndarray) -> Calibrated:
    """Scores of each view over their standard deviation, once the mean over classes is taken off."""
    spread = _centred(scores).std(axis=(1, 2), keepdims=True)
    return partial(_over_spread, np.maximum(spread, 1e-300))


def _over_spread(spread: np.ndarray, given: np.ndarray) -> np.ndarray:
    return log_softmax(_centred(given) / spread)


def _temperature(scores: np.ndarray, labels: np.ndarray) -> Calibrated:
    beta = fit_temperatures(scores, labels).reshape(-1, 1, 1)
    return partial(_at_temperature, beta)


def _at_temperature(beta: np.ndarray, given: np.ndarray) -> np.ndarray:
    return log_softmax(beta * given)


def _isotonic(scores: np.ndarray, labels: np.ndarray) -> Calibrated:
    """A monotone function of each class's probability against the rest, then normalised (Zadrozny and Elkan 2002).

    Fitted values stay within 1/(n + 2) of 0 and 1 (Laplace), since a product takes a veto at its word.
    """
    from sklearn.isotonic import IsotonicRegression

    views, n, count = scores.shape
    least = 1.0 / (n + 2)
    chances = np.exp(log_softmax(scores))
    fitted: dict[tuple[int, int], Any] = {
        (v, k): IsotonicRegression(y_min=least, y_max=1.0 - least, out_of_bounds="clip").fit(
            chances[v, :, k], (labels == k).astype(float)
        )
        for v in range(views)
        for k in range(count)
    }

    return partial(_by_class, fitted)


def _by_class(fitted: Mapping[tuple[int, int], Any], given: np.ndarray) -> np.ndarray:
    views, _, count = given.shape
    found = np.exp(log_softmax(given))
    each = [[fitted[v, k].predict(found[v, :, k]) for k in range(count)] for v in range(views)]
    return log_softmax(np.log(np.moveaxis(np.array(each), 1, 2)))


def _raw(scores: np.ndarray, labels: np.ndarray) -> Calibrated:
    return np.asarray


def _product(calibrate: Callable[[np.ndarray, np.ndarray], Calibrated]) -> Callable[[np.ndarray, np.ndarray], Fused]:
    """The product of the views' probabilities, normalised (Hinton 2002)."""

    def fit(scores: np.ndarray, labels: np.ndarray) -> Fused:
        return partial(_sum, calibrate(scores, labels), np.zeros(scores.shape[2]))

    return fit


def _sum(calibrated: Calibrated, log_prior: np.ndarray, given: np.ndarray) -> np.ndarray:
    return log_softmax(calibrated(given).sum(0) - (len(given) - 1) * log_prior)


def _over_prior(calibrate: Callable[[np.ndarray, np.ndarray], Calibrated]) -> Callable[[np.ndarray, np.ndarray], Fused]:
    """That product over P(class) to the power of the views less one, P being the shares of the labels."""

    def fit(scores: np.ndarray, labels: np.ndarray) -> Fused:
        shares = np.bincount(labels, minlength=scores.shape[2]) / len(labels)
        return partial(_sum, calibrate(scores, labels), np.log(shares))

    return fit


def _stacked(scores: np.ndarray, labels: np.ndarray) -> Fused:
    """Multinomial logistic regression on the views' scores against that of the first class (Wolpert 1992)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e6, max_iter=1000, random_state=0)).fit(
        _features(scores), labels
    )

    return partial(_decided, model)


def _decided(model: Any, given: np.ndarray) -> np.ndarray:
    decided = model.decision_function(_features(given))
    both = np.stack([np.zeros_like(decided), decided], -1) if decided.ndim == 1 else decided
    return log_softmax(both)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Scores (..., K) less what makes their exponentials sum to 1."""
    from scipy.special import log_softmax as of

    result: np.ndarray = of(scores, axis=-1)
    return result


def _features(scores: np.ndarray) -> np.ndarray:
    """(n, views (K - 1))."""
    odds = scores[..., 1:] - scores[..., :1]
    return np.moveaxis(odds, 0, 1).reshape(scores.shape[1], -1)


def _centred(scores: np.ndarray) -> np.ndarray:
    centred: np.ndarray = scores - scores.mean(-1, keepdims=True)
    return centred


def _checked(field: str, scores: np.ndarray) -> np.ndarray:
    found = np.asarray(scores, dtype=np.float64)
    if found.ndim != 3 or 0 in found.shape or found.shape[2] < 2:
        raise invalid(f"{field}.shape", found.shape, "(views, n, K) with K >= 2")
    if not np.isfinite(found).all():
        raise invalid(field, "non-finite entries", "finite numbers")
    return found


#: Rules by name, each a function of scores (views, n, K) and labels (n,).
FUSIONS: Mapping[str, Callable[[np.ndarray, np.ndarray], Fused]] = {
    "raw": _product(_raw),
    "rescaled": _product(_rescaled),
    "temperature": _product(_temperature),
    "isotonic": _product(_isotonic),
    "temperature_over_prior": _over_prior(_temperature),
    "isotonic_over_prior": _over_prior(_isotonic),
    "stacked": _stacked,
}
