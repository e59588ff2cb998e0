"""The energy of a picture read as a density on its own grid: exp(-beta E) / Z at multiples of a fitted beta."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .inputs import Arrays
from .pictures import nearest_nodes, plane

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What a reader multiplies the fitted beta by: closer steps near it, where the density changes most for the eye.
FACTORS = (1 / 16, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 16.0)
#: Place of the fitted beta itself among them.
FITTED = FACTORS.index(1.0)
#: ln of the fitted beta over the range of the energy stays within these; at the first a density is uniform to .1 %.
_LIMITS = (math.log(1e-3), math.log(1e12))


@dataclass(frozen=True)
class GridDensity:
    """An energy as a density over a grid of n0 by n1 nodes, whose cells sum to 1: all of them, or of each x those of y.

    Args:
        betas: (len(FACTORS),), in 1 over the unit of the energy.
        flat: the energy is no lower at the data than elsewhere, so that the beta that fits is next to nothing.
        log_density: (len(FACTORS), n0, n1), in nats.
        log_partition: (len(FACTORS), n0) of exp(-beta E) for each x; the same for all where there is no x.
        scores: (len(FACTORS),) mean log-density in nats of the data that are shown.
    """

    betas: NDArray[np.float64]
    flat: bool
    log_density: NDArray[np.float64]
    log_partition: NDArray[np.float64]
    scores: NDArray[np.float64]


def grid_density(arrays: Arrays) -> GridDensity | None:
    """The energy of a picture as densities; None without held-out points in the plane, which say what beta fits.

    The data's energy is that of the nearest node, as in the other readings, and beta is fitted to what the grid holds:
    where it does not resolve a crease, to a crease as wide as a cell.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    points = plane(arrays, "data")
    energy = np.asarray(arrays["energy"], dtype=np.float64)
    finite = np.isfinite(energy)
    at = (np.empty(0, int),) * 2 if points is None else nearest_nodes(arrays, points)
    known = tuple(axis[finite[at]] for axis in at)
    if not known[0].size:
        return None
    energy = np.where(finite, energy, np.inf)
    first, second = (np.asarray(arrays[name], dtype=np.float64) for name in ("axis_0", "axis_1"))
    conditional = np.asarray(arrays.get("data_x", np.zeros((1, 0)))).shape[-1] > 0
    log_cell = math.log(second[1] - second[0]) + (0.0 if conditional else math.log(first[1] - first[0]))
    spread = float(np.ptp(energy[finite]))

    def log_partition(beta: float) -> NDArray[np.float64]:
        each = np.asarray(logsumexp(-beta * energy, axis=1)) + log_cell
        return each if conditional else np.full_like(each, logsumexp(each))

    def score(beta: float) -> float:
        return float((-beta * energy[known] - log_partition(beta)[known[0]]).mean())

    fitted = _LIMITS[0]
    if spread > 0:  # ln of beta times the spread, in which the score has one maximum, as in beta it is concave
        found = minimize_scalar(lambda step: -score(math.exp(step) / spread), bounds=_LIMITS, method="bounded")
        fitted = float(found.x)
    betas = np.array(FACTORS) * math.exp(fitted) / (spread or 1.0)
    partitions = np.stack([log_partition(beta) for beta in betas])
    return GridDensity(
        betas=betas,
        flat=fitted < _LIMITS[0] + 0.5,
        log_density=-betas[:, None, None] * energy - partitions[:, :, None],
        log_partition=partitions,
        scores=np.array([score(beta) for beta in betas]),
    )


def pixels(density: GridDensity, side: int) -> NDArray[np.float64]:
    """The density of each pixel over that of the densest, (len(FACTORS), m0, m1) in [0, 1] with m0 and m1 at most side.

    A pixel has the mean over its cells, which is its share of the mass for its size: of every so many-th cell alone a
    ridge as thin as a cell would be left out where it lies between them, and of log-densities what is all but empty
    would weigh as much as the ridge.
    """
    means = np.exp(density.log_density - density.log_density.max(axis=(1, 2), keepdims=True))
    for axis in (1, 2):
        size = means.shape[axis]
        starts = np.arange(0, size, -(-size // side))
        counts = np.diff(np.append(starts, size)).astype(np.float64)
        means = np.add.reduceat(means, starts, axis=axis) / np.expand_dims(counts, tuple({0, 1, 2} - {axis}))
    return np.asarray(means / means.max(axis=(1, 2), keepdims=True))
