"""Which of three points is the nearest to one of them with Gaussian noise: masses of the cells of a plane, exact."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, owens_t


def bivariate_normal_cdf(h: np.ndarray, k: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    """P(X < h, Y < k) of standard normal X and Y of a correlation in (-1, 1), to rounding; h and k are not both 0.

    By Owen's T function (Owen 1956, equation 2.1).
    """
    h, k = h + 0.0, k + 0.0  # a 0 counts as positive, whatever its sign
    across = np.sqrt((1.0 - correlation) * (1.0 + correlation))
    with np.errstate(divide="ignore"):
        joint = owens_t(h, (k - correlation * h) / (h * across)) + owens_t(k, (h - correlation * k) / (k * across))
    return 0.5 * (ndtr(h) + ndtr(k)) - joint - 0.5 * ((h < 0) != (k < 0))


def nearest_of_three(points: np.ndarray, sigma: float) -> np.ndarray:
    """P(point k is the nearest to point j plus noise), (n, j, k) float64, of points (n, 3, D) in general position.

    Args:
        sigma: standard deviation of the noise in each dimension, > 0, in the points' units.
    """
    found = np.empty((len(points), 3, 3))
    for own in range(3):
        others = [other for other in range(3) if other != own]
        apart = points[:, others] - points[:, own, None]
        far = np.linalg.norm(apart, axis=-1)
        towards = apart / far[..., None]
        middle = points[:, own, None] + 0.5 * apart
        correlation = (towards[:, 0] * towards[:, 1]).sum(-1)
        for begun in range(3):
            room = ((middle - points[:, begun, None]) * towards).sum(-1) / sigma
            found[:, begun, own] = bivariate_normal_cdf(room[:, 0], room[:, 1], correlation).clip(0.0)
    return found
