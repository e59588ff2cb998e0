"""The free energy over a latent as its inverse temperature grows: from the average over z to the minimum."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..descent.angle import best_latent
from ..descent.latent import latent_nodes
from ..models.capabilities import HasJointEnergy
from ..tasks.base import HasCusps
from .measurement import Group, Measurement, exact, mean, named
from .observation import Observation, as_numpy

#: Inverse temperatures, in one over y².
BETAS = (0.01, 1.0, 100.0, 1000.0, 10000.0)
#: Held-out pairs that are looked at, and values of z that are summed over: finer than the law of z at the largest beta
#: on a curve as fast as 15 units a radian.
PAIRS, NODES = 32, 1 << 14
#: Values of z that the search for the least energy begins at.
STARTS = 256


def _names(stem: str) -> tuple[str, ...]:
    return tuple(f"{stem}@{beta:g}" for beta in BETAS)


def at_data(observed: Observation) -> dict[str, Measurement]:
    """The coefficient of ln β at held-out pairs, and how far F_β has gone from the minimum towards the average."""
    x, y = (part[:, :PAIRS] for part in observed.test)
    coefficient, share = _at(observed, x, y)
    found = {}
    for number, names in enumerate(zip(_names("latent_coefficient"), _names("latent_averaged"), strict=True)):
        found |= dict(zip(names, (mean(coefficient[number]), mean(share[number])), strict=True))
    return found


def at_cusps(observed: Observation) -> dict[str, Measurement]:
    """The same coefficient where the nearest answer is nearest to fourth order, mean over inputs and cusps."""
    if not isinstance(observed.tasks[0].reference, HasCusps):
        raise NotMeasured(f"{observed.tasks[0].name}: the evolute of its answers is not known")
    x = observed.distinct_inputs
    places = observed.by_task(lambda r, task: task.reference.cusps(x[r]))
    x = x.unsqueeze(2).expand(*places.shape[:3], -1)
    coefficient, _ = _at(observed, x.flatten(1, 2), places.flatten(1, 2))
    return {
        name: exact(values.mean(1)) for name, values in zip(_names("latent_coefficient_cusp"), coefficient, strict=True)
    }


def _at(observed: Observation, x: torch.Tensor, y: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """d/d ln β of β (F_β - F_inf), and (F_β - F_inf) / (mean E - F_inf), (betas, R, n) each, of pairs (R, n, ·).

    The first is β times the mean of E - F_inf under exp(-βE) over z: by equipartition ½ for each direction of z along
    which the minimum is quadratic, and ¼ where it is quartic.
    """
    model = observed.model
    if not isinstance(model, HasJointEnergy):
        raise NotMeasured(f"{model.method.name}: it has no energy of a latent variable")
    energy = model.joint_energy
    if energy is None:
        raise NotMeasured(f"{model.method.name}: it has one of a latent of several dimensions, or of the user's own")
    x, y = (observed.placed(part) for part in (x, y))
    starts, nodes = (latent_nodes(count, 1, model.latent_bounds).to(y) for count in (STARTS, NODES))
    least = best_latent(energy, x, y, starts, model.latent_bounds).free_energy.double()
    rows = []
    with torch.no_grad():
        for k in range(y.shape[1]):
            # One pair of every replicate at a time: all nodes of all of them would not fit.
            own = energy(x[:, k, None], y[:, k, None], nodes[None]).double()
            above = (own - least[:, k, None]).clamp_min(0.0)
            rows.append(torch.stack([torch.stack(_moments(above, beta)) for beta in BETAS]))
    coefficient, share = torch.stack(rows, -1).unbind(1)
    return as_numpy(coefficient), as_numpy(share)


def _moments(above: torch.Tensor, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """β⟨E - F_inf⟩, and (F_β - F_inf) over the mean of E - F_inf, (R,) each, of E - F_inf at every node (R, m)."""
    log_mean = (-beta * above).logsumexp(-1) - math.log(above.shape[-1])
    weight = (-beta * above).softmax(-1)
    return beta * (weight * above).sum(-1), -log_mean / (beta * above.mean(-1))


GROUPS = (
    Group(
        named(*itertools.chain(*zip(_names("latent_coefficient"), _names("latent_averaged"), strict=True))), at_data
    ),
    Group(named(*_names("latent_coefficient_cusp")), at_cusps),
)
