"""How steep and how curved the energy is at held-out answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..energies import energy_and_gradient
from .measured import Group, Measured, NotMeasured, named, quantile, scaled
from .observed import Observed, as_numpy

#: Beyond this many dimensions of y, Hessians are taken at no more than `FEW_POINTS` held-out answers.
MANY_DIMS, FEW_POINTS = 8, 64


def largest_curvature(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Largest signed eigenvalue of the Hessian in y of a replicated energy, (R, n), at x (R, n, dx) and y (R, n,
    dy)."""
    with torch.enable_grad():
        point = y.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(module(x, point).sum(), point, create_graph=True)
        rows = []
        for i in range(y.shape[-1]):
            if gradient.requires_grad:
                (row,) = torch.autograd.grad(gradient[..., i].sum(), point, retain_graph=True)
            else:  # an energy linear in y
                row = torch.zeros_like(y)
            rows.append(row.detach())
    hessian = torch.stack(rows, dim=-2)
    finite = hessian.isfinite().all(-1).all(-1)
    hessian = (hessian + hessian.mT) / 2
    largest: torch.Tensor = torch.linalg.eigvalsh(hessian.where(finite[..., None, None], 0.0))[..., -1]
    return largest.masked_fill(~finite, torch.nan)


def _at_answers(observed: Observed) -> dict[str, Measured]:
    """95 % quantiles over held-out answers of |dF/dy| and of the largest signed eigenvalue of d²F/dy²."""
    x, y = (observed.placed(part) for part in observed.test)
    if y.shape[-1] > MANY_DIMS:
        x, y = x[:, :FEW_POINTS], y[:, :FEW_POINTS]
    with torch.no_grad():
        energy, gradient = energy_and_gradient(observed.model.module, x, y)
        norm = gradient.norm(dim=-1).where(energy.isfinite(), torch.nan)
    curvature = largest_curvature(observed.model.module, x, y).where(energy.isfinite(), torch.nan)
    return {"gradient": quantile(as_numpy(norm), 0.95), "curvature": quantile(as_numpy(curvature), 0.95)}


def _shared(observed: Observed) -> dict[str, Measured]:
    cached: dict[str, Measured] | None = observed.__dict__.get("_sharpness")
    if cached is None:
        cached = observed.__dict__["_sharpness"] = _at_answers(observed)
    return cached


def scale_free(observed: Observed) -> dict[str, Measured]:
    """The quantiles over the depth of the energy, median F(uniform) - median F(data): comparable between energies of
    any scale. NaN where data do not lie lower than uniform points. The error leaves out that of the depth."""
    depth = observed.depth
    per_depth = np.divide(1.0, depth, out=np.full(depth.shape, np.nan), where=depth > 0)
    note = "held-out answers have no lower energy than uniform points" if (depth <= 0).any() else ""
    return {f"sharpness_{name}": scaled(m, per_depth, note) for name, m in _shared(observed).items()}


def raw(observed: Observed) -> dict[str, Measured]:
    """The quantiles themselves, in nats per unit and per squared unit: normalised models only."""
    if not observed.model.normalised:
        raise NotMeasured(f"{observed.model.method.name}: an unnormalised energy has no scale; see sharpness_*")
    shared = _shared(observed)
    return {"gradient_norm_p95": shared["gradient"], "curvature_p95": shared["curvature"]}


GROUPS = (
    Group(named("sharpness_gradient", "sharpness_curvature"), scale_free),
    Group(named("gradient_norm_p95", "curvature_p95"), raw),
)
