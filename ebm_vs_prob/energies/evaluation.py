"""Evaluating any replicated energy: in blocks that stay in cache, and with its gradient in y."""

from __future__ import annotations

import math
from typing import Protocol, cast

import torch
from torch import nn

from .products import ROWS
from .replicated import Replicated

#: Energies evaluated in one call: on a CPU a layer of them stays in a core's cache, on a GPU it fills the device.
BLOCK_POINTS = {"cpu": 1 << 15, "cuda": 1 << 20}


class ReplicatedEnergy(Protocol):
    """What the package asks of an energy."""

    num_replicates: int

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor: ...


def energy_and_gradient(energy: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """E(x, y) as (R, *n) and its gradient in y as (R, *n, dy), of any replicated energy.

    Differentiable in the parameters. An energy may bring its own `energy_and_gradient(x, y)`.
    """
    own = getattr(energy, "energy_and_gradient", None)
    if own is not None:
        return cast("tuple[torch.Tensor, torch.Tensor]", own(x, y))
    replicates = cast("ReplicatedEnergy", energy).num_replicates
    shape = torch.broadcast_shapes((replicates, *[1] * (y.ndim - 2)), x.shape[:-1], y.shape[:-1])
    if not (torch.is_grad_enabled() or torch.is_inference_mode_enabled() or torch.compiler.is_compiling()):
        return _value_and_slope(energy, x, y.expand(*shape, -1))

    def total(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = energy(x, point)
        return value.sum(), value

    gradient, value = torch.func.grad(total, has_aux=True)(y.expand(*shape, -1))
    return value, gradient


@torch.enable_grad()
def _value_and_slope(energy: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """E and dE/dy where no gradient is wanted through them: a plain backward pass, at half the cost of torch.func's."""
    point = y.detach().clone().requires_grad_()
    value = energy(x, point)
    if not value.requires_grad:
        return value, torch.zeros_like(point)
    (slope,) = torch.autograd.grad(value.sum(), point, materialize_grads=True)
    return value.detach(), slope


@torch.no_grad()
def energy_in_blocks(energy: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """E(x, y) as (R, *n) without gradient, of many points, in calls whose activations stay in cache.

    Args:
        x: (R or 1, *n, dx), its last n that of y or 1 to broadcast. y: (R or 1, *n, dy).
    """
    replicates = cast("ReplicatedEnergy", energy).num_replicates
    lead = torch.broadcast_shapes((replicates, *[1] * (y.ndim - 3)), x.shape[:-2], y.shape[:-2])
    size = block_size(y.device, math.prod(lead))
    parts = y.split(size, dim=-2)
    own = x.split(size, dim=-2) if x.shape[-2] > 1 else (x,) * len(parts)
    return torch.cat([energy(*part) for part in zip(own, parts, strict=True)], dim=-1)


def block_size(device: torch.device, lead: int) -> int:
    """Points a call of an energy that is evaluated for `lead` of them at once."""
    return max(ROWS, BLOCK_POINTS[device.type] // max(lead, 1) // ROWS * ROWS)


def distinct(x: torch.Tensor) -> torch.Tensor:
    """x as it is, or once where its width is 0: all examples of an unconditional task share one x."""
    return x if x.shape[-1] else x[(slice(None), *[slice(0, 1)] * (x.ndim - 2))]


def weight_names(energy: nn.Module) -> list[str]:
    """Names of a replicated energy's trainable weights, biases left out: what penalties and priors on weights are of.

    A weight has at least two dimensions a replicate and no "bias" in its name (Miyato et al. 2018, sec. 2.1).
    """
    return [name for name, p in energy.named_parameters() if p.requires_grad and p.ndim >= 3 and "bias" not in name]


def weight_norm(module: nn.Module) -> torch.Tensor:
    """Euclidean norm of all parameters of each replicate, (R,) float64; a module may bring its own `weight_norm()`.

    A learned scale of the energy (`log_scale`) is left out: the norm is of what is scaled.
    """
    own = getattr(module, "weight_norm", None)
    if own is not None:
        return cast("torch.Tensor", own())
    scales = {id(p) for part in module.modules() if isinstance(part, Replicated) for p in part.scales()}
    counted = (p for name, p in module.named_parameters() if not name.endswith("log_scale") and id(p) not in scales)
    squares = [p.detach().double().reshape(p.shape[0], -1).square().sum(1) for p in counted]
    return torch.stack(squares, -1).sum(-1).sqrt()
