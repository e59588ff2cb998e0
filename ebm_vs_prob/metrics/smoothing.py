"""What a blur of the data costs by law, and what a model loses beyond it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..core.errors import NotMeasured
from ..core.spaces import Box
from .likelihood import gibbs_gap, gibbs_gap_unit_beta
from .measurement import Group, Measurement, named
from .observation import Observation


def smoothing_price(sigma: np.ndarray | float, thickness: np.ndarray | float, codimension: int) -> np.ndarray:
    """What a density loses, in nats, that is exactly right but for a blur of standard deviation sigma.

    KL(N(0, ε² I) ‖ N(0, (ε² + σ²) I)) across the manifold: c/2 [ln(1 + σ²/ε²) - σ²/(σ² + ε²)], c its codimension.
    Along the manifold a blur that is small against its curvature costs nothing. inf at thickness 0 with sigma > 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.square(np.asarray(sigma, dtype=np.float64) / np.asarray(thickness, dtype=np.float64))
        price = 0.5 * codimension * (np.log1p(ratio) - ratio / (1 + ratio))
    return np.where(np.asarray(sigma) == 0, 0.0, np.where(np.isinf(ratio), np.inf, price))


def excess(observed: Observation) -> dict[str, Measurement]:
    """`gibbs_gap` less the price of the smoothing that the method itself adds to the data: what training left undone.

    A beta that is fitted buys back part of that price, so that a model of blurred data may come out below 0.
    """
    return _beyond_the_price("excess", gibbs_gap, observed)


def excess_unit_beta(observed: Observation) -> dict[str, Measurement]:
    """The same at beta = 1: a model of blurred data that learned all there is has 0, at any thickness, of either
    family."""
    return _beyond_the_price("excess_unit_beta", gibbs_gap_unit_beta, observed)


def _beyond_the_price(
    name: str, gap: Callable[[Observation], dict[str, Measurement]], observed: Observation
) -> dict[str, Measurement]:
    model, tasks = observed.model, observed.tasks
    space, dim = tasks[0].y_space, tasks[0].manifold_dim
    if dim is None or not isinstance(space, Box):
        raise NotMeasured(f"{tasks[0].name}: its answers lie on no manifold of a known dimension")
    (found,) = gap(observed).values()
    sigma = np.array([model.method.smoothing(options) for options in model.setting.options.replicates])
    price = smoothing_price(sigma, np.array([task.thickness for task in tasks]), space.dim - dim)
    return {name: replace(found, value=found.value - np.where(np.isinf(price), np.nan, price))}


GROUPS = (Group(named("excess"), excess), Group(named("excess_unit_beta"), excess_unit_beta))
