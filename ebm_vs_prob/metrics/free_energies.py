"""The free energy over a latent as its inverse temperature grows: from the average over z to the minimum."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..descent.angle import best_latent
from ..descent.latent import latent_nodes
from ..models.capabilities import HasJointEnergy
from ..tasks.latents import HasCusps
from .measurement import Group, Measurement, exact, mean, named
from .observation import Observation, as_numpy

#: Inverse temperatures, in one over y²: where F is all but the average over z, where its limit is read, and beyond.
HOT, COLD, COLDEST = 0.01, 1000.0, 10000.0
#: Held-out pairs that are looked at, and values of z that are summed over: finer than the law of z at the largest beta
#: on a curve as fast as 15 units a radian.
PAIRS, NODES = 32, 1 << 14
#: Values of z that the search for the least energy begins at.
STARTS = 256


def at_data(observed: Observation) -> dict[str, Measurement]:
    """The coefficient of ln β at held-out pairs, and how far F_β is from the minimum towards the average."""
    above = _excess(observed, *(part[:, :PAIRS] for part in observed.test))
    return {
        "latent_coefficient": mean(_coefficient(above, COLD)),
        "latent_averaged_hot": mean(_averaged(above, HOT)),
        "latent_averaged_cold": mean(_averaged(above, COLDEST)),
    }


def at_cusps(observed: Observation) -> dict[str, Measurement]:
    """The same coefficient where the nearest answer is nearest to fourth order, mean over inputs and cusps."""
    if not isinstance(observed.tasks[0].reference, HasCusps):
        raise NotMeasured(f"{observed.tasks[0].name}: the evolute of its answers is not known")
    x = observed.distinct_inputs
    places = observed.by_task(lambda r, task: task.reference.cusps(x[r]))
    x = x.unsqueeze(2).expand(*places.shape[:3], -1)
    above = _excess(observed, x.flatten(1, 2), places.flatten(1, 2))
    return {
        "latent_coefficient_cusp": exact(_coefficient(above, COLD).mean(1)),
        "latent_coefficient_cusp_cold": exact(_coefficient(above, COLDEST).mean(1)),
    }


def _excess(observed: Observation, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """E(x, y, z) - F_inf(x, y) at evenly spaced z, (R, n, m) float64, of pairs (R, n, ·)."""
    model = observed.model
    if not isinstance(model, HasJointEnergy):
        raise NotMeasured(f"{model.method.name}: it has no energy of a latent variable")
    energy = model.joint_energy
    if energy is None:
        raise NotMeasured(f"{model.method.name}: it has one of a latent of several dimensions, or of the user's own")
    x, y = (observed.placed(part) for part in (x, y))
    starts, nodes = (latent_nodes(count, 1, model.latent_bounds).to(y) for count in (STARTS, NODES))
    least = best_latent(energy, x, y, starts, model.latent_bounds).free_energy.double()
    with torch.no_grad():
        rows = [energy(x[:, k, None], y[:, k, None], nodes[None]).double() for k in range(y.shape[1])]
    return (torch.stack(rows, 1) - least.unsqueeze(-1)).clamp_min(0.0)


def _coefficient(above: torch.Tensor, beta: float) -> np.ndarray:
    """d/d ln β of β (F_β - F_inf), (R, n): β times the mean of E - F_inf under exp(-βE) over z.

    By equipartition it is ½ for each direction of z along which the minimum is quadratic, and ¼ where it is quartic.
    """
    return as_numpy(beta * ((-beta * above).softmax(-1) * above).sum(-1))


def _averaged(above: torch.Tensor, beta: float) -> np.ndarray:
    """(F_β - F_inf) / (mean E - F_inf), (R, n)."""
    log_mean = (-beta * above).logsumexp(-1) - math.log(above.shape[-1])
    return as_numpy(-log_mean / (beta * above.mean(-1)))


GROUPS = (
    Group(named("latent_coefficient", "latent_averaged_hot", "latent_averaged_cold"), at_data),
    Group(named("latent_coefficient_cusp", "latent_coefficient_cusp_cold"), at_cusps),
)
