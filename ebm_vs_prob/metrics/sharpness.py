"""How steep and how curved the energy is at held-out answers."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..energies.evaluation import energy_and_gradient
from .measurement import Group, Measurement, named, quantile, scaled
from .observation import Observation, as_numpy

#: Held-out answers at which Hessians are taken at most, and beyond `MANY_DIMS` dimensions of y.
MOST_POINTS, MANY_DIMS, FEW_POINTS = 1000, 8, 64
#: Answers of a replicate at which the energy is differentiated twice at once: what an integral over a latent keeps of
#: more is memory fetched anew each time. Not fewer where there are more replicates: no number may depend on these.
ROWS = 64


def largest_curvature(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Largest signed eigenvalue of the Hessian in y of a replicated energy, (R, n), at x (R, n, dx) and y (R, n,
    dy)."""
    second = hessian(module, x, y)
    finite = second.isfinite().all(-1).all(-1)
    second = (second + second.mT) / 2
    largest: torch.Tensor = torch.linalg.eigvalsh(second.where(finite[..., None, None], 0.0))[..., -1]
    return largest.masked_fill(~finite, torch.nan)


def hessian(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """∇² in y of a replicated energy, (R, n, dy, dy), symmetric up to rounding, at x (R, n, dx) and y (R, n, dy)."""
    return torch.cat([_hessian(module, *block) for block in zip(x.split(ROWS, 1), y.split(ROWS, 1), strict=True)], 1)


@torch.enable_grad()
def _hessian(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(R, n, dy, dy), row by row."""
    point = y.detach().clone().requires_grad_()
    energy = module(x, point)
    if not energy.requires_grad:  # one that is constant in y but for jumps, as the cost of a label
        return torch.zeros(*energy.shape, *2 * y.shape[-1:], dtype=y.dtype, device=y.device)
    (gradient,) = torch.autograd.grad(energy.sum(), point, create_graph=True)
    rows = []
    for i in range(y.shape[-1]):
        if gradient.requires_grad:
            (row,) = torch.autograd.grad(gradient[..., i].sum(), point, retain_graph=True)
        else:  # an energy linear in y
            row = torch.zeros_like(y)
        rows.append(row.detach())
    return torch.stack(rows, dim=-2)


def sharpness(observed: Observation) -> dict[str, Measurement]:
    """95 % quantiles over held-out answers of |dF/dy| and of the largest signed eigenvalue of d²F/dy².

    Over the depth of the energy, median F(uniform) - median F(data), so that energies of any scale compare; NaN where
    data do not lie lower than uniform points; the error leaves out that of the depth. And as they are, in nats per unit
    and per squared unit, of normalised models only.
    """
    model, depth = observed.model, observed.depth
    x, y = (observed.placed(part) for part in observed.test)
    count = MOST_POINTS if y.shape[-1] <= MANY_DIMS else FEW_POINTS
    x, y = x[:, :count], y[:, :count]
    with torch.no_grad():
        energy, gradient = energy_and_gradient(model.module, x, y)
    known = energy.isfinite()
    norm = quantile(as_numpy(gradient.norm(dim=-1).where(known, torch.nan)), 0.95)
    curvature = quantile(as_numpy(largest_curvature(model.module, x, y).where(known, torch.nan)), 0.95)
    per_depth = np.divide(1.0, depth, out=np.full(depth.shape, np.nan), where=depth > 0)
    flat = "held-out answers have no lower energy than uniform points" if (depth <= 0).any() else ""
    raw = np.full(observed.replicates, 1.0 if model.normalised else np.nan)
    scale = "" if model.normalised else f"{model.method.name}: an unnormalised energy has no scale; see `resolution`"
    return {
        "sharpness_gradient": scaled(norm, per_depth, flat),
        "sharpness_curvature": scaled(curvature, per_depth, flat),
        "gradient_norm_p95": scaled(norm, raw, scale),
        "curvature_p95": scaled(curvature, raw, scale),
        "resolution": resolution(observed, curvature),
    }


def resolution(observed: Observation, curvature: Measurement) -> Measurement:
    """The width tau of the blur that an energy's valley shows: its curvature in nats is 1 / (ε² + tau²).

    That of data of thickness ε under a blur of standard deviation tau, across a manifold that is straight on that
    scale. 0 where the valley curves more than 1 / ε²: nothing is blurred. NaN where it does not curve upwards, and
    where thickness is no noise of the answers.

    Args:
        curvature: of the energy, at held-out answers.
    """
    if observed.tasks[0].manifold_dim is None:
        nothing = np.full(observed.replicates, np.nan)
        return Measurement(nothing, nothing, curvature.n, "the answers lie on no manifold of known thickness")
    of_nats, error = curvature.value * observed.nats, curvature.error * observed.nats
    with np.errstate(invalid="ignore", divide="ignore"):
        known = of_nats > 0
        variance = np.where(known, 1 / of_nats - observed.thickness**2, np.nan)
        tau = np.sqrt(np.maximum(variance, 0.0))
        of_tau = np.where(tau > 0, error / (2 * tau * of_nats**2), np.nan)
    note = "" if known.all() else "the energy does not curve upwards at held-out answers"
    return Measurement(tau, of_tau, curvature.n, note)


_NAMES = ("sharpness_gradient", "sharpness_curvature", "gradient_norm_p95", "curvature_p95", "resolution")

GROUPS = (Group(named(*_NAMES), sharpness),)
