"""Intrinsic dimension that a model has learned, from its score and its Hessian at answers without noise."""

from __future__ import annotations

import numpy as np
import torch

from ..core.errors import NotMeasured
from ..energies.evaluation import energy_and_gradient
from ..models.energy_model import EnergyModel
from .measurement import Group, Measurement, mean, named, quantile
from .observation import Observation, as_numpy
from .sharpness import hessian

#: Points at which Hessians are taken, fewer from so many dimensions on; beyond the last of these they are too dear.
POINTS, MANY_DIMS, FEW_POINTS, MOST_DIMS = 64, 8, 16, 64
#: A direction is normal where the energy curves more than this share of how it curves most.
NORMAL_SHARE = 0.1


def dimension_by_score(observed: Observation) -> dict[str, Measurement]:
    """Median over noise-free answers of |D + σ² (tr ∇² ln q + ‖∇ ln q‖²) - d|, FLIPD (Kamkari et al. 2024).

    A density on d dimensions blurred by σ falls as σ^(d - D) on the manifold, and by the heat equation that sum is its
    slope in ln σ. q is the model's density, exp(-beta E) of an unnormalised energy, and σ all the noise in it: the
    task's and the method's own. Of the exact density it is 0 up to σ² times curvatures of the manifold and of ln p.
    """
    model = observed.model
    if not (model.normalised or isinstance(model, EnergyModel)):
        raise NotMeasured(f"{model.method.name} stands for no density")
    x, y = _on_manifold(observed)
    blur = [model.method.smoothing(own) for own in model.setting.options.replicates]
    noise = np.hypot(observed.thickness, blur)
    if not (noise > 0).any():
        raise NotMeasured(
            f"{observed.tasks[0].name}: without noise there is no density whose fall with it could be told"
        )
    second = hessian(model.module, x, y)
    with torch.no_grad():
        gradient = energy_and_gradient(model.module, x, y)[1]
    beta = as_numpy(model.beta)[:, None]
    slope = -beta * as_numpy(second.diagonal(dim1=-2, dim2=-1).sum(-1)) + beta**2 * as_numpy(gradient.square().sum(-1))
    dims = np.array([task.manifold_dim for task in observed.tasks])[:, None]
    off = np.abs(observed.box.dim + noise[:, None] ** 2 * slope - dims)
    return {"dimension_error_score": quantile(np.where(noise[:, None] > 0, off, np.nan), 0.5)}


def dimension_by_curvature(observed: Observation) -> dict[str, Measurement]:
    """Mean over noise-free answers of |d̂ - d|, d̂ the directions in which the energy hardly curves.

    Normal ones are those whose eigenvalue of ∇²E is above a tenth of the largest, all of them if none is above 0: the
    count of Stanczuk et al. 2024 with the Hessian in place of scores round a point. No scale of the energy, no beta and
    no noise enters.
    """
    x, y = _on_manifold(observed)
    second = hessian(observed.model.module, x, y)
    known = second.isfinite().flatten(2).all(-1)
    values = torch.linalg.eigvalsh((second + second.mT).where(known[..., None, None], 0.0))
    normal = (values > NORMAL_SHARE * values[..., -1:].clamp_min(0.0)).sum(-1)
    dims = torch.tensor([task.manifold_dim for task in observed.tasks], dtype=torch.int64, device="cpu").unsqueeze(-1)
    off = (observed.box.dim - normal.cpu() - dims).abs().double()
    return {"dimension_error_curvature": mean(as_numpy(off.masked_fill(~known.cpu(), torch.nan)))}


def _on_manifold(observed: Observation) -> tuple[torch.Tensor, torch.Tensor]:
    """Held-out x (R, n, dx) and their answers without noise (R, n, dy), placed: the same draws at thickness 0."""
    task, dims = observed.tasks[0], observed.box.dim
    if task.manifold_dim is None:
        raise NotMeasured(f"{task.name}: the answers lie on no manifold of known dimension")
    if dims > MOST_DIMS:
        raise NotMeasured(f"Hessians in {dims} dimensions are too dear: at most {MOST_DIMS}")
    n = observed.test[0].shape[1]
    count = min(n, POINTS if dims <= MANY_DIMS else FEW_POINTS)
    thin = [own.with_thickness(0.0) for own in observed.tasks]
    pairs = [own.sample(n, seed=seed, split="test") for own, seed in zip(thin, observed.model.seeds, strict=True)]
    x, y = (observed.placed(torch.stack(part)[:, :count]) for part in zip(*pairs, strict=True))
    return x, y


GROUPS = (
    Group(named("dimension_error_score"), dimension_by_score),
    Group(named("dimension_error_curvature"), dimension_by_curvature),
)
