"""What made a picture, given its reduction: exact draws of it, and pictures spread evenly over its posterior."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .bars_and_ellipses import BRIGHTNESS, KINDS, NODES, PERIODS, SIDE, pictures, table

if TYPE_CHECKING:
    from .shape_likelihood import Likelihood

#: Nats by which a histogram of the largest of three by three nodes is raised to lie above the posterior between them.
RAISED = 0.7


def drawn_latents(likelihood: Likelihood, x: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Exact draws (count, 4) of z given one x (16,), by rejection from a histogram above the posterior of the angles.

    Args:
        likelihood: of x, whatever y.

    Raises:
        ArithmeticError: the posterior was met above the histogram.
    """
    import torch

    given = torch.tensor(x, dtype=torch.float64, device="cpu")
    board = likelihood.on_lattice(given.unsqueeze(0), None).integrated[0].unflatten(-1, NODES)
    shifts = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    bound = torch.stack([board.roll(shift, (1, 2)) for shift in shifts]).amax(0).flatten() + RAISED
    share = np.cumsum(torch.softmax(bound, 0).numpy())
    whole, spacing, nothing = math.prod(NODES), np.array(PERIODS) / NODES, given.new_zeros(SIDE**2)
    parts: list[np.ndarray] = []
    missing = count
    while missing > 0:
        tries = 4 * missing + 16
        node = np.minimum(np.searchsorted(share, rng.random(tries)), len(share) - 1)
        angles = table()[0].numpy()[node % whole] + spacing * (rng.random((tries, 2)) - 0.5)
        level, quantile = np.log(rng.random(tries)), rng.random(tries)
        z, accepted = np.column_stack([node // whole, angles % PERIODS, quantile]), np.zeros(tries, dtype=bool)
        for kind in range(len(KINDS)):
            own = (z[:, 0] == kind).nonzero()[0]
            drawn = pictures(kind, torch.from_numpy(angles[own]))
            above = likelihood.at(given, nothing, drawn)[0].numpy() - bound.numpy()[node[own]]
            if (above > 0).any():
                raise ArithmeticError("the posterior of the angles rises above its histogram: its peaks are too thin")
            accepted[own] = level[own] < above
            precision, best = likelihood.brightness(given, nothing, drawn)
            z[own, 3] = _brightness(precision.numpy(), best.numpy(), quantile[own])
        parts.append(z[accepted][:missing])
        missing -= len(parts[-1])
    return np.concatenate(parts)


def spread_pictures(likelihood: Likelihood, x: np.ndarray, count: int) -> np.ndarray:
    """Noise-free pictures (count, 256) at evenly spaced quantiles of z given one x (16,).

    Kinds and angles are nodes of the table in their order, brightnesses quantiles of their law there.
    """
    import torch

    lattice = likelihood.on_lattice(torch.tensor(x, dtype=torch.float64, device="cpu").unsqueeze(0), None)
    share = np.cumsum(torch.softmax(lattice.integrated.flatten(), 0).numpy())
    node = np.minimum(np.searchsorted(share, (np.arange(count) + 0.5) / count), len(share) - 1)
    golden = (np.arange(count) * 0.5 * (math.sqrt(5.0) - 1.0)) % 1.0
    precision, best = (part.flatten().numpy()[node] for part in (lattice.precision, lattice.best))
    shown: np.ndarray = table()[1].flatten(0, 1).numpy()[node] * _brightness(precision, best, golden)[:, None]
    return shown


def _brightness(precision: np.ndarray, best: np.ndarray, quantile: np.ndarray) -> np.ndarray:
    """Quantiles of N(best, 1 / precision) between the bounds of the brightness, (n,)."""
    from scipy.stats import truncnorm

    scale = precision**-0.5
    low, high = ((bound - best) / scale for bound in BRIGHTNESS)
    value: np.ndarray = best + scale * truncnorm.ppf(quantile, low, high)
    return value.clip(*BRIGHTNESS)
