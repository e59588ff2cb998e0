"""Draws held against a density, and against other draws, by counts in cells.

Cells are those of points: each is what lies nearest to one of some draws that are not counted. Every test has the level
`LEVEL`, so a task that is right fails one of its few in 25,000; seeds are fixed, so it fails always or never.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ..core.spaces import Box
from .rules import rule

if TYPE_CHECKING:
    import torch

LEVEL = 1e-5
CELLS = 12
#: Draws that are counted: so many that weights along an ellipse which are 14 % off are noticed 49 times in 50.
DRAWS = 10_000
#: Expected counts below which a cell is joined with others: Pearson's statistic has its law from about five on.
FEWEST = 10.0
MOST_NODES = 200_000


def check_density_of_draws(
    draws: torch.Tensor,
    log_density: Callable[[torch.Tensor], torch.Tensor],
    box: Box,
    thickness: float,
    who: str,
    what: str,
) -> None:
    """Raise an `AssertionError` unless draws are shared among cells as a density of one or two dimensions says.

    Draws outside the box, of a heavy tail, are not counted, and the density is taken given the box.

    Args:
        draws: (n, d) at one x; the first `CELLS` make the cells.
        log_density: of points (m, d), at that x.
        thickness: width of what is thin in the density.
    """
    import torch
    from scipy.stats import chisquare

    low, high = box.bounds
    centres, counted = draws[:CELLS], draws[CELLS:]
    counted = counted[((counted >= low) & (counted <= high)).all(-1)]
    if box.dim == 1:
        nodes, width = _intervals(centres[:, 0].double(), low, high, thickness)
    else:
        spacing = max(min(thickness / 8, (high - low) / 300), (high - low) / (int(MOST_NODES**0.5) - 1))
        axis = torch.linspace(low, high, 1 + round((high - low) / spacing), dtype=torch.float64, device="cpu")
        nodes, width = torch.cartesian_prod(*[axis] * box.dim), np.ones(len(axis) ** box.dim)
    weights = log_density(nodes).double().exp().numpy() * width
    expected = np.bincount(_nearest(nodes, centres), weights=weights, minlength=CELLS)
    observed = np.bincount(_nearest(counted, centres), minlength=CELLS).astype(float)
    expected *= len(counted) / expected.sum()
    order = np.argsort(-expected)
    expected, observed = _joined(expected[order], observed[order], expected[order])
    if len(expected) < 2:
        return
    p = chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue
    rule(p > LEVEL, who, f"{what} must be shared among cells as exp(log_prob) says (chi-square test: p = {p:.1g})")


def _intervals(centres: torch.Tensor, low: float, high: float, thickness: float) -> tuple[torch.Tensor, np.ndarray]:
    """Middles (m, 1) and widths (m,) of intervals that fill [low, high], each within one cell of the centres.

    Cells of a thin law are thinner than any grid on the box, so that they have nodes of their own round each centre.
    """
    import torch

    ends = [torch.linspace(low, high, MOST_NODES // 2, dtype=torch.float64, device="cpu")]
    ordered = centres.sort().values
    ends.append((ordered[1:] + ordered[:-1]) / 2)
    if thickness > 0:
        near = torch.linspace(-8.0, 8.0, MOST_NODES // 40, dtype=torch.float64, device="cpu") * thickness
        ends.append((ordered[:, None] + near).flatten())
    cut = torch.cat(ends).clamp(low, high).unique()
    return ((cut[1:] + cut[:-1]) / 2).unsqueeze(1), (cut[1:] - cut[:-1]).numpy()


def check_probability_of_draws(
    draws: torch.Tensor, every: torch.Tensor, log_prob: torch.Tensor, who: str, what: str
) -> None:
    """Raise an `AssertionError` unless discrete draws come as often as their probabilities say.

    Args:
        draws: (n, ...) at one x. every: all answers (m, ...). log_prob: (m,) of each.
    """
    from scipy.stats import chisquare

    places = {tuple(np.ravel(answer)): place for place, answer in enumerate(every.numpy())}
    observed = np.bincount([places[tuple(np.ravel(draw))] for draw in draws.numpy()], minlength=len(places)).astype(
        float
    )
    expected = log_prob.double().exp().numpy() * len(draws)
    order = np.argsort(-expected)
    expected, observed = _joined(expected[order], observed[order], expected[order])
    if len(expected) < 2:
        return
    p = chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue
    rule(p > LEVEL, who, f"{what} must come as often as exp(log_prob) says (chi-square test: p = {p:.1g})")


def check_same_law(first: torch.Tensor, second: torch.Tensor, centres: torch.Tensor, who: str, what: str) -> None:
    """Raise an `AssertionError` unless two sets of draws are shared among cells alike.

    Args:
        first, second: (n, d), drawn independently. centres: (m, d), of which each is the centre of a cell.
    """
    from scipy.stats import chi2_contingency

    scale = centres.std(0).clamp_min(1e-12)
    counts = np.stack(
        [
            np.bincount(_nearest(each / scale, centres / scale), minlength=len(centres)).astype(float)
            for each in (first, second)
        ]
    )
    order = np.argsort(-counts.sum(0))
    table = np.stack(_joined(counts[0][order], counts[1][order], counts.min(0)[order]))
    if table.shape[1] < 2 or (table.sum(1) == 0).any():
        return
    p = chi2_contingency(table[:, table.sum(0) > 0]).pvalue
    rule(p > LEVEL, who, f"{what} (chi-square test over cells: p = {p:.1g})")


def _nearest(points: torch.Tensor, centres: torch.Tensor) -> np.ndarray:
    import torch

    parts = [torch.cdist(part, centres).argmin(1) for part in points.double().split(20_000)]
    return torch.cat(parts).numpy()


def _joined(first: np.ndarray, second: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of counts, sorted by size, whose cells of less than `FEWEST` are one."""
    small = size < FEWEST
    if not small.any():
        return first, second
    joined = tuple(np.append(row[~small], row[small].sum()) for row in (first, second))
    if joined[0][-1] < FEWEST and len(joined[0]) > 1:
        joined = tuple(np.append(row[:-2], row[-2:].sum()) for row in joined)
    return joined[0], joined[1]
